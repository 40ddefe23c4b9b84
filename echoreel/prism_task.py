"""Teaching a fresh Prism alone, before the adapter trains: guess the target's latents from its reference.

That is the base's denoising problem at pure noise, with a small reader in the place of the base. A step
costs a fraction of one through the embedded base, and no zero-initialised layer hides its gradient.
Captions tell the target's look, so what is worth reading in the reference is its motion. Not in the paper;
see docs/decisions/0006-prism-first.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from echoreel.adapter import ActionAdapter, Preset
from echoreel.checkpoint import load_trained
from echoreel.config import Settings
from echoreel.diffusion import changing
from echoreel.errors import SettingsError
from echoreel.feed import seeded
from echoreel.generation import load_base
from echoreel.integration import (
    ActionIntegration,
    ActionTokens,
    Grid,
    IntegrationSettings,
    integration_settings,
)
from echoreel.latents import CaptionTokens
from echoreel.layers import PlaceEmbedding, centres
from echoreel.pairset import Pairs, PairSet, step_indices
from echoreel.prism import PrismSettings
from echoreel.tasks import save_adapter, shuffled_roles
from echoreel.train import FitSettings, fit


class PrismRecipe(Settings):
    """A whole training of the Prism; `adapter/` in the folder is a start for `AdapterRecipe`."""

    folder: Path
    base: str = "embedded"  # or a folder, or a hub id: its captions are read
    preset: Preset = "compact"
    prism: PrismSettings | None = None  # instead of the preset's
    pairs: Path
    validation: Path | None = None  # another folder of pairs; none = the first of `pairs` are held back
    batch: PositiveInt = 12
    held_back: PositiveInt = 32  # the first pairs, never trained on, or the first of the validation set
    moments: PositiveInt | None = None  # frames of a target that are guessed in a step; none = all of them
    motion_weight: NonNegativeFloat = (
        4.0  # of the error of what changes over time, which is small and matters
    )
    seed: NonNegativeInt = 0
    fit: FitSettings


@dataclass(frozen=True)
class Moments(Grid):
    """Some of the frames of a grid."""

    times: Tensor  # (frames,)

    def axes(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """As `Grid.axes`."""
        return (self.times.to(device)[:, None, None], *super().axes(device)[1:])


class Reader(nn.Module):
    """A Prism, and one Integration that has nothing but places to ask with and writes latents, and apart from
    them what in them differs from the clip's mean."""

    def __init__(self, adapter: ActionAdapter, channels: int) -> None:
        super().__init__()
        self.prism: Any = adapter.prism
        settings = integration_settings(adapter.config["integration_config"])
        if not isinstance(settings, IntegrationSettings):
            raise SettingsError(
                "got a preset whose integrations read whole frames, need one that reads by place to teach a "
                "Prism alone; take compact, dense or paper, or leave this step out"
            )
        self.integration = ActionIntegration(2 * channels, self.prism.token_width, settings)
        last = self.integration.feed or self.integration.attention
        nn.init.normal_(last.out.weight, std=0.1)
        self.place = PlaceEmbedding(2 * channels)

    def forward(
        self, references: Tensor, captions: Tensor, prompts: Tensor, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """References (B, C, T, h, w), texts (B, L, D): latents and their motion (B, C, *grid)."""
        tokens = ActionTokens.of_references(
            [self.prism(references, captions, prompts)], [1.0], self.prism.slot_centres
        )
        places = rearrange(self.place(*grid.axes(references.device)), "t h w c -> 1 (t h w) c")
        nothing = torch.zeros_like(places).expand(len(references), -1, -1)
        guess: Tensor = places + self.integration(nothing, self.integration.memory(tokens), grid)
        latents, motion = rearrange(
            guess, "b (t h w) (k c) -> k b c t h w", k=2, t=grid.frames, h=grid.height
        )
        return latents, motion

    @torch.no_grad()
    def teach(self, adapter: ActionAdapter) -> None:
        """Give every integration of the adapter what this one has learned of reading tokens by place.

        Hidden states do not ask yet, and the output projections stay zero.
        """
        learned = {
            name: tensor
            for name, tensor in self.integration.state_dict().items()
            if not name.startswith(("norm.", "attention.query.", "feed.hidden.", "feed.out."))
            and (self.integration.feed is not None or not name.startswith("attention.out."))
        }
        for integration in (i for i in adapter.integrations.values() if isinstance(i, ActionIntegration)):
            integration.load_state_dict(learned, strict=False)
            nn.init.zeros_(integration.attention.query.weight)
            if integration.feed is not None:
                nn.init.zeros_(integration.feed.hidden.weight)


class PrismTask:
    """What `fit` trains."""

    name = "prism"

    def __init__(self, base: Any, data: PairSet, recipe: PrismRecipe) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.adapter = ActionAdapter.for_base(base, recipe.preset, prism=recipe.prism)
            self.module = Reader(self.adapter, data.shape[1])
        self._data, self._recipe, self._captions = data, recipe, CaptionTokens(base)
        self._first = 0 if recipe.validation else recipe.held_back  # pairs before are held back
        held = data if recipe.validation is None else PairSet.open(recipe.validation)
        self._held_back = held.batch(range(recipe.held_back))

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`, any clip of a pair as its target."""
        recipe = self._recipe
        chosen = step_indices(step, recipe.batch, len(self._data) - self._first, recipe.seed)
        pairs = self._data.batch([self._first + index for index in chosen])
        return shuffled_roles(pairs, 1, True, seeded(recipe.seed, 3, step))

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Mean squared errors of the latents and, weighted, of their motion."""
        frames = batch.targets.shape[2]
        count = min(self._recipe.moments or frames, frames)
        moments = torch.randperm(frames, generator=generator)[:count].sort().values
        latents, motion = self._errors(batch, 0, moments)
        return latents + self._recipe.motion_weight * motion

    def validate(self) -> dict[str, float]:
        """The error on held-back pairs, with the right references and with those of other pairs, and of what
        changes over time beside how much that is (`motion`)."""
        device = next(self.module.parameters()).device
        held = self._held_back._replace(
            targets=self._held_back.targets.to(device), references=self._held_back.references.to(device)
        )
        half = len(held.targets) // 2
        numbers: dict[str, float] = {}
        for name, shift in (("right", 0), ("shuffled", half)):
            latents, motion = self._errors(held, shift, torch.arange(held.targets.shape[2]))
            numbers |= {name: latents.item(), f"{name}_motion": motion.item()}
        return numbers | {"motion": changing(held.targets).square().mean().item()}

    def sheet(self, path: Path) -> None:
        """Nothing to see: latents are guessed, not videos."""

    def _errors(self, pairs: Pairs, shift: int, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared errors of the latents and of their motion in these frames, with references (not
        prompts) from the pair `shift` further on."""
        asked = self._captions(pairs.captions)
        shown = self._captions([row[0] for row in pairs.reference_captions]).roll(shift, 0)
        device = pairs.targets.device
        frames, height, width = pairs.targets.shape[2:]
        grid = Moments(len(moments), height, width, "t h w", centres(frames)[moments])
        guess, guessed_motion = self.module(
            pairs.references[:, 0].roll(shift, 0), shown.to(device), asked.to(device), grid
        )
        moments = moments.to(device)
        motion = F.mse_loss(guessed_motion.float(), changing(pairs.targets)[:, :, moments])
        return F.mse_loss(guess.float(), pairs.targets[:, :, moments]), motion


def train_prism(recipe: PrismRecipe) -> Path:
    """Train the Prism of a fresh adapter, going on where an earlier start stopped. Returns the adapter."""
    task = PrismTask(load_base(recipe.base), PairSet.open(recipe.pairs), recipe)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    task.module.teach(task.adapter)
    save_adapter(task.adapter, recipe.folder / "adapter")
    return recipe.folder / "adapter"
