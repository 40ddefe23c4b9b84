"""Teaching a fresh Prism alone, before the adapter trains: guess a target's motion from its reference.

The reader is told how the target looks, as the mean over time of its latents, so nothing but motion is worth
reading in the reference. A step costs a fraction of one through the embedded base, no zero-initialised layer
hides its gradient, and no labels are needed. Not in the paper; see
docs/research/decisions/0006-prism-first.md and 0012-the-reader-knows-the-look.md.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from echoreel.bases.base import BaseLike
from echoreel.bases.encoding import CaptionTokens
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.common.attention import centres
from echoreel.common.randomness import seeded
from echoreel.common.settings import Settings
from echoreel.method.networks import Preset
from echoreel.method.prism import PrismSettings
from echoreel.training.adapter_settings import BatchSize
from echoreel.training.autoencoder_probe import check_pairs
from echoreel.training.loop import FitSettings, fit
from echoreel.training.motion_loss import changing
from echoreel.training.pair_cache import Pairs, PairSet
from echoreel.training.prism_reader import Moments, Reader
from echoreel.training.run_folder import RunFolder, load_trained
from echoreel.training.step_pairs import TrainingPairs, shuffled_roles
from echoreel.training.train_adapter import adapter_to_train, check_run, first_process, save_adapter


class PrismRecipe(Settings):
    """A whole training of the Prism; `adapter/` in the folder is a start for `AdapterRecipe`."""

    folder: Path
    base: str = "embedded"  # or a folder, or a hub id: its captions are read
    start: str | None = None  # an adapter whose Prism goes on, integrations as they are; none = a fresh one
    preset: Preset = "compact"  # of a fresh adapter
    prism: PrismSettings | None = None  # likewise, instead of the preset's
    pairs: Path
    validation: Path | None = None  # another folder of pairs; none = the first of `pairs` are held back
    batch: BatchSize = 12
    held_back: PositiveInt = 32  # the first pairs, never trained on, or the first of the validation set
    moments: PositiveInt | None = None  # frames of a target that are guessed in a step; none = all of them
    seed: NonNegativeInt = 0
    fit: FitSettings


class PrismTask:
    """What `fit` trains."""

    name = "prism"

    def __init__(self, base: BaseLike, data: PairSet, recipe: PrismRecipe) -> None:
        base = base_of(base)
        self.adapter = adapter_to_train(base, recipe.start, recipe.preset, recipe.prism, seed=recipe.seed)
        validation = PairSet.open(recipe.validation) if recipe.validation else None
        for pairs in (data, validation) if validation else (data,):
            check_pairs(pairs, base, self.adapter.config["latent_channels"])
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.module = Reader(self.adapter, data.shape[1])
        self._recipe, self._captions = recipe, CaptionTokens(base)
        self._disturbed = data.disturbed
        self._pairs = TrainingPairs(data, validation, recipe.held_back, recipe.batch, recipe.seed)
        self._held_back = self._pairs.held_back
        parts = self._held_back.targets.mean(2), changing(self._held_back.targets)
        self._usual = [part.square().mean().clamp(min=1e-6).item() for part in parts]

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`, any clip of a pair as its target, unless references are disturbed."""
        return shuffled_roles(
            self._pairs.batch(step), 1, not self._disturbed, seeded(self._recipe.seed, 3, step)
        )

    def told(self, step: int) -> str:
        """Which pairs these are."""
        return self._pairs.told(step)

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Mean squared errors of the mean picture and of the motion in some frames, each over what there
        usually is of it."""
        frames = batch.targets.shape[2]
        count = min(self._recipe.moments or frames, frames)
        moments = torch.randperm(frames, generator=generator)[:count].sort().values
        mean, motion = self._errors(batch, 0, moments)
        return mean / self._usual[0] + motion / self._usual[1]

    def validate(self) -> dict[str, float]:
        """The error on held-back pairs, with the right references and with those of other pairs.

        `motion` is the error of what changes over time, relative to how much that is."""
        device = next(self.module.parameters()).device
        held = self._held_back._replace(
            targets=self._held_back.targets.to(device), references=self._held_back.references.to(device)
        )
        numbers: dict[str, float] = {}
        for name, shift in (("right", 0), ("shuffled", len(held.targets) // 2)):
            mean, motion = self._errors(held, shift, torch.arange(held.targets.shape[2]))
            numbers |= {name: (mean + motion).item(), f"{name}_motion": motion.item()}
        return numbers | {"motion": changing(held.targets).square().mean().item()}

    def sheet(self, path: Path) -> None:
        """Nothing to see: latents are guessed, not videos."""

    def _errors(self, pairs: Pairs, shift: int, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared errors of the mean picture, and of what differs from it in these frames, with
        references (not prompts) from the pair `shift` further on."""
        asked = self._captions(pairs.captions)
        shown = self._captions([row[0] for row in pairs.reference_captions]).roll(shift, 0)
        device = pairs.targets.device
        frames, height, width = pairs.targets.shape[2:]
        grid = Moments(len(moments), height, width, "t h w", centres(frames)[moments])
        mean = pairs.targets.mean(2, keepdim=True)
        guess, motion = self.module(
            pairs.references[:, 0].roll(shift, 0), shown.to(device), asked.to(device), mean, grid
        )
        changes = changing(pairs.targets)[:, :, moments.to(device)]
        return F.mse_loss(guess.float(), mean), F.mse_loss(motion.float(), changes)


def train_prism(recipe: PrismRecipe) -> Path:
    """Train the Prism of a fresh adapter, going on where an earlier start stopped. Returns the adapter."""
    run = RunFolder(recipe.folder)
    if first_process():
        with run.locked():
            check_run(run, recipe.fit)
    task = PrismTask(load_base(recipe.base), PairSet.open(recipe.pairs), recipe)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    if recipe.start is None:
        task.module.teach(task.adapter)
    if first_process():
        save_adapter(task.adapter, recipe.folder / "adapter")
    return recipe.folder / "adapter"
