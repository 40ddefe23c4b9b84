"""What a training needs, told before anything is downloaded, encoded or trained."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video
from echoreel.bases.loading import find_model
from echoreel.bases.missing_tensors import variant_in
from echoreel.bases.quantize import quantized_bytes
from echoreel.bases.sketch import parameters, sketched
from echoreel.media.drawing import contact_sheet
from echoreel.media.video_files import write_image
from echoreel.method.adapter import ActionAdapter
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.clip_shape import clip_shape, latent_shape
from echoreel.training.held_blocks import blocks_of
from echoreel.training.memory import BYTES_PER_PARAMETER, free_memory
from echoreel.training.pair_cache import Pairs, PairSet, shards_in
from echoreel.training.step_cost import META, step_cost, text_tokens_of
from echoreel.training.step_pairs import TrainingPairs, adapter_batch, check_task
from echoreel.training.train_adapter import AdapterRecipe

SPEED = 100e12  # operations a second that a large GPU reaches in bfloat16, about a third of its peak


@dataclass(frozen=True)
class Needs:
    """Of a training: bytes, operations, and whether this machine has the memory."""

    base: str
    denoiser_parameters: int
    other_parameters: int  # autoencoder, text encoders
    adapter_parameters: int
    pairs: int | None  # None: not encoded yet
    buckets: int  # shapes of pairs; the step is one of the largest
    latents: tuple[int, ...]  # of a step: (B, C, T, h, w)
    references: int
    steps: int
    weights: int  # bytes where they compute
    text_encoders: int  # bytes of those that encode all captions first, and are freed
    waiting: int  # bytes of blocks in main memory
    optimizer: int  # bytes of the adapter, its gradients, AdamW's moments and the average
    activations: int  # bytes that a step holds at most
    flop_per_step: float
    device: str
    free: int  # bytes
    sheet: str | None = None  # a picture of the first batch

    @property
    def peak(self) -> int:
        return max(self.weights + self.optimizer + self.activations, self.text_encoders)

    @property
    def fits(self) -> bool:
        return self.peak < self.free

    def details(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"peak": self.peak, "fits": self.fits}

    def told(self) -> list[str]:
        """For people."""
        batch, _, frames, height, width = self.latents
        share = self.adapter_parameters / self.denoiser_parameters
        hours = self.steps * self.flop_per_step / SPEED / 3600
        pairs = "not encoded yet" if self.pairs is None else f"{self.pairs}, encoded"
        pairs += f", in {self.buckets} buckets; the step is one of the largest" if self.buckets > 1 else ""
        verdict = "it fits" if self.fits else f"it does not fit; {ADVICE}"
        return [
            f"base        {self.base}: {self.denoiser_parameters / 1e9:.2f} B parameters in the denoiser, "
            f"{self.other_parameters / 1e9:.2f} B in the rest",
            f"adapter     {self.adapter_parameters / 1e6:.2f} M parameters, {share:.1%} of the denoiser",
            f"pairs       {pairs}",
            f"step        {batch} pairs of {frames} latent frames of {width}x{height}, {self.references} "
            f"references each; {self.flop_per_step / 1e12:.3g} TFLOP",
            f"memory      {_gib(self.weights)} weights, {_gib(self.optimizer)} adapter and optimizer, "
            f"{_gib(self.activations)} a step: {_gib(self.peak)} at most",
            *(
                [f"before      {_gib(self.text_encoders)} of text encoders, then freed"]
                if self.text_encoders
                else []
            ),
            *([f"waiting     {_gib(self.waiting)} of blocks in main memory"] if self.waiting else []),
            f"machine     {self.device} with {_gib(self.free)} free: {verdict}",
            f"time        {self.steps} steps take {hours:.1f} hours at 100 TFLOP/s, which large GPUs reach "
            "(computed, not measured)",
            *([f"wrote {self.sheet}, the first batch"] if self.sheet else []),
        ]


ADVICE = (
    "set gradient_checkpointing = true, quantize or stream_base, lower `batch`, encode fewer frames or a "
    "smaller size"
)


def dry_run(recipe: AdapterRecipe, gpu: float | None = None) -> Needs:
    """What `train` needs for a recipe; where the pairs are there, also a sheet of the first batch.

    gpu: GiB of a GPU to count for, above 0, in place of this machine.

    Weights are neither read nor downloaded; the sheet takes the autoencoder, if it is on this machine.
    Raises EchoReelError's family as `train` does.
    """
    recipe.weights().check(recipe.task.gradient_checkpointing, here=False)
    base, source = sketched(recipe.base)
    device = torch.device("cuda" if torch.cuda.is_available() or gpu is not None else "cpu")
    data = PairSet.open(recipe.pairs) if shards_in(recipe.pairs) else None
    sheet = _sheet(base, source, recipe, data) if data else None
    adapter = _adapter(base, recipe)
    task = recipe.task
    shape = latent_shape(base, clip_shape(base)) if data is None else data.shape[1:]
    references = task.references or (data.shape[0] if data else 1)
    latents = (task.batch, *shape)
    parts = {n: m for n, m in base.pipe.components.items() if isinstance(m, nn.Module)}
    names = (base.component, *base.more)
    denoisers = sum(parameters(parts[name]) for name in names if name in parts)
    others = sum(map(parameters, parts.values())) - denoisers
    ahead = base.reads_text and base.encodes_alone and next(base.denoiser.parameters()).is_meta
    text = sum(parameters(part) for name, part in parts.items() if ahead and name.startswith("text_encoder"))
    whole = 2 if device.type == "cuda" else 4
    held, waiting = held_bytes(base, recipe, whole)
    low = torch.bfloat16 if device.type == "cuda" or recipe.fit.precision == "bf16" else torch.float32
    for part in (base.denoiser, adapter):
        nn.Module.to(part, META, low)  # diffusers' own `to` has notes for those who compute with it
    cost = step_cost(base, adapter, latents, references, text_tokens_of(base), task.gradient_checkpointing)
    return Needs(
        base=source,
        denoiser_parameters=parameters(base.denoiser),
        other_parameters=others,
        adapter_parameters=parameters(adapter),
        pairs=len(data) if data else None,
        buckets=len(data.buckets) if data else 1,
        latents=latents,
        references=references,
        steps=recipe.fit.steps,
        weights=held + (others - text) * whole,
        text_encoders=text * whole,
        waiting=waiting,
        optimizer=parameters(adapter) * BYTES_PER_PARAMETER,
        activations=cost.memory,
        flop_per_step=cost.flop * recipe.fit.accumulate,
        device=_told(device, gpu),
        free=free_memory(device) if gpu is None else int(gpu * 2**30),
        sheet=sheet,
    )


def _told(device: torch.device, gpu: float | None) -> str:
    if gpu is not None:
        return "a GPU"
    return torch.cuda.get_device_name() if device.type == "cuda" else "no GPU; main memory"


def held_bytes(base: Base, recipe: AdapterRecipe, whole: int) -> tuple[int, int]:
    """Bytes of the denoisers where they compute, and in main memory. whole: bytes of a usual number."""
    blocks = [b for d in base.denoisers for b in blocks_of(d, base.checkpoints or base.sites)]
    held = sum(quantized_bytes(denoiser, recipe.quantize, whole) for denoiser in base.denoisers)
    if not recipe.stream_base and recipe.quantize != "fp8-storage":
        return held, 0
    stored = sum(quantized_bytes(block, recipe.quantize, whole) for block in blocks)
    one = max(parameters(block) for block in blocks) * whole  # that computes
    return (held - stored + one, stored) if recipe.stream_base else (held + one, 0)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _adapter(base: Base, recipe: AdapterRecipe) -> ActionAdapter:
    """Without weights. Raises AdapterMismatch, SettingsError."""
    with torch.device("meta"):
        if recipe.start is None:
            fresh: ActionAdapter = ActionAdapter.for_base(
                base, recipe.preset, prism=recipe.prism, integration=recipe.integration
            )
            return fresh
        source = find_model("adapter", recipe.start, "config.json")
        started: ActionAdapter = ActionAdapter.from_config(ActionAdapter.load_config(str(source)))
    started.check_fits(base)
    return started


def _sheet(base: Base, source: str, recipe: AdapterRecipe, data: PairSet) -> str | None:
    """A picture of the first batch; None where the autoencoder is not on this machine."""
    validation = PairSet.open(recipe.validation) if recipe.validation else None
    task: AdapterTaskSettings = recipe.task
    check_task(task, data, validation)
    pairs = TrainingPairs(data, validation, task.held_back, task.batch, task.seed)
    first = adapter_batch(pairs, 0, task)
    decoder = _decoder(base, source)
    if decoder is None:
        return None
    path = recipe.folder / "first-batch.png"
    write_image(path, contact_sheet(_rows(decoder, first, task.sheet_pairs)))
    return str(path)


def _rows(base: Base, pairs: Pairs, most: int) -> list[tuple[str, Any]]:
    rows = []
    for index in range(min(most, len(pairs.targets))):
        rows.append((f"target: {pairs.captions[index]}", decode_video(base, pairs.targets[index, None])[0]))
        made = decode_video(base, pairs.references[index])
        rows += [(f"reference: {c}", m) for c, m in zip(pairs.reference_captions[index], made, strict=True)]
    return rows


def _decoder(base: Base, source: str) -> Base | None:
    """The base with its autoencoder's weights and nothing else; None where they are not on this machine."""
    if not next(base.pipe.vae.parameters()).is_meta:
        return base
    try:
        vae = type(base.pipe.vae).from_pretrained(
            source,
            subfolder="vae",
            variant=variant_in(Path(source), ["vae"]),
            local_files_only=True,
            use_safetensors=True,
        )
    except (OSError, ValueError):
        return None
    pipe = type(base.pipe)(
        **{**dict.fromkeys(base.pipe.components), "vae": vae, "scheduler": base.pipe.scheduler}
    )
    return type(base)(base.denoiser, pipe)
