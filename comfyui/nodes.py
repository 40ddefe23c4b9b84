"""EchoReel's nodes for ComfyUI, in its V3 schema."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management as memory
import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io, ui

from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.media.reference_file import SUFFIX, is_reference_file, read_reference, write_reference

from .adapters import CONFIG, load_adapter
from .joining import Action, join
from .library import find
from .models import Loaded, check_fits, family_of, network_of, padded, text_tokens, way_of
from .references import (
    Reference,
    as_images,
    compared,
    of_family,
    resized,
    sheet,
    take,
    with_encoded,
)

CATEGORY = "EchoReel"
ADAPTERS, REFERENCES = "echoreel", "echoreel_references"
for folder in (ADAPTERS, REFERENCES):
    folder_paths.add_model_folder_path(folder, str(Path(folder_paths.models_dir) / folder))

AdapterType = io.Custom("ECHOREEL_ADAPTER")
ReferencesType = io.Custom("ECHOREEL_REFERENCES")
NONE = "none found"


def _adapters() -> list[str]:
    roots = map(Path, folder_paths.get_folder_paths(ADAPTERS))
    return sorted({path.parent.name for root in roots for path in root.glob(f"*/{CONFIG}")}) or [NONE]


def _reference_files() -> list[str]:
    roots = map(Path, folder_paths.get_folder_paths(REFERENCES))
    found = {path.name for root in roots for path in root.glob(f"*{SUFFIX}") if is_reference_file(path)}
    return sorted(found) or [NONE]


def _found(kind: str, name: str, inside: str = "") -> Path:
    """Raises AdapterMismatch where no folder of models has it."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(kind)]
    for root in roots:
        path = root / name
        if path.parent == root and name != ".." and (path / inside).exists():  # no name leads out
            return path
    what = f"a folder with {CONFIG}" if kind == ADAPTERS else "a reference file"
    raise AdapterMismatch(f"{name}: not there; put {what} into {roots[0]} and refresh the page (R)")


