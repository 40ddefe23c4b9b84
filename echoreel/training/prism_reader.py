"""The reader that a Prism learns with: it stands in for the base, and is thrown away afterwards."""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from echoreel.common.attention import PlaceEmbedding
from echoreel.common.errors import SettingsError
from echoreel.method.adapter import ActionAdapter
from echoreel.method.integration import (
    ActionIntegration,
    ActionTokens,
    Grid,
    IntegrationSettings,
    integration_settings,
)

READER_WIDTH = 96  # channels; the reader is thrown away


GROUPS = 8  # of its normalisations


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
        """Copy what was learned of reading tokens by place to every integration of the adapter.

        It comes from the integration that is told the look, as far as sizes match. Hidden states do not ask
        yet, and the output projections stay zero.
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
