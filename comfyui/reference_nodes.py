"""The nodes that make, keep and show references."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from echoreel.common.errors import SettingsError
from echoreel.media.reference_file import read_reference, write_reference

from .families import families_of
from .folders import REFERENCES, free, located, reference_files, stamp
from .models import check_latents
from .references import Made, Reference, as_images, resized, sheet, stretched, take, with_encoded
from .texts import Text

CATEGORY = "EchoReel"
ReferencesType = io.Custom("ECHOREEL_REFERENCES")


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
                io.Float.Input(
                    "fps",
                    display_name="fps of images",
                    default=24.0,
                    min=0.1,
                    max=1000.0,
                    tooltip="A video knows its own.",
                ),
                io.Float.Input(
                    "start",
                    display_name="start (s)",
                    default=0.0,
                    min=0.0,
                    max=36000.0,
                    step=0.01,
                    tooltip="Where the action begins, in seconds.",
                ),
                io.Float.Input(
                    "seconds",
                    display_name="length (s)",
                    default=2.0,
                    min=0.1,
                    max=60.0,
                    step=0.01,
                    tooltip="Seconds to take, with all of the action in them.",
                ),
                io.Float.Input(
                    "take_fps",
                    display_name="fps to take",
                    default=8.0,
                    min=0.1,
                    max=240.0,
                    tooltip="Frames a second; 8 as in training.",
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
        reference = Reference(stored, strength, Made(latents, Text.of(caption), (height, width)))
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
            stored = each.stored
            if made := each.made:
                family = families_of(model)[0]
                check_latents(made.latents, form.latent_channels)
                latents, tokens = form.process_in(made.latents), made.text.read("a caption", family)
                stored = with_encoded(stored, latents, tokens, made.size, family, caption)
            path = free(folder, stem)
            write_reference(path, replace(stored, source=stored.source or stem), overwrite=False)
            written.append(path.name)
        told = f"wrote {', '.join(written)} to {folder}"
        if not caption.strip() and any(each.made for each in references):
            told += "; without a caption, other models cannot encode them well"
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
                io.Combo.Input("file", options=reference_files(), tooltip="Of models/echoreel_references."),
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
        return stamp(located(REFERENCES, file))

    @classmethod
    def execute(cls, file: str, strength: float, references: list[Reference] | None = None) -> io.NodeOutput:
        stored = read_reference(located(REFERENCES, file))
        if stored.align != "stretch":
            logging.warning(f"EchoReel: {file} {stretched(stored)}")
        reference = Reference(replace(stored, source=stored.source or file), strength)
        images = as_images(stored.frames)
        return io.NodeOutput([*(references or []), reference], images, stored.fps, stored.caption)


class EchoReelPreviewReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelPreviewReference",
            display_name="Preview Reference (EchoReel)",
            category=CATEGORY,
            description="The frames taken of each reference, under its times, strength and caption.",
            inputs=[ReferencesType.Input("references")],
            outputs=[ReferencesType.Output(display_name="references"), io.Image.Output(display_name="image")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, references: list[Reference]) -> io.NodeOutput:
        picture = sheet(references)
        return io.NodeOutput(references, picture, ui=ui.PreviewImage(picture, cls=cls))
