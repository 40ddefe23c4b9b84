"""Making the embedded base, start to end: `train_base(recipe)`; killed at any moment, it resumes."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AnimateDiffPipeline
from einops import rearrange
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.progress import Progress
from torch import nn

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.motion_library import MotionLibrary, motions_digest
from echoreel.bases.loading import load_base
from echoreel.common.errors import BaseUnsupported, SettingsError
from echoreel.common.files import written_beside
from echoreel.common.settings import Settings
from echoreel.embedded_base.architecture import BaseSettings, build_scheduler
from echoreel.embedded_base.caption_task import CaptionTask
from echoreel.embedded_base.enlarge import enlarged_adapter, enlarged_denoiser, scale_details
from echoreel.embedded_base.picture_tasks import (
    AutoencoderTask,
    CaptionedLatents,
    ClipTask,
    DecoderTask,
    FrameTask,
)
from echoreel.embedded_base.tokenizer import load_tokenizer
from echoreel.method.loading import load_adapter
from echoreel.training.autoencoder_probe import probe, same_probe
from echoreel.training.loop import FitSettings, Task, fit, load_trained
from echoreel.training.pair_cache import Origin, PairSet, PairSetWriter
from echoreel.training.precision import Precision, fast_kernels
from echoreel.training.train_adapter import first_process

SHARD = 500  # pairs in one file of the cache
CHUNK = 25  # pairs that a process renders at a time
SAMPLING = {"num_inference_steps": 20, "guidance_scale": 2.0, "num_frames": 16, "fps": 8}  # recommended


class BaseRecipe(Settings):
    """Everything that makes the embedded base and the training pairs of its adapter."""

    motions: Path | None = None  # a motion library; docs/motion-data.md says how to make one
    split: str = "train"
    folder: Path = Path("runs/embedded")
    seed: int = Field(0, ge=0)
    actors: ActorSettings = ActorSettings()
    base: BaseSettings = BaseSettings()
    pairs: int = Field(6000, ge=1, le=10_000_000)
    references: int = Field(2, ge=1, le=100)  # of each pair
    autoencoder_clips: int = Field(8, ge=1, le=4096)  # clips a batch
    autoencoder_frames: int = Field(8, ge=1, le=10_000)  # of each of them; fewer show more looks
    caption_batch: int = Field(96, ge=1, le=65536)  # captions a batch
    frame_batch: int = Field(96, ge=1, le=65536)  # frames a batch
    clip_batch: int = Field(8, ge=1, le=4096)  # clips a batch
    clip_frames: int = Field(0, ge=0, le=65536)  # in half of the last stage's batches; 0 = clips only
    start: str | None = None  # a base that goes on, "embedded" or a folder: only the last stage runs
    grow: str | None = (
        None  # a base of half the size, from which this one grows; captions and frames are not run
    )
    grow_adapter: str | None = (
        None  # an adapter of that base; `folder/adapter` does on this one what it does there
    )
    autoencoder: FitSettings = FitSettings(steps=1500, learning_rate=1e-3)
    decoder: FitSettings | None = None  # the autoencoder's decoder goes on alone, with the same latents
    captions: FitSettings = FitSettings(steps=1000, learning_rate=1e-3)
    frames: FitSettings = FitSettings(steps=3000, learning_rate=1e-3)
    clips: FitSettings = FitSettings(steps=3000, learning_rate=5e-4)


class PairsMade(Settings):
    """What decides which pairs a folder has; more of the same may be added."""

    split: str
    seed: int
    references: int
    actors: ActorSettings


def train_base(recipe: BaseRecipe) -> Path:
    """Run every stage that is not finished, write `folder/base`, an AnimateDiff pipeline, and return it.

    Raises BaseUnsupported for a start of another kind, CheckpointError where the folder has other pairs,
    SettingsError for a base that cannot grow so.
    """
    if recipe.start is not None and recipe.grow is not None:
        raise SettingsError(
            f"got start {recipe.start} and grow {recipe.grow}; a base goes on or grows, so leave one out"
        )
    library = MotionLibrary.load(recipe.motions).split(recipe.split)
    start = None if recipe.start is None else _start(recipe.start)
    small = None if recipe.grow is None else _start(recipe.grow)
    autoencoder = start.vae if start else _autoencoder(recipe, library, small)
    pairs = make_pairs(recipe, autoencoder)
    latents = pairs.all_latents()
    clips = CaptionedLatents(latents, pairs.all_captions(), held_back=min(64, len(latents) // 2))
    before = start or small
    text_encoder = before.text_encoder if before else _text_encoder(recipe, library)
    frame_task = FrameTask(clips, text_encoder, recipe.base, recipe.frame_batch, recipe.seed)
    if not before:
        _run(frame_task, recipe.frames, recipe.folder / "frames")
    clip_task = ClipTask(frame_task, recipe.base, recipe.clip_batch, recipe.clip_frames, recipe.seed)
    if small:
        clip_task.module["denoiser"] = enlarged_denoiser(small.unet, latents.shape[1])
    elif start:
        clip_task.module["denoiser"] = start.unet
    if recipe.grow_adapter is not None and first_process():
        adapter = enlarged_adapter(load_adapter(recipe.grow_adapter), latents.shape[1])
        with written_beside(recipe.folder / "adapter") as partial:
            adapter.save_pretrained(partial)
    _run(clip_task, recipe.clips, recipe.folder / "clips")
    if not first_process():
        return recipe.folder / "base"
    return assemble(recipe, autoencoder, clip_task, recipe.folder / "base")


def assemble(recipe: BaseRecipe, autoencoder: Any, task: ClipTask, folder: Path) -> Path:
    """Save the parts as an AnimateDiff pipeline in half precision, with its recommended settings beside."""
    pipeline: Any = AnimateDiffPipeline(
        vae=autoencoder,
        text_encoder=task.module["text_encoder"],
        tokenizer=task.tokenizer,
        unet=task.module["denoiser"],
        motion_adapter=None,
        scheduler=build_scheduler(),
    )
    with written_beside(folder) as partial:
        pipeline.to(dtype=torch.float16).save_pretrained(partial)
        (partial / "generation.json").write_text(json.dumps(SAMPLING, indent=2) + "\n", encoding="utf-8")
    pipeline.to(dtype=torch.float32)
    return folder


def _run(task: Task, settings: FitSettings, folder: Path) -> None:
    fit(task, settings, folder)
    load_trained(folder, task.module)


def _start(name: str) -> Any:
    """The base that goes on. Raises BaseUnsupported, unless it is of the embedded one's kind."""
    pipe: Any = load_base(name)
    got, kind = None, type(pipe)
    if kind is not AnimateDiffPipeline:
        got = f"a {kind.__name__}"
    elif pipe.tokenizer.get_vocab() != load_tokenizer().get_vocab():
        got = "one of another vocabulary"
    if got:
        raise BaseUnsupported(
            f"start {name}: got {got}, need an AnimateDiffPipeline that `prepare actors` made; give "
            '"embedded" or its folder, or leave start out'
        )
    return pipe


