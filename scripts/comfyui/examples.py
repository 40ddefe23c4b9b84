"""The example workflows, as the server takes them (API form), and how their nodes lie on the page.

`screenshots.py` has the page make comfyui/example_workflows/NAME.json and .jpg of them; `check_examples.py` runs
them with tiny models.
"""

from typing import Any

Flow = dict[str, dict[str, Any]]
PROMPT = "a woman in a red coat doing a cartwheel on a beach"
CAPTION = "a man doing a cartwheel"
NEGATIVE = "blurry, distorted, static"
TEXT = (400, 130)  # size of a node of text

NOTE = """## EchoReel: act as in a reference

**No adapter for {model} is published yet.** Train one with EchoReel (its docs, "Use your own base"), and put its folder into
`models/echoreel/my-adapter`.

1. Choose your files in **Models**.
2. {reference}
3. Write what your video should show.
4. Run. {result}

Too weak: raise `scale` to 1.5. Falls apart: lower it, or set `end_percent` to 0.6.

Select a node and press the **i** above it for its help.
"""
CLIP = (
    "Choose a video of the action in **Reference**, and say what it shows. The example is "
    "`example_workflows/cartwheel.mp4` of this pack: copy it to ComfyUI's `input`."
)


def node(
    kind: str, place: tuple[int, int], title: str = "", size: tuple[int, int] | None = None, **inputs: Any
) -> dict[str, Any]:
    """size: None keeps the page's own; a height of 0 keeps its height."""
    told = {"class_type": kind, "inputs": inputs, "place": place, "size": size}
    return told | ({"_meta": {"title": title}} if title else {})


def texts(clip: list[Any]) -> Flow:
    return {
        "positive": node("CLIPTextEncode", (360, 0), "Prompt", TEXT, text=PROMPT, clip=clip),
        "negative": node("CLIPTextEncode", (360, 190), "Negative prompt", TEXT, text=NEGATIVE, clip=clip),
    }


