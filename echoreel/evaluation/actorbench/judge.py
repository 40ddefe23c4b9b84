"""Judges: a small network that reads from a video how the person moves and what they wear, where.

It reads joints (metres, as the camera sees them), the look's classes, and which of the actions that it knows
is performed: a second opinion beside the joints, from which `metrics` tells actions that nobody trained on.
`judge_training` trains it on fresh renders of every action; it ships in `echoreel/weights/judges/`.

A little over 300 lines, so that one network and its files lie together.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from echoreel.actors.looks import COLOURS, HAIRS, PLACES, TOPS, Look
from echoreel.actors.motion_library import JOINTS, Joints
from echoreel.bases.missing_tensors import check_finite
from echoreel.common.checksums import check_packaged, check_sum, with_sum
from echoreel.common.errors import CheckpointError, SettingsError
from echoreel.common.files import write_together
from echoreel.common.places import check_ends, small_file
from echoreel.common.settings import Pixels, Settings, Width
from echoreel.common.text import json_value

PARTS: dict[str, tuple[str, ...]] = {
    "shirt": tuple(COLOURS),
    "trousers": tuple(COLOURS),
    "hair": tuple(HAIRS),
    "place": tuple(PLACES),
    "top": TOPS,
}
EMBEDDED = Path(__file__).parents[2] / "weights" / "judges"
_ACTIONS = TypeAdapter(tuple[str, ...])
GROUPS = 8  # of channels, for normalisation
DAMAGE = (OSError, LookupError, TypeError, AttributeError, ValueError, SafetensorError, RuntimeError)


class JudgeSettings(Settings):
    """Sizes of the judge."""

    size: Pixels = 32  # videos of other sizes are resized to it
    widths: tuple[Width, Width, Width] = (32, 64, 128)  # at a half, a quarter, an eighth of it
    fine: Annotated[int, Field(ge=0, le=65_536)] = 0  # channels of a level that sees all pixels; the others
    # then see the means of 2x2; 0: there is none
    hidden: Width = 224  # of a frame's features and of the temporal layers
    dilations: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(max_length=64)] = (1, 2, 4)
    # frames, of one temporal layer each, which pads a video by them

    @model_validator(mode="after")
    def _fits(self) -> "JudgeSettings":
        if any(width % GROUPS for width in (*self.widths, self.fine)):
            raise ValueError(f"need widths and fine that {GROUPS} divides")
        if self.fine and self.size % 2:
            raise ValueError(f"got size = {self.size} with a fine level; need an even size, or fine = 0")
        return self


class Outputs(NamedTuple):
    """What the network says of B videos of T frames."""

    joints: Tensor  # (B, T, 18, 3) metres from the pelvis
    looks: dict[str, Tensor]  # logits (B, classes) of each part of the look
    actions: Tensor  # logits (B, actions), of none for a judge that knows no actions
    seen: Tensor  # (B, T, hidden): features of each frame by itself
    told: Tensor  # (B, hidden): features of the whole video


@dataclass(frozen=True, eq=False)
class Reading:
    """What a judge reads from B videos."""

    joints: Joints  # (B, T, 18, 3) metres from the pelvis: to the camera's right, up, and towards it
    looks: tuple[dict[str, str], ...]  # of each video, the class of each of PARTS
    actions: NDArray[np.float32]  # (B, actions): log-probability of each action that the judge knows
    features: NDArray[np.float32]  # (B, hidden), for Fréchet distances
    consistency: NDArray[np.float32]  # (B,): mean cosine of the features of neighbouring frames


class Judge(nn.Module):
    """Frames -> joints and look: a convolutional network a frame, then dilated convolutions over time."""

    def __init__(self, settings: JudgeSettings | None = None, actions: Sequence[str] = ()) -> None:
        super().__init__()
        self.settings = settings = settings or JudgeSettings()
        self.actions = tuple(actions)  # that it can name
        self.accuracy: dict[str, float] = {}  # of this judge on fresh renders, stored with its weights
        hidden = settings.hidden
        self.frame = _FrameNetwork(settings)
        self.time = nn.ModuleList(_TemporalLayer(hidden, dilation) for dilation in settings.dilations)
        self.joints = nn.Linear(hidden, len(JOINTS) * 3)
        self.look = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU())
        self.parts = nn.ModuleDict({part: nn.Linear(hidden, len(classes)) for part, classes in PARTS.items()})
        if actions:
            self.action = nn.Sequential(
                nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, len(actions))
            )

    def forward(self, video: Tensor) -> Outputs:
        """`video` (B, T, 3, H, W) in [0, 1], any size and length."""
        clips = len(video)
        frames = rearrange(video, "b t c h w -> (b t) c h w")
        size = (self.settings.size, self.settings.size)
        if frames.shape[-2:] != size:
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        x = rearrange(self.frame(2 * frames - 1), "(b t) d -> b t d", b=clips)
        seen = x
        look = self.look(torch.cat([x.mean(1), x.amax(1)], -1))
        for layer in self.time:
            x = layer(x)
        joints = rearrange(self.joints(x), "b t (j c) -> b t j c", c=3)
        told = torch.cat([x.mean(1), x.amax(1)], -1)
        return Outputs(
            joints - joints[:, :, :1],
            {part: head(look) for part, head in self.parts.items()},
            self.action(told) if self.actions else told[:, :0],
            seen,
            x.mean(1),
        )

    def grown(self, settings: JudgeSettings) -> "Judge":
        """A judge of videos twice as large; at first it says of them what this one says of their 2x2 means.

        Raises SettingsError for settings that differ in more than `size` and `fine`.
        """
        own = self.settings
        fits = own.model_copy(update={"size": 2 * own.size, "fine": settings.fine})
        if own.fine or not settings.fine or settings != fits:
            raise SettingsError(
                f"got judge settings {settings} to grow a judge of {own}; "
                "need twice its size, fine above 0 where it has 0, and all others alike"
            )
        judge = Judge(settings, self.actions)
        judge.load_state_dict(self.state_dict(), strict=False)
        return judge

    def likeliest(self, reading: Reading, actions: Sequence[str]) -> list[str]:
        """Of these actions the likeliest for each video; none if the judge knows not all of them."""
        if not {*actions} <= {*self.actions}:
            return []
        columns = [self.actions.index(action) for action in actions]
        return [actions[i] for i in reading.actions[:, columns].argmax(1)]

    @torch.no_grad()
    def read(self, videos: NDArray[np.uint8], batch: int = 32) -> Reading:
        """Read videos (B, T, H, W, 3)."""
        device = next(self.parameters()).device
        joints: list[Joints] = []
        looks: list[dict[str, str]] = []
        others: list[list[Tensor]] = []
        for chunk in _chunks(videos, batch):
            video = rearrange(torch.from_numpy(chunk).to(device), "b t h w c -> b t c h w").float() / 255
            outputs = self(video)
            joints.append(outputs.joints.float().cpu().numpy())
            best = {part: logits.argmax(-1).tolist() for part, logits in outputs.looks.items()}
            looks += [{part: PARTS[part][best[part][i]] for part in PARTS} for i in range(len(chunk))]
            alike = F.cosine_similarity(outputs.seen[:, 1:], outputs.seen[:, :-1], dim=-1).mean(1)
            others.append([outputs.actions.log_softmax(-1), outputs.told, alike])
        actions, features, consistency = (
            torch.cat(parts).float().cpu().numpy() for parts in zip(*others, strict=True)
        )
        return Reading(np.concatenate(joints), tuple(looks), actions, features, consistency)

    def save(self, folder: Path) -> None:
        """Write `judge.safetensors` (float16) and `judge.json`, both or none. Raises OutputError."""
        weights = {name: t.detach().half().cpu().contiguous() for name, t in self.state_dict().items()}
        described = {
            "settings": self.settings.model_dump(mode="json"),
            "parts": PARTS,
            "actions": self.actions,
            "accuracy": self.accuracy,
        }
        told = (json.dumps(described, indent=1) + "\n").encode()
        write_together({folder / "judge.json": told, folder / "judge.safetensors": with_sum(save(weights))})

    @classmethod
    def load(cls, folder: Path | str | None = None) -> "Judge":
        """The judge of a folder, without argument the embedded one; evaluation mode, float32, no gradients.

        Raises CheckpointError when it is missing, damaged or made for other looks.
        """
        folder = Path(folder or EMBEDDED)
        advice = "train one with `echoreel prepare judges recipes/judges.toml`"
        try:
            config = json_value(small_file(folder / "judge.json").decode())
            with torch.device("meta"):  # a config that asks for giants takes no memory
                judge = cls(
                    JudgeSettings.model_validate(config["settings"]),
                    _ACTIONS.validate_python(config.get("actions", ())),
                )
            check_ends(folder / "judge.safetensors")
            state = load_file(folder / "judge.safetensors")
            if {part: tuple(classes) for part, classes in config["parts"].items()} != PARTS:
                raise CheckpointError(
                    f"the judge in {folder} knows other clothes and places than this version; {advice}"
                )
            judge.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"there is no judge in {folder} ({Path(error.filename).name} is missing); {advice}"
            ) from error
        except CheckpointError:
            raise
        except DAMAGE as error:
            raise CheckpointError(
                f"the judge in {folder} is damaged ({type(error).__name__}); {advice}"
            ) from error
        try:
            check_sum(folder / "judge.safetensors")
            if folder == EMBEDDED:
                check_packaged("judges")
            check_finite(judge.state_dict())
        except CheckpointError as error:
            raise CheckpointError(f"the judge in {folder}: {error}") from error
        accuracy = config.get("accuracy")  # only told: of another kind it is left out
        judge.accuracy = accuracy if isinstance(accuracy, dict) else {}
        return judge.eval().requires_grad_(False)


def look_classes(look: Look) -> dict[str, int]:
    """Class number of each of PARTS."""
    return {part: classes.index(getattr(look, part)) for part, classes in PARTS.items()}


class _FrameNetwork(nn.Module):
    """Frames (N, 3, size, size) in [-1, 1] -> features (N, hidden).

    The coarsest map is flattened, not pooled: where something is, is what the joints are read from. A fine
    level adds to what the stem sees in the means of 2x2 pixels, at first nothing.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 + 2, settings.widths[0], 3, padding=1)
        before = (settings.widths[0], *settings.widths[:-1])
        self.levels = nn.Sequential(
            *(_Level(*widths) for widths in zip(before, settings.widths, strict=True))
        )
        self.fine = _Level(3 + 2, settings.fine) if settings.fine else None
        self.joined = nn.Conv2d(settings.fine, settings.widths[0], 1) if settings.fine else None
        for parameter in self.joined.parameters() if self.joined else ():
            nn.init.zeros_(parameter)
        seen = settings.size // 2 if settings.fine else settings.size
        side = math.ceil(seen / 2 ** len(settings.widths))
        self.out = nn.Linear(settings.widths[-1] * side * side, settings.hidden)

    def forward(self, frames: Tensor) -> Tensor:
        if self.fine is None or self.joined is None:
            stem = self.stem(_placed(frames))
        else:
            stem = self.stem(_placed(F.avg_pool2d(frames, 2))) + self.joined(self.fine(_placed(frames)))
        coarse = self.levels(stem)
        return F.silu(self.out(rearrange(coarse, "n c h w -> n (c h w)")))


