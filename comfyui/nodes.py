"""EchoReel's nodes for ComfyUI, in its V3 schema: an adapter at work in a model. The list of all nodes."""

from typing import Any

import comfy.model_management as memory
import torch
from comfy_api.latest import ComfyExtension, io

from echoreel.common.errors import SettingsError

from .action import Action
from .adapters import CONFIG, load_adapter
from .families import check_family, check_fits, network_of
from .folders import ADAPTERS, adapters, located, stamp
from .joining import join
from .library import find
from .models import Loaded, check_latents, way_of
from .reference_nodes import (
    CATEGORY,
    EchoReelEncodeReference,
    EchoReelLoadReference,
    EchoReelPreviewReference,
    EchoReelSaveReference,
    ReferencesType,
)
from .references import Reference, as_images, compared, of_family
from .texts import Text

AdapterType = io.Custom("ECHOREEL_ADAPTER")


class EchoReelLoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoReelLoadAdapter",
            display_name="Load Adapter (EchoReel)",
            category=CATEGORY,
            description="An adapter from models/echoreel/NAME: the folder that EchoReel's training wrote.",
            search_aliases=["echoreel", "motion adapter", "action"],
            inputs=[io.Combo.Input("adapter", options=adapters(), tooltip="A folder in models/echoreel.")],
            outputs=[AdapterType.Output(display_name="adapter")],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter: str) -> str:
        return stamp(located(ADAPTERS, adapter, CONFIG))

    @classmethod
    def execute(cls, adapter: str) -> io.NodeOutput:
        found = load_adapter(located(ADAPTERS, adapter, CONFIG))
        check_family(found, adapter)
        return io.NodeOutput(Loaded(found, adapter))


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
                    display_name="branch that reads",
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
        check_fits(model, adapter.adapter, adapter.name)
        memory.load_models_gpu([adapter.prism])
        family, device = adapter.adapter.family, adapter.prism.load_device
        given = [_given(each, model, adapter, device) for each in references]
        prompts = [negative, positive] if reads == "both" and negative is not None else [positive]
        width = adapter.adapter.caption_width
        texts = [Text.of(each).read("a prompt", family, width).to(device) for each in prompts]
        tokens = adapter.adapter.tokens(given, texts)
        if tokens is None or scale == 0:
            return io.NodeOutput(model)
        network = network_of(model, adapter.adapter)
        action = Action(adapter.integrations, network, tokens, scale, reads == "both")
        return io.NodeOutput(join(model, action, way_of(model), (start_percent, end_percent)))


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
    if reference.made is None:
        held = of_family(reference, adapter.family, adapter.latent_channels, adapter.caption_width)
        latents, tokens = (torch.from_numpy(each)[None] for each in (held.latents, held.caption))
        return latents.to(device), tokens.to(device), reference.strength
    made = reference.made
    check_latents(made.latents, adapter.latent_channels)
    tokens = made.text.read("a caption", adapter.family, adapter.caption_width)
    latents = model.get_model_object("latent_format").process_in(made.latents.to(device))
    return latents, tokens.to(device), reference.strength


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