def _autoencoder(recipe: BaseRecipe, library: MotionLibrary, small: Any = None) -> Any:
    """The trained autoencoder, with a scaling factor that gives its latents unit variance.

    One that grows from `small` keeps its factor, and has new channels of less variance.
    """
    actors = recipe.actors.model_copy(update={"frames": 2 * recipe.autoencoder_frames})
    domain, vae = ActorDomain(library, actors), small and small.vae
    task = AutoencoderTask(domain, recipe.base, recipe.autoencoder_clips, recipe.seed, vae)
    _run(task, recipe.autoencoder, recipe.folder / "autoencoder")
    if recipe.decoder is not None:
        task = DecoderTask(task)
        _run(task, recipe.decoder, recipe.folder / "decoder")
    autoencoder = task.module.eval().requires_grad_(False)
    frames = torch.cat([task.batch(step)["frames"][:, :3] for step in range(8)]).to(_device(autoencoder))
    with torch.no_grad():
        latents = autoencoder.encode(frames).latent_dist.mode()
    if vae:
        scale_details(autoencoder, vae.config.latent_channels, latents)
    else:
        autoencoder.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    return autoencoder


def _text_encoder(recipe: BaseRecipe, library: MotionLibrary) -> nn.Module:
    """The trained text encoder."""
    task = CaptionTask(
        library.actions, recipe.base, recipe.caption_batch, recipe.actors.hide_action, recipe.seed
    )
    _run(task, recipe.captions, recipe.folder / "captions")
    encoder: nn.Module = task.module["text_encoder"]
    return encoder


def more_pairs(recipe: BaseRecipe) -> Path:
    """Only the training pairs, `folder/pairs`, by the autoencoder of the recipe's start; without one by the
    recipe's own, which is trained first if it is not there.

    Raises as `train_base`.
    """
    library = MotionLibrary.load(recipe.motions).split(recipe.split)
    small = _start(recipe.grow) if recipe.grow else None
    make_pairs(recipe, _start(recipe.start).vae if recipe.start else _autoencoder(recipe, library, small))
    return recipe.folder / "pairs"


