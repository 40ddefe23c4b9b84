"""Teaching a fresh Prism alone, before the adapter trains: guess the target's latents from its reference.

That is the base's denoising problem at pure noise, with a small reader in the place of the base. A step
costs a third of one through the embedded base, and no zero-initialised layer hides its gradient.
Captions tell the target's look, so what is worth reading in the reference is its motion. Not in the paper;
see docs/decisions/0006-prism-first.md.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from echoreel.adapter import ActionAdapter, Preset
from echoreel.checkpoint import load_trained
from echoreel.config import Settings
from echoreel.feed import seeded
from echoreel.generation import load_base
from echoreel.integration import ActionIntegration, ActionTokens, Grid, IntegrationSettings
from echoreel.layers import PlaceEmbedding, centres
from echoreel.pairset import Pairs, PairSet, step_indices
from echoreel.tasks import CaptionTokens, save_adapter, shuffled_roles
from echoreel.train import FitSettings, fit

WIDTH = 128  # of the reader


class PrismRecipe(Settings):
    """A whole training of the Prism; `adapter/` in the folder is a start for `AdapterRecipe`."""

    folder: Path
    base: str = "embedded"  # or a folder, or a hub id: its captions are read
    preset: Preset = "compact"
    pairs: Path
    batch: PositiveInt = 12
    held_back: PositiveInt = 32  # the first pairs, never trained on
    seed: NonNegativeInt = 0
    fit: FitSettings


class Reader(nn.Module):
    """A Prism, and a decoder that has nothing but action tokens and places to guess latents from."""

    def __init__(self, prism: Any, channels: int) -> None:
        super().__init__()
        self.prism = prism
        self.integration = ActionIntegration(
            WIDTH, prism.token_width, IntegrationSettings(inner_width=96, heads=4)
        )
        nn.init.normal_(self.integration.attention.out.weight, std=0.1)
        self.place = PlaceEmbedding(WIDTH)
        self.head = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, channels)
        )

    def forward(self, references: Tensor, captions: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """References (B, C, T, h, w), captions (B, L, D): latents (B, C, *shape), shape = (T, h, w)."""
        tokens = ActionTokens.of_references(
            [self.prism(references, captions)], [1.0], self.prism.slot_centres
        )
        times, rows, columns = (centres(count, references.device) for count in shape)
        places = self.place(times[:, None, None], rows[:, None], columns)
        hidden = rearrange(places, "t h w d -> 1 (t h w) d").expand(len(references), -1, -1)
        memory = self.integration.memory(tokens)
        hidden = hidden + self.integration(hidden, memory, Grid(*shape, "t h w"), 1)
        return rearrange(self.head(hidden), "b (t h w) c -> b c t h w", t=shape[0], h=shape[1])


class PrismTask:
    """What `fit` trains."""

    name = "prism"

    def __init__(self, base: Any, data: PairSet, recipe: PrismRecipe) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.adapter = ActionAdapter.for_base(base, recipe.preset)
            self.module = Reader(self.adapter.prism, data.shape[1])
        self._data, self._recipe, self._captions = data, recipe, CaptionTokens(base)
        self._held_back = data.batch(range(recipe.held_back))

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`, any clip of a pair as its target."""
        recipe = self._recipe
        count = len(self._data) - recipe.held_back
        chosen = step_indices(step, recipe.batch, count, recipe.seed)
        pairs = self._data.batch([recipe.held_back + index for index in chosen])
        return shuffled_roles(pairs, 1, True, seeded(recipe.seed, 3, step))

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Mean squared error of the guess."""
        return self._error(batch, 0)

    def validate(self) -> dict[str, float]:
        """The error on held-back pairs, with the right references and with those of other pairs."""
        device = next(self.module.parameters()).device
        held = self._held_back._replace(
            targets=self._held_back.targets.to(device), references=self._held_back.references.to(device)
        )
        half = len(held.targets) // 2
        return {"right": self._error(held, 0).item(), "shuffled": self._error(held, half).item()}

    def sheet(self, path: Path) -> None:
        """Nothing to see: latents are guessed, not videos."""

    def _error(self, pairs: Pairs, shift: int) -> Tensor:
        """With references (not prompts) from the pair `shift` further on."""
        asked = self._captions(pairs.captions)
        shown = self._captions([row[0] for row in pairs.reference_captions]).roll(shift, 0)
        captions = torch.cat([asked, shown], 1).to(pairs.targets.device)
        frames, height, width = pairs.targets.shape[2:]
        guess = self.module(pairs.references[:, 0].roll(shift, 0), captions, (frames, height, width))
        return F.mse_loss(guess.float(), pairs.targets)


def train_prism(recipe: PrismRecipe) -> Path:
    """Train the Prism of a fresh adapter, going on where an earlier start stopped. Returns the adapter."""
    task = PrismTask(load_base(recipe.base), PairSet.open(recipe.pairs), recipe)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    save_adapter(task.adapter, recipe.folder / "adapter")
    return recipe.folder / "adapter"