def _stamp(path: Path) -> str:
    """Changes when a file, or one in a folder, does."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.sha256(repr(told).encode()).hexdigest()


class EchoReelLoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelLoadAdapter",
            display_name="Load Adapter (EchoReel)",
            category=CATEGORY,
            description="An adapter from models/echoreel/NAME: the folder that EchoReel's training wrote.",
            search_aliases=["echoreel", "motion adapter", "action"],
            inputs=[io.Combo.Input("adapter", options=_adapters(), tooltip="A folder in models/echoreel.")],
            outputs=[AdapterType.Output(display_name="adapter")],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter: str) -> str:
        return _stamp(_found(ADAPTERS, adapter, CONFIG))

    @classmethod
    def execute(cls, adapter: str) -> io.NodeOutput:
        return io.NodeOutput(Loaded(load_adapter(_found(ADAPTERS, adapter, CONFIG)), adapter))


class EchoReelEncodeReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelEncodeReference",
            display_name="Encode Reference (EchoReel)",
            category=CATEGORY,
            description="Encode a video that shows the action. Give a video, or images with their fps.",
            search_aliases=["echoreel", "reference video", "motion reference"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of the video model."),
                io.Conditioning.Input(
                    "caption", tooltip="What the reference shows, through CLIP Text Encode."
                ),
                io.Video.Input("video", optional=True, tooltip="The reference, as Load Video gives it."),
                io.Image.Input("images", optional=True, tooltip="Its frames, where there is no video."),
                io.Float.Input("fps", default=24.0, min=0.1, max=1000.0, tooltip="Of the images."),
                io.Float.Input("start", default=0.0, min=0.0, max=36000.0, step=0.01, tooltip="Seconds."),
                io.Float.Input("seconds", default=2.0, min=0.1, max=60.0, step=0.01, tooltip="To take."),
                io.Float.Input(
                    "take_fps", default=8.0, min=0.1, max=240.0, tooltip="Frames a second to take."
                ),
                io.Int.Input("width", default=832, min=16, max=4096, step=8, tooltip="The video's, best."),
                io.Int.Input("height", default=480, min=16, max=4096, step=8, tooltip="The video's, best."),
                io.Combo.Input(
                    "crop",
                    options=["middle", "moving"],
                    tooltip="The middle, or the square around what moves, for still cameras.",
                ),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01, tooltip="Its weight."),
                ReferencesType.Input("references", optional=True, tooltip="Others, to read as well."),
            ],
            outputs=[ReferencesType.Output(display_name="references")],
        )

    @classmethod
    def execute(
        cls,
        vae: Any,
        caption: Any,
        fps: float,
        start: float,
        seconds: float,
        take_fps: float,
        width: int,
        height: int,
        crop: str,
        strength: float,
        video: Any = None,
        images: Any = None,
        references: list[Reference] | None = None,
    ) -> io.NodeOutput:
        if (video is None) == (images is None):
            raise SettingsError(
                "connect a video or images with their fps to Encode Reference, one of the two"
            )
        if video is not None:
            parts = video.get_components()
            images, fps = parts.images, float(parts.frame_rate)
        stored = take(images, fps, start, seconds, take_fps, crop == "moving")
        step = vae.temporal_compression_decode() or 1
        latents = vae.encode(resized(stored.frames, (height, width), step))
        reference = Reference(stored, strength, latents, text_tokens(caption), (height, width))
        return io.NodeOutput([*(references or []), reference])


class EchoReelSaveReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelSaveReference",
            display_name="Save Reference (EchoReel)",
            category=CATEGORY,
            description="Write encoded references to models/echoreel_references, one file each.",
            inputs=[
                ReferencesType.Input("references"),
                io.Model.Input("model", tooltip="The model that they are for."),
                io.String.Input("name", default="reference", tooltip="Of the file; a number is added."),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    tooltip="What the reference shows, as it was encoded; other models need the words.",
                ),
            ],
            outputs=[ReferencesType.Output(display_name="references")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, references: list[Reference], model: Any, name: str, caption: str) -> io.NodeOutput:
        stem = re.sub(r"[^\w .-]", "_", name).strip(" .")[:100] or "reference"
        folder, form = (
            Path(folder_paths.get_folder_paths(REFERENCES)[0]),
            model.get_model_object("latent_format"),
        )
        written = []
        for each in references:
            if each.latents is None:
                stored = each.stored
            else:
                latents, family = form.process_in(each.latents), family_of(model)
                stored = with_encoded(each, latents, padded(_tokens(each), family), family, caption)
            path = _free(folder, stem)
            write_reference(path, replace(stored, source=stored.source or stem), overwrite=False)
            written.append(path.name)
        told = f"wrote {', '.join(written)} to {folder}"
        return io.NodeOutput(references, ui=ui.PreviewText(told))


class EchoReelLoadReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelLoadReference",
            display_name="Load Reference (EchoReel)",
            category=CATEGORY,
            description="A reference file from models/echoreel_references, encoded already.",
            inputs=[
                io.Combo.Input("file", options=_reference_files(), tooltip="Of models/echoreel_references."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01, tooltip="Its weight."),
                ReferencesType.Input("references", optional=True, tooltip="Others, to read as well."),
            ],
            outputs=[
                ReferencesType.Output(display_name="references"),
                io.Image.Output(display_name="images"),
                io.Float.Output(display_name="fps"),
                io.String.Output(display_name="caption"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, **more: Any) -> str:
        return _stamp(_found(REFERENCES, file))

    @classmethod
    def execute(cls, file: str, strength: float, references: list[Reference] | None = None) -> io.NodeOutput:
        stored = read_reference(_found(REFERENCES, file))
        reference = Reference(replace(stored, source=stored.source or file), strength)
        images = as_images(stored.frames)
        return io.NodeOutput([*(references or []), reference], images, stored.fps, stored.caption)


class EchoReelApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelApply",
            display_name="Apply References (EchoReel)",
            category=CATEGORY,
            description="Have the model act as in the references. Put it last, behind other patches.",
            search_aliases=["echoreel", "motion transfer", "action"],
            inputs=[
                io.Model.Input("model"),
                AdapterType.Input("adapter"),
                ReferencesType.Input("references"),
                io.Conditioning.Input("positive", tooltip="The prompt that the sampler gets, too."),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="Where both branches read: the negative prompt."
                ),
                io.Float.Input(
                    "scale", default=1.0, min=0.0, max=10.0, step=0.01, tooltip="0 none, 1 as trained."
                ),
                io.Float.Input("start_percent", default=0.0, min=0.0, max=1.0, step=0.001),
                io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.001),
                io.Combo.Input(
                    "reads",
                    options=["positive", "both"],
                    tooltip="Positive: guidance amplifies the action. Both: the negative branch reads, too.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter: Loaded,
        references: list[Reference],
        positive: Any,
        scale: float,
        start_percent: float,
        end_percent: float,
        reads: str,
        negative: Any = None,
    ) -> io.NodeOutput:
        if start_percent >= end_percent:
            raise SettingsError(
                f"got a window from {start_percent} to {end_percent}, need a start before its end"
            )
        check_fits(model, adapter)
        memory.load_models_gpu([adapter.prism])
        family, device = adapter.adapter.family, adapter.prism.load_device
        given = [_given(each, model, adapter, device) for each in references]
        prompts = [negative, positive] if reads == "both" and negative is not None else [positive]
        texts = [padded(text_tokens(each), family).to(device) for each in prompts]
        tokens = adapter.adapter.tokens(given, texts)
        if tokens is None or scale == 0:
            return io.NodeOutput(model)
        network = network_of(model, adapter.adapter)
        action = Action(adapter.integrations, network, tokens, scale, reads == "both")
        return io.NodeOutput(join(model, action, way_of(model), (start_percent, end_percent)))


class EchoReelPreviewReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelPreviewReference",
            display_name="Preview Reference (EchoReel)",
            category=CATEGORY,
            description="The frames taken of each reference, under its times, strength and caption.",
            inputs=[ReferencesType.Input("references")],
            outputs=[
                ReferencesType.Output(display_name="references"),
                io.Image.Output(display_name="image"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, references: list[Reference]) -> io.NodeOutput:
        picture = sheet(references)
        return io.NodeOutput(references, picture, ui=ui.PreviewImage(picture, cls=cls))


class EchoReelCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelCompare",
            display_name="Compare (EchoReel)",
            category=CATEGORY,
            description="The model's own video and ours of the same seed, side by side with the reference.",
            inputs=[
                io.Image.Input("base", tooltip="Frames made without references."),
                io.Image.Input("ours", tooltip="Frames made with them, of the same seed."),
                ReferencesType.Input("references", optional=True, tooltip="To show as well."),
                io.Int.Input("height", default=320, min=64, max=2048, step=8, tooltip="Of each video."),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(
        cls, base: Any, ours: Any, height: int, references: list[Reference] | None = None
    ) -> io.NodeOutput:
        shown = [("reference", as_images(each.stored.frames)) for each in references or []]
        return io.NodeOutput(compared([*shown, ("base", base), ("with reference", ours)], height))


class EchoReelFindInLibrary(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelFindInLibrary",
            display_name="Find in Library (EchoReel)",
            category=CATEGORY,
            description="A clip of the prompt's action from a library. Needs echoreel[library] installed.",
            inputs=[
                io.String.Input("library", default="", tooltip="The library's folder."),
                io.String.Input("prompt", default="", multiline=True),
                io.Int.Input("number", default=1, min=1, max=100, tooltip="1: the best, 2: the next."),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Float.Output(display_name="fps"),
                io.String.Output(display_name="caption"),
            ],
        )

    @classmethod
    def execute(cls, library: str, prompt: str, number: int) -> io.NodeOutput:
        frames, fps, caption = find(library, prompt, number)
        return io.NodeOutput(as_images(frames), fps, caption)


def _given(reference: Reference, model: Any, loaded: Loaded, device: Any) -> tuple[Any, Any, float]:
    """Latents as the network takes them, caption tokens, strength: encoded here, or from a file."""
    adapter = loaded.adapter
    if reference.latents is None:
        held = of_family(reference, adapter.family, adapter.latent_channels, adapter.caption_width)
        latents, tokens = (torch.from_numpy(each)[None] for each in (held.latents, held.caption))
        return latents.to(device), tokens.to(device), reference.strength
    latents, tokens = reference.latents.to(device), _tokens(reference).to(device)
    if latents.shape[1] != adapter.latent_channels or tokens.shape[-1] != adapter.caption_width:
        raise AdapterMismatch(
            f"got a reference of {latents.shape[1]} latent channels and captions of width "
            f"{tokens.shape[-1]}, need {adapter.latent_channels} and {adapter.caption_width}; encode it "
            "with the VAE and text encoder of the model"
        )
    latents = model.get_model_object("latent_format").process_in(latents)
    return latents, padded(tokens, adapter.family), reference.strength


def _tokens(reference: Reference) -> Any:
    assert reference.tokens is not None
    return reference.tokens


def _free(folder: Path, stem: str) -> Path:
    """A name that no file has."""
    number = 1
    while (path := folder / f"{stem}_{number:05}{SUFFIX}").exists():
        number += 1
    return path


class EchoReelExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            EchoReelLoadAdapter,
            EchoReelEncodeReference,
            EchoReelSaveReference,
            EchoReelLoadReference,
            EchoReelApply,
            EchoReelPreviewReference,
            EchoReelCompare,
            EchoReelFindInLibrary,
        ]
