"""Training pairs of the actor domain: filmed by all processors, encoded, and kept on the disk by shards."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from einops import rearrange
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from echoreel.actors.actor_clips import ActorDomain
from echoreel.actors.motion_library import MotionLibrary, motions_digest
from echoreel.common.progress import Lines
from echoreel.embedded_base.base_recipe import BaseRecipe, PairsMade
from echoreel.training.autoencoder_probe import probe, same_probe
from echoreel.training.pair_cache import Origin, PairSet, PairSetWriter
from echoreel.training.precision import Precision, fast_kernels

SHARD = 500  # pairs in one file of the cache
CHUNK = 25  # pairs that a process renders at a time


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
    with writer.undone(), writer.locked():
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
                missing[number] = shard, Origin(sources, mark, recipe.actors.disturb > 0)
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
    told = f"filming {count} of {recipe.pairs} pairs"
    lines = None if console.is_terminal else Lines(told, count)
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool,
        Progress(*Progress.get_default_columns(), console=console) as progress,
    ):
        bar = progress.add_task(told, total=count)
        render = partial(pool.map, chunksize=CHUNK) if count > CHUNK else map  # few are not worth processes
        for number, (shard, origin) in missing.items():
            jobs = [(recipe, int(index)) for index in shard]
            rendered = []
            for pair in render(_render_pair, jobs):
                rendered.append(pair)
                progress.advance(bar)
                if lines:
                    lines.at(int(progress.tasks[bar].completed))
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
    device = next(autoencoder.parameters()).device
    for clips in frames:
        pixels = rearrange(torch.from_numpy(clips).to(device), "k t h w c -> (k t) c h w").float() / 127.5 - 1
        with fast_kernels(device, precision):
            latents = autoencoder.encode(pixels).latent_dist.mode() * autoencoder.config.scaling_factor
        yield rearrange(latents, "(k t) c h w -> k c t h w", k=len(clips)).half().cpu().numpy()
