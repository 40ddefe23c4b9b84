"""Teaching a fresh Prism alone, before the adapter trains: guess a target's motion from its reference.

The reader is told how the target looks, as the mean over time of its latents, so nothing but motion is worth
reading in the reference. A step costs a fraction of one through the embedded base, no zero-initialised layer
hides its gradient, and no labels are needed. Not in the paper; see docs/decisions/0006-prism-first.md and
0012-the-reader-knows-the-look.md.
"""

from dataclasses import dataclass
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
from echoreel.pairset import Pairs, PairSet, shuffled_roles, step_indices
from echoreel.prism import PrismSettings
from echoreel.tasks import adapter_to_train, check_channels, first_process, save_adapter
from echoreel.train import FitSettings, fit

READER_WIDTH = 96  # channels; the reader is thrown away
GROUPS = 8  # of its normalisations


class PrismRecipe(Settings):
    """A whole training of the Prism; `adapter/` in the folder is a start for `AdapterRecipe`."""

    folder: Path
    base: str = "embedded"  # or a folder, or a hub id: its captions are read
    start: str | None = None  # an adapter whose Prism goes on, integrations as they are; none = a fresh one
    preset: Preset = "compact"  # of a fresh adapter
    prism: PrismSettings | None = None  # likewise, instead of the preset's
    pairs: Path
    validation: Path | None = None  # another folder of pairs; none = the first of `pairs` are held back
    batch: PositiveInt = 12
    held_back: PositiveInt = 32  # the first pairs, never trained on, or the first of the validation set
    moments: PositiveInt | None = None  # frames of a target that are guessed in a step; none = all of them
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
    """A Prism, and two small networks in the place of the base that read its action tokens.

    One has nothing but places to ask with and guesses the target's mean picture. The other is told that
    picture, reads twice between convolutions, and guesses how the target differs from it over time.
    """

    def __init__(self, adapter: ActionAdapter, channels: int) -> None:
        super().__init__()
        self.prism: Any = adapter.prism
        settings = integration_settings(adapter.config["integration_config"])
        if not isinstance(settings, IntegrationSettings):
            raise SettingsError(
                "got a preset whose integrations read whole frames, need one that reads by place to teach a "
                "Prism alone; take compact, dense or paper, or leave this step out"
            )
        width = READER_WIDTH
        self.look = nn.Conv2d(channels, width, 3, padding=1)
        self.place = PlaceEmbedding(width)
        self.integrations = nn.ModuleList(
            ActionIntegration(width, self.prism.token_width, settings) for _ in range(3)
        )
        for integration in self.integrations:
            nn.init.normal_(_last(integration).weight, std=0.1)
        self.around = nn.ModuleList(_Around(width) for _ in range(4))
        self.motion, self.mean = (_Guess(width, channels) for _ in range(2))

    def forward(
        self, references: Tensor, captions: Tensor, prompts: Tensor, mean: Tensor, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """References (B, C, T, h, w), texts (B, L, D), targets' mean over time (B, C, 1, h, w): guesses of
        that mean, and of what targets differ from it (B, C, *grid)."""
        tokens = ActionTokens.of_references(
            [self.prism(references, captions, prompts)], [1.0], self.prism.slot_centres
        )
        for_mean, *for_motion = zip(self.integrations, self.around[1:], strict=True)
        once = Moments(1, grid.height, grid.width, grid.order, torch.zeros(1))
        still = self._read(mean.new_zeros(len(mean), READER_WIDTH, 1, 1, 1), tokens, once, [for_mean])
        told = self.around[0](_each_frame(self.look, mean))
        return self.mean(still), self.motion(self._read(told, tokens, grid, for_motion))

    def _read(self, told: Tensor, tokens: ActionTokens, grid: Grid, layers: list[Any]) -> Tensor:
        """Hidden pictures (B, D, *grid) of what is told (broadcast to them) and read."""
        size = {"t": grid.frames, "h": grid.height, "w": grid.width}
        places = self.place(*grid.axes(told.device))
        hidden: Tensor = told + rearrange(places, "t h w d -> 1 d t h w", **size)
        for integration, around in layers:
            asking = rearrange(hidden, "b d t h w -> b (t h w) d")
            found = integration(asking, integration.memory(tokens), grid)
            hidden = around(hidden + rearrange(found, "b (t h w) d -> b d t h w", **size))
        return hidden

    @torch.no_grad()
    def teach(self, adapter: ActionAdapter) -> None:
        """Give every integration of the adapter what the one that is told the look has learned of
        reading tokens by place, as far as their sizes are alike.

        Hidden states do not ask yet, and the output projections stay zero.
        """
        first: Any = self.integrations[1]
        learned = {
            name: tensor
            for name, tensor in first.state_dict().items()
            if not name.startswith(("norm.", "attention.query.", "feed.hidden.", "feed.out."))
            and (first.feed is not None or not name.startswith("attention.out."))
        }
        for integration in (i for i in adapter.integrations.values() if isinstance(i, ActionIntegration)):
            own = integration.state_dict()
            fitting = {name: t for name, t in learned.items() if t.shape == own[name].shape}
            integration.load_state_dict(fitting, strict=False)
            nn.init.zeros_(integration.attention.query.weight)
            if integration.feed is not None:
                nn.init.zeros_(integration.feed.hidden.weight)


class _Around(nn.Module):
    """What lies around each place of a frame: two convolutions with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)),
            *(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden pictures: (B, D, T, h, w), as many."""
        out: Tensor = hidden + _each_frame(self.layers, hidden)
        return out


class _Guess(nn.Module):
    """Hidden pictures -> latents, all of them zero at first."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        last: Any = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), last)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden pictures (B, D, T, h, w): latents (B, C, T, h, w)."""
        return _each_frame(self.layers, hidden)


def _each_frame(layers: nn.Module, hidden: Tensor) -> Tensor:
    """Layers for pictures (N, D, h, w), applied to each frame of (B, D, T, h, w)."""
    frames: Tensor = layers(rearrange(hidden, "b d t h w -> (b t) d h w"))
    return rearrange(frames, "(b t) d h w -> b d t h w", t=hidden.shape[2])


def _last(integration: Any) -> Any:
    """The layer through which an integration speaks, which is zero at first."""
    return (integration.feed or integration.attention).out


class PrismTask:
    """What `fit` trains."""

    name = "prism"

    def __init__(self, base: Any, data: PairSet, recipe: PrismRecipe) -> None:
        self.adapter = adapter_to_train(base, recipe.start, recipe.preset, recipe.prism, seed=recipe.seed)
        check_channels(data, self.adapter.config["latent_channels"])
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.module = Reader(self.adapter, data.shape[1])
        self._data, self._recipe, self._captions = data, recipe, CaptionTokens(base)
        self._first = 0 if recipe.validation else recipe.held_back  # pairs before are held back
        held = data if recipe.validation is None else PairSet.open(recipe.validation)
        self._held_back = held.batch(range(recipe.held_back))
        parts = self._held_back.targets.mean(2), changing(self._held_back.targets)
        self._usual = [part.square().mean().clamp(min=1e-6).item() for part in parts]

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`, any clip of a pair as its target."""
        recipe = self._recipe
        chosen = step_indices(step, recipe.batch, len(self._data) - self._first, recipe.seed)
        pairs = self._data.batch([self._first + index for index in chosen])
        return shuffled_roles(pairs, 1, True, seeded(recipe.seed, 3, step))

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """Mean squared errors of the mean picture and of the motion in some frames, each over what there
        usually is of it."""
        frames = batch.targets.shape[2]
        count = min(self._recipe.moments or frames, frames)
        moments = torch.randperm(frames, generator=generator)[:count].sort().values
        mean, motion = self._errors(batch, 0, moments)
        return mean / self._usual[0] + motion / self._usual[1]

    def validate(self) -> dict[str, float]:
        """The error on held-back pairs, with the right references and with those of other pairs, and of what
        changes over time beside how much that is (`motion`)."""
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
    task = PrismTask(load_base(recipe.base), PairSet.open(recipe.pairs), recipe)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    if recipe.start is None:
        task.module.teach(task.adapter)
    if first_process():
        save_adapter(task.adapter, recipe.folder / "adapter")
    return recipe.folder / "adapter"
