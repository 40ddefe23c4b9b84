"""The example workflows, as the server takes them (API form), and where their nodes lie on the page.

`screenshots.py` has the page make comfyui/example_workflows/NAME.json and .jpg of them; `check_examples.py` runs
those of Wan with tiny models.
"""

from typing import Any

Flow = dict[str, dict[str, Any]]
PROMPT = "a woman in a red coat doing a cartwheel on a beach"
CAPTION = "a man doing a cartwheel"
NEGATIVE = "blurry, distorted, static"


def node(kind: str, place: tuple[int, int], **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "place": place}


def texts(clip: list[Any]) -> Flow:
    return {
        "positive": node("CLIPTextEncode", (380, 0), text=PROMPT, clip=clip),
        "negative": node("CLIPTextEncode", (380, 220), text=NEGATIVE, clip=clip),
    }


def wan_models() -> Flow:
    return {
        "model": node("UNETLoader", (0, 0), unet_name="wan2.1_t2v_1.3B_fp16.safetensors", weight_dtype="default"),
        "clip": node("CLIPLoader", (0, 140), clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan", device="default"),
        "vae": node("VAELoader", (0, 310), vae_name="wan_2.1_vae.safetensors"),
        "adapter": node("EchoReelLoadAdapter", (0, 430), adapter="my-adapter"),
    }  # fmt: skip


def reference(vae: list[Any], clip: list[Any], size: tuple[int, int]) -> Flow:
    width, height = size
    return {
        "video": node("LoadVideo", (0, 560), file="cartwheel.mp4"),
        "caption": node("CLIPTextEncode", (380, 440), text=CAPTION, clip=clip),
        "reference": node("EchoReelEncodeReference", (820, 440), video=["video", 0], vae=vae, caption=["caption", 0],
                          fps=24.0, start=0.0, seconds=2.0, take_fps=8.0, width=width, height=height, crop="middle",
                          strength=1.0),
    }  # fmt: skip


def apply(model: list[Any]) -> Flow:
    return {
        "apply": node("EchoReelApply", (1240, 0), model=model, adapter=["adapter", 0], references=["reference", 0],
                      positive=["positive", 0], scale=1.0, start_percent=0.0, end_percent=1.0, reads="positive"),
        "preview": node("EchoReelPreviewReference", (1240, 440), references=["reference", 0]),
    }  # fmt: skip


def sampled(name: str, model: list[Any], place: tuple[int, int]) -> Flow:
    x, y = place
    return {
        name: node("KSampler", place, model=model, seed=7, steps=30, cfg=6.0, sampler_name="uni_pc",
                   scheduler="simple", positive=["positive", 0], negative=["negative", 0], latent_image=["latent", 0],
                   denoise=1.0),
        f"{name}-frames": node("VAEDecode", (x + 330, y), samples=[name, 0], vae=["vae", 0]),
    }  # fmt: skip


def written(frames: list[Any], place: tuple[int, int], fps: float, name: str) -> Flow:
    x, y = place
    return {
        f"{name}-video": node("CreateVideo", place, images=frames, fps=fps),
        f"{name}-file": node(
            "SaveVideo", (x, y + 150), video=[f"{name}-video", 0], filename_prefix=f"echoreel/{name}",
            format="auto", codec="auto",
        ),
    }  # fmt: skip


def wan() -> Flow:
    """A video as the reference, and the base's own video beside ours."""
    latent = node("EmptyHunyuanLatentVideo", (820, 0), width=832, height=480, length=33, batch_size=1)
    return {
        **wan_models(),
        **texts(["clip", 0]),
        **reference(["vae", 0], ["clip", 0], (832, 480)),
        **apply(["model", 0]),
        "latent": latent,
        **sampled("ours", ["apply", 0], (1640, 0)),
        **sampled("base", ["model", 0], (1640, 500)),
        "compare": node("EchoReelCompare", (2250, 160), base=["base-frames", 0], ours=["ours-frames", 0],
                        references=["reference", 0], height=320),
        **written(["compare", 0], (2250, 360), 16.0, "compare"),
    }  # fmt: skip


def wan_file() -> Flow:
    """A reference file: nothing is encoded."""
    flow = wan_models() | texts(["clip", 0])
    flow["reference"] = node("EchoReelLoadReference", (820, 440), file="cartwheel.safetensors", strength=1.0)
    flow |= apply(["model", 0])
    flow["latent"] = node("EmptyHunyuanLatentVideo", (820, 0), width=832, height=480, length=33, batch_size=1)
    flow |= sampled("ours", ["apply", 0], (1640, 0))
    return flow | written(["ours-frames", 0], (1970, 200), 16.0, "ours")


def ltx() -> Flow:
    """LTX-Video, and the reference kept as a file."""
    flow: Flow = {
        "model": node("CheckpointLoaderSimple", (0, 0), ckpt_name="ltx-video-2b-v0.9.5.safetensors"),
        "clip": node(
            "CLIPLoader", (0, 160), clip_name="t5xxl_fp16.safetensors", type="ltxv", device="default"
        ),
        "adapter": node("EchoReelLoadAdapter", (0, 430), adapter="my-adapter"),
    }
    flow |= texts(["clip", 0]) | reference(["model", 2], ["clip", 0], (768, 512)) | apply(["model", 0])
    flow["keep"] = node("EchoReelSaveReference", (1240, 760), references=["reference", 0], model=["model", 0],
                        name="cartwheel", caption=CAPTION)  # fmt: skip
    flow["latent"] = node("EmptyLTXVLatentVideo", (820, 0), width=768, height=512, length=97, batch_size=1)
    flow["rate"] = node(
        "LTXVConditioning", (820, 220), positive=["positive", 0], negative=["negative", 0], frame_rate=25.0
    )
    flow["steps"] = node("LTXVScheduler", (1640, 340), steps=30, max_shift=2.05, base_shift=0.95, stretch=True,
                         terminal=0.1, latent=["latent", 0])  # fmt: skip
    flow["method"] = node("KSamplerSelect", (1640, 560), sampler_name="euler")
    flow["ours"] = node("SamplerCustom", (1640, 0), model=["apply", 0], add_noise=True, noise_seed=7, cfg=3.0,
                        positive=["rate", 0], negative=["rate", 1], sampler=["method", 0], sigmas=["steps", 0],
                        latent_image=["latent", 0])  # fmt: skip
    flow["ours-frames"] = node("VAEDecode", (2000, 0), samples=["ours", 0], vae=["model", 2])
    return flow | written(["ours-frames", 0], (2000, 160), 25.0, "ours")


EXAMPLES = {
    "wan_reference_video": wan,
    "wan_reference_file": wan_file,
    "ltx_reference_video": ltx,
}


def api(flow: Flow) -> Flow:
    """Without places, as /prompt takes it."""
    return {name: {k: v for k, v in each.items() if k != "place"} for name, each in flow.items()}