class _Level(nn.Module):
    """Residual block that halves the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1, stride=2)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, after) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        change = self.norms[1](self.second(F.silu(self.norms[0](self.first(x)))))
        return F.silu(self.skip(x) + change)


class _TemporalLayer(nn.Module):
    """Residual: a dilated convolution over three moments, then a per-frame layer (B, T, D)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.across = nn.Conv1d(
            width, width, 3, padding=dilation, dilation=dilation, padding_mode="replicate"
        )
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mixed = rearrange(self.across(rearrange(self.norm(x), "b t d -> b d t")), "b d t -> b t d")
        residual: Tensor = self.out(F.silu(mixed))
        return x + residual


def _placed(frames: Tensor) -> Tensor:
    """Frames (N, C, H, W) and the row and column of every pixel (N, C + 2, H, W)."""
    places = repeat(_places(*frames.shape[-2:]).to(frames), "c h w -> n c h w", n=len(frames))
    return torch.cat([frames, places], 1)


def _places(height: int, width: int) -> Tensor:
    """Row and column of every pixel, (2, height, width), -1 to 1 over the frame."""
    axes = (torch.linspace(-1, 1, count) for count in (height, width))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _chunks(videos: NDArray[np.uint8], batch: int) -> Iterator[NDArray[np.uint8]]:
    if videos.ndim != 5 or videos.shape[-1] != 3 or videos.dtype != np.uint8 or not len(videos):
        raise ValueError(f"got videos {videos.shape} {videos.dtype}; need uint8 (B, T, H, W, 3) with B > 0")
    for start in range(0, len(videos), batch):
        yield np.ascontiguousarray(videos[start : start + batch])