def make_pairs(recipe: BaseRecipe, autoencoder: Any) -> PairSet:
    """Render and encode the training pairs into `folder/pairs`, by shards.

    Those on disk are kept while motions and autoencoder are the same, others made again. Of several processes
    the first makes them. Raises CheckpointError when they were made with other settings, OutputError.
    """
    with PartialState(cpu=not torch.accelerator.is_available()).main_process_first():
        return _make_pairs(recipe, autoencoder)


def _make_pairs(recipe: BaseRecipe, autoencoder: Any) -> PairSet:
    folder, precision = recipe.folder / "pairs", recipe.autoencoder.precision
    writer = PairSetWriter(folder)
    made = PairsMade.model_validate(recipe.model_dump(include={*PairsMade.model_fields}))
    motions = motions_digest(recipe.motions)
    with writer.locked():
        writer.bind(made)
        mark = probe(
            lambda frames: torch.from_numpy(next(_encoded(frames[None, None], autoencoder, precision)))
        )
        missing = {}
        for number, first in enumerate(range(0, recipe.pairs, SHARD)):
            shard = range(first, min(first + SHARD, recipe.pairs))
            sources = sha256(f"{made.model_dump_json()} {motions} {shard}".encode()).hexdigest()
            before = writer.made_of(number)
            if before is None or before.sources != sources or not same_probe(before.probe, mark):
                missing[number] = shard, Origin(sources, mark)
        if missing:
            _film(recipe, autoencoder, writer, missing)
        writer.keep(range(number + 1))
    return PairSet.open(folder)


def _film(
    recipe: BaseRecipe, autoencoder: Any, writer: PairSetWriter, missing: Mapping[int, tuple[range, Origin]]
) -> None:
    """Render and encode these shards: number -> pairs, and what they are made of."""
    context = multiprocessing.get_context("spawn")
    console, count = Console(stderr=True), sum(len(shard) for shard, _ in missing.values())
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool,
        Progress(*Progress.get_default_columns(), console=console) as progress,
    ):
        bar = progress.add_task(f"filming {count} of {recipe.pairs} pairs", total=count)
        render = partial(pool.map, chunksize=CHUNK) if count > CHUNK else map  # few are not worth processes
        for number, (shard, origin) in missing.items():
            jobs = [(recipe, int(index)) for index in shard]
            rendered = []
            for pair in render(_render_pair, jobs):
                rendered.append(pair)
                progress.advance(bar)
            frames = np.stack([frames for frames, _ in rendered])
            encoded = _encoded(frames, autoencoder, recipe.autoencoder.precision)
            latents = rearrange(list(encoded), "n k c t h w -> n k c t h w")
            captions = [captions for _, captions in rendered]
            writer.write(number, latents[:, 0], latents[:, 1:], captions, origin)


def _render_pair(job: tuple[BaseRecipe, int]) -> tuple[NDArray[np.uint8], list[str]]:
    """Frames (1 + R, T, H, W, 3) of a target and its references, and their captions; in a worker process."""
    recipe, index = job
    target, references = _domain(recipe.model_dump_json()).pair(
        recipe.seed + 1_000_000 + index, recipe.references
    )
    clips = [target, *references]
    return np.stack([clip.frames for clip in clips]), [clip.caption for clip in clips]


@cache
def _domain(recipe_json: str) -> ActorDomain:
    recipe = BaseRecipe.model_validate_json(recipe_json)
    return ActorDomain(MotionLibrary.load(recipe.motions).split(recipe.split), recipe.actors)


@torch.no_grad()
def _encoded(
    frames: NDArray[np.uint8], autoencoder: Any, precision: Precision
) -> Iterator[NDArray[np.float16]]:
    """Scaled latents (K, C, T, h, w) of each pair's clips (K, T, H, W, 3)."""
    device = _device(autoencoder)
    for clips in frames:
        pixels = rearrange(torch.from_numpy(clips).to(device), "k t h w c -> (k t) c h w").float() / 127.5 - 1
        with fast_kernels(device, precision):
            latents = autoencoder.encode(pixels).latent_dist.mode() * autoencoder.config.scaling_factor
        yield rearrange(latents, "(k t) c h w -> k c t h w", k=len(clips)).half().cpu().numpy()


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