def wan_models() -> Flow:
    return {
        "model": node("UNETLoader", (0, 0), "", (300, 0), unet_name="wan2.1_t2v_1.3B_fp16.safetensors", weight_dtype="default"),
        "clip": node("CLIPLoader", (0, 130), "", (300, 0), clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan", device="default"),
        "vae": node("VAELoader", (0, 280), "", (300, 0), vae_name="wan_2.1_vae.safetensors"),
        "adapter": node("EchoReelLoadAdapter", (0, 390), "", (300, 0), adapter="my-adapter"),
    }  # fmt: skip


def reference(vae: list[Any], clip: list[Any], size: tuple[int, int]) -> Flow:
    width, height = size
    return {
        "video": node("LoadVideo", (0, 590), "Load Video: the reference", (300, 420), file="cartwheel.mp4"),
        "caption": node("CLIPTextEncode", (360, 590), "What the reference shows", TEXT, text=CAPTION, clip=clip),
        "reference": node("EchoReelEncodeReference", (820, 590), "", (320, 0), video=["video", 0], vae=vae,
                          caption=["caption", 0], fps=24.0, start=0.0, seconds=2.0, take_fps=8.0, width=width, height=height,
                          crop="middle", strength=1.0),
    }  # fmt: skip


def apply(model: list[Any]) -> Flow:
    return {
        "apply": node("EchoReelApply", (1200, 0), "", (320, 0), model=model, adapter=["adapter", 0],
                      references=["reference", 0], positive=["positive", 0], scale=1.0, start_percent=0.0,
                      end_percent=1.0, reads="positive"),
        "preview": node("EchoReelPreviewReference", (1200, 590), "", (320, 0), references=["reference", 0]),
    }  # fmt: skip


def sampled(name: str, title: str, model: list[Any], place: tuple[int, int]) -> Flow:
    x, y = place
    return {
        name: node("KSampler", place, f"KSampler: {title}", (320, 0), model=model, seed=7, steps=30, cfg=6.0,
                   sampler_name="uni_pc", scheduler="simple", positive=["positive", 0], negative=["negative", 0],
                   latent_image=["latent", 0], denoise=1.0),
        f"{name}-frames": node("VAEDecode", (x + 380, y), "", (200, 0), samples=[name, 0], vae=["vae", 0]),
    }  # fmt: skip


def written(frames: list[Any], place: tuple[int, int], fps: float, name: str) -> Flow:
    x, y = place
    return {
        f"{name}-video": node("CreateVideo", place, "", (300, 0), images=frames, fps=fps),
        f"{name}-file": node(
            "SaveVideo", (x, y + 170), "", (300, 0), video=[f"{name}-video", 0], filename_prefix=f"echoreel/{name}",
            format="auto", codec="auto",
        ),
    }  # fmt: skip


def wan() -> Flow:
    """A video as the reference, and the base's own video beside ours."""
    latent = node("EmptyHunyuanLatentVideo", (820, 0), "Empty latent video", (320, 0), width=832, height=480, length=33, batch_size=1)  # fmt: skip
    return {
        **wan_models(),
        **texts(["clip", 0]),
        **reference(["vae", 0], ["clip", 0], (832, 480)),
        **apply(["model", 0]),
        "latent": latent,
        **sampled("ours", "with the reference", ["apply", 0], (1580, 0)),
        **sampled("base", "without it", ["model", 0], (1580, 590)),
        "compare": node("EchoReelCompare", (2220, 0), "", (300, 0), base=["base-frames", 0], ours=["ours-frames", 0],
                        references=["reference", 0], height=320),
        **written(["compare", 0], (2220, 190), 16.0, "compare"),
    }  # fmt: skip


def wan_file() -> Flow:
    """A reference file: nothing is encoded."""
    flow = wan_models() | texts(["clip", 0])
    flow["reference"] = node(
        "EchoReelLoadReference", (820, 430), "", (320, 0), file="cartwheel.safetensors", strength=1.0
    )
    flow |= apply(["model", 0])
    flow["preview"]["place"] = (1200, 430)
    flow["latent"] = node("EmptyHunyuanLatentVideo", (820, 0), "Empty latent video", (320, 0), width=832, height=480, length=33, batch_size=1)  # fmt: skip
    flow |= sampled("ours", "with the reference", ["apply", 0], (1580, 0))
    return flow | written(["ours-frames", 0], (2220, 0), 16.0, "ours")


def ltx() -> Flow:
    """LTX-Video, and the reference kept as a file."""
    flow: Flow = {
        "model": node("CheckpointLoaderSimple", (0, 0), "", (300, 0), ckpt_name="ltx-video-2b-v0.9.5.safetensors"),
        "clip": node("CLIPLoader", (0, 170), "", (300, 0), clip_name="t5xxl_fp16.safetensors", type="ltxv", device="default"),
        "adapter": node("EchoReelLoadAdapter", (0, 340), "", (300, 0), adapter="my-adapter"),
    }  # fmt: skip
    flow |= texts(["clip", 0]) | reference(["model", 2], ["clip", 0], (768, 512)) | apply(["model", 0])
    flow["keep"] = node("EchoReelSaveReference", (1200, 760), "", (320, 220), references=["reference", 0],
                        model=["model", 0], name="cartwheel", caption=CAPTION)  # fmt: skip
    flow["latent"] = node("EmptyLTXVLatentVideo", (820, 0), "Empty latent video", (320, 0), width=768, height=512, length=97, batch_size=1)  # fmt: skip
    flow["rate"] = node(
        "LTXVConditioning", (820, 220), "", (320, 0), positive=["positive", 0], negative=["negative", 0], frame_rate=25.0
    )  # fmt: skip
    flow["ours"] = node("SamplerCustom", (1580, 0), "SamplerCustom: with the reference", (320, 0), model=["apply", 0],
                        add_noise=True, noise_seed=7, cfg=3.0, positive=["rate", 0], negative=["rate", 1],
                        sampler=["method", 0], sigmas=["steps", 0], latent_image=["latent", 0])  # fmt: skip
    flow["method"] = node("KSamplerSelect", (1960, 120), "", (200, 0), sampler_name="euler")
    flow["steps"] = node("LTXVScheduler", (1960, 240), "", (200, 0), steps=30, max_shift=2.05, base_shift=0.95,
                         stretch=True, terminal=0.1, latent=["latent", 0])  # fmt: skip
    flow["ours-frames"] = node("VAEDecode", (1960, 0), "", (200, 0), samples=["ours", 0], vae=["model", 2])
    return flow | written(["ours-frames", 0], (2220, 0), 25.0, "ours")


EXAMPLES = {"wan_reference_video": wan, "wan_reference_file": wan_file, "ltx_reference_video": ltx}
MODELS = ("Models", ["model", "clip", "vae", "adapter"])
WORDS = ("Prompt and size", ["positive", "negative", "latent", "rate"])
REFERENCE = ("Reference", ["video", "caption", "reference", "preview", "keep"])
OURS = ("Video with the reference", ["apply", "ours", "ours-frames", "method", "steps"])
BASE = ("Video of the model alone", ["base", "base-frames"])
RESULT = ("Result", ["compare", "compare-video", "compare-file", "ours-video", "ours-file"])
GROUPS = (MODELS, WORDS, REFERENCE, OURS, BASE, RESULT)
NOTES = {
    "wan_reference_video": NOTE.format(
        model="Wan 2.1", reference=CLIP, result="The result shows the reference, the model alone, and ours."
    ),
    "wan_reference_file": NOTE.format(
        model="Wan 2.1",
        reference="Choose a file that Save Reference or `echoreel reference save` wrote, in **Reference**. It is in "
        "`models/echoreel_references`.",
        result="Nothing is encoded, so no reference video is needed.",
    ),
    "ltx_reference_video": NOTE.format(
        model="LTX-Video", reference=CLIP, result="The reference is kept as a file, to use again."
    ),
}


def api(flow: Flow) -> Flow:
    """Without what the page alone needs, as /prompt takes it."""
    return {name: {key: each[key] for key in ("class_type", "inputs")} for name, each in flow.items()}
