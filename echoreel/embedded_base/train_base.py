"""Making the embedded base, start to end: `train_base(recipe)`; killed at any moment, it resumes."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AnimateDiffPipeline
from torch import nn

from echoreel.actors.actor_clips import ActorDomain
from echoreel.actors.motion_library import MotionLibrary
from echoreel.bases.loading import load_base
from echoreel.common.errors import BaseUnsupported, SettingsError
from echoreel.common.files import written_beside
from echoreel.embedded_base.architecture import build_scheduler
from echoreel.embedded_base.base_recipe import BaseRecipe
from echoreel.embedded_base.caption_task import CaptionTask
from echoreel.embedded_base.enlarge import enlarged_adapter, enlarged_denoiser, scale_details
from echoreel.embedded_base.film_pairs import make_pairs
from echoreel.embedded_base.picture_tasks import (
    AutoencoderTask,
    CaptionedLatents,
    ClipTask,
    DecoderTask,
    FrameTask,
)
from echoreel.embedded_base.tokenizer import load_tokenizer
from echoreel.method.loading import load_adapter
from echoreel.training.loop import FitSettings, Task, fit, load_trained
from echoreel.training.train_adapter import first_process

SAMPLING = {"num_inference_steps": 20, "guidance_scale": 2.0, "num_frames": 16, "fps": 8}  # recommended


def train_base(recipe: BaseRecipe) -> Path:
    """Run every stage that is not finished, write `folder/base`, an AnimateDiff pipeline, and return it.

    Raises BaseUnsupported for a start of another kind, CheckpointError where the folder has other pairs,
    SettingsError for a base that cannot grow so.
    """
    _check(recipe)
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
    domain, vae = ActorDomain(library, actors), small.vae if small else None
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


def _check(recipe: BaseRecipe) -> None:
    """Raises SettingsError for settings that exclude each other."""
    if recipe.start is not None and recipe.grow is not None:
        raise SettingsError(
            f"got start {recipe.start} and grow {recipe.grow}; a base goes on or grows, so leave one out"
        )
    if recipe.grow_adapter is not None and recipe.grow is None:
        raise SettingsError(
            f"got grow_adapter {recipe.grow_adapter} without grow; name the base that it is of, or "
            "leave it out"
        )


def more_pairs(recipe: BaseRecipe) -> Path:
    """Only the training pairs, `folder/pairs`, by the autoencoder of the recipe's start; without one by the
    recipe's own, which is trained first if it is not there.

    Raises as `train_base`.
    """
    _check(recipe)
    library = MotionLibrary.load(recipe.motions).split(recipe.split)
    small = _start(recipe.grow) if recipe.grow else None
    make_pairs(recipe, _start(recipe.start).vae if recipe.start else _autoencoder(recipe, library, small))
    return recipe.folder / "pairs"


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
