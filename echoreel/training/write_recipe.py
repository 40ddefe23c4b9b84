"""A recipe to copy: every key that `echoreel train` knows, filled in for a base and explained."""

import json
from typing import Any

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.loading import model_name
from echoreel.bases.lookup import base_of
from echoreel.bases.sketch import parameters
from echoreel.common.settings import Settings
from echoreel.method.networks import preset_sizes
from echoreel.training.clip_shape import clip_shape

LARGE = 2e8  # parameters of a denoiser from which on memory counts

TEMPLATE = """\
# A training of an action adapter for {name} ({family}, {size:.2f} B parameters in the denoiser).
# A line that begins with "#" is a default: remove the "#" to change it.
#
# 1. echoreel prepare dataset ucf101 UCF-101 videos --holdout 10  (other data: docs/how-to/train-your-own.md)
#    It says which --root to add to the next command.
# 2. echoreel prepare pairs videos/train.jsonl {pairs} --base {name} \\
#        --frames {frames} --fps {fps:g} --size {width}x{height}
# 3. echoreel train THIS_FILE
# 4. echoreel evaluate THIS_FILE --videos videos/heldout.jsonl  (with the same --root)
# Stopped at any moment, all go on when they are called again.

folder = "{folder}"  # of this run: checkpoints, log, sheets, and the finished adapter/
base = {base}  # a folder, a hub id or a single file; it stays as it is
# base_parts = "a/pipeline"  # where `base` is a single file: a folder or hub id with the rest; default: none
pairs = "{pairs}"  # what `prepare pairs` wrote, with this base
# validation = "runs/more-pairs"  # pairs of actions that are never trained; default: the first of `pairs`
preset = "compact"  # sizes of a new adapter: compact, which fits the base, dense, paper or paper-lvdm
# prism = {prism}
# integration = {integration}
#   (sizes instead of the preset's; these are what compact has for this base, docs/adapter-sizes.md)
# quantize = "int8"  # the base in fewer bits, for less memory: int8, fp8, nf4 or fp8-storage; default: none
# stream_base = false  # keep its blocks in main memory, and bring each to the GPU when it computes
# start = "runs/other/adapter"  # go on from these weights instead of a new adapter
# freeze_prism = false  # train only the layers inside the base, not the Prism

[task]
batch = {batch}  # pairs in a step; less takes less memory
# references = 1  # of a pair in a step: 1 to so many; default: all that pairs have
swap_roles = true  # any clip of a pair may be the target
# moments = 4  # train on so many consecutive latent frames of each clip; default: all
# drop_caption = 0.1  # share of targets without caption, so that guidance works
# drop_reference_caption = 0.1  # share of references without caption
high_noise = 4.0  # more steps at high noise, where motion is decided; 0 = all alike
motion_loss = 4.0  # weight of the error of what changes over time; 0 = none
# motion_weight = 0.0  # share of the loss that follows what moves, 0 to 1
gradient_checkpointing = {checkpointing}  # compute layers twice instead of keeping what they made
# held_back = 32  # first pairs, used for validation and never trained on
# validation_levels = [0.5, 0.75, 0.95]  # noise levels to validate at
# sheet_pairs = 4  # pairs shown on a sheet
# sheet_steps = 12  # denoising steps of a sheet's videos
# seed = 0  # decides the order of pairs and what is dropped

[fit]
steps = {steps}  # in all; raise it later and the run goes on
learning_rate = 1e-3  # at most; try a third of it if the loss jumps
schedule = "cosine"  # falls to 0 at `steps`; or "constant"
# warmup = 100  # steps in which the learning rate rises
# accumulate = 1  # batches of a step: a larger batch without more memory
precision = "bf16"  # or "fp32": slower, more memory
# gradient_clip = 1.0  # greatest norm of all gradients; 0 = off
# ema = 0.999  # decay of the averaged weights, which become the adapter; 0 = off
# betas = [0.9, 0.99]  # of AdamW
# weight_decay = 0.01  # of AdamW, on matrices only
# prefetch = 1  # batches that are read ahead
# spread_base = false  # several GPUs: each keeps a part of the base's weights (FSDP2), not all of them
# minutes = 0  # stop with a checkpoint after so long; 0 = never
# checkpoint_every = 500  # steps; 0 = only at the end
# checkpoint_minutes = 10  # also after so long, so that a crash costs no more; 0 = off
# validate_every = 500  # steps
sheet_every = {sheets}  # steps between pictures of progress; 0 = none
# log_every = 50  # steps between lines of the log
# tensorboard = false  # also write a log for TensorBoard
# trackers = []  # further logs: "wandb", "tensorboard", "mlflow", …, each by its own package
# seed = 0  # of noise and of noise levels

[evaluation]
# prompts = 10  # held-out pairs of each action that are filmed
# seeds = 1  # videos of each pair
# references = [1]  # of a video; each number has a row of the table, and a control with another action's
# clip = "openai/clip-vit-base-patch32"  # a folder or hub id
# videomae = "MCG-NJU/videomae-base-finetuned-ssv2"  # a folder or hub id, for the Fréchet distance
# classifier = "a/classifier"  # a folder or hub id of one that knows the held-out actions; default: none
# seed = 0  # draws pairs, and the seeds of videos

[evaluation.generation]  # as trained; without these as the base recommends
num_frames = {frames}
height = {height}
width = {width}
"""


def recipe_for(base: BaseLike) -> str:
    """The text of a TOML file that `echoreel train` takes. Raises SettingsError."""
    base = base_of(base)
    shape, name, size = clip_shape(base), model_name(base.pipe), parameters(base.denoiser)
    large, short = size > LARGE, _short(name, base)
    prism, integration = (_inline(sizes) for sizes in preset_sizes(base))
    return TEMPLATE.format(
        prism=prism,
        integration=integration,
        name=name,
        family=base.name,
        size=size / 1e9,
        folder=f"runs/{short}",
        pairs=f"runs/{short}-pairs",
        base=json.dumps(name),
        **shape._asdict(),
        batch=1 if size > 1e10 else 4 if large else 8,
        checkpointing=str(large and _can_checkpoint(base)).lower(),
        steps=20_000 if large else 5_000,
        sheets=2_000 if large else 500,
    )


def _inline(sizes: Settings) -> str:
    """As a table of TOML in one line."""
    told = sizes.model_dump(mode="json", exclude_none=True)
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in told.items()) + " }"


def _short(name: str, base: Base) -> str:
    """A word for folders: the last part of a folder or hub id."""
    last = name.rstrip("/\\").replace("\\", "/").split("/")[-1].lower()
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in last) or base.name.lower()


def _can_checkpoint(base: Base) -> bool:
    own: Any = getattr(base.denoiser, "_supports_gradient_checkpointing", False)
    return bool(own) or base.checkpoints is not None
