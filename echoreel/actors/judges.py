"""Judges: a small network that reads from a video how the person moves and what they wear, where.

It reads joints (metres, as the camera sees them) and the look's classes. `judge_training` trains it on fresh
renders of every action; it ships in `echoreel/weights/judges/`. `metrics` turns its readings into numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from pydantic import PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from echoreel.actors.looks import COLOURS, HAIRS, PLACES, TOPS, Look
from echoreel.actors.motions import JOINTS, Joints
from echoreel.config import Settings
from echoreel.errors import CheckpointError

PARTS: dict[str, tuple[str, ...]] = {
    "shirt": tuple(COLOURS),
    "trousers": tuple(COLOURS),
    "hair": tuple(HAIRS),
    "place": tuple(PLACES),
    "top": TOPS,
}
EMBEDDED = Path(__file__).parents[1] / "weights" / "judges"


class JudgeSettings(Settings):
    """Sizes of the judge."""

    size: PositiveInt = 32  # pixels; videos of other sizes are resized to it
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (
        32,
        64,
        128,
    )  # at a half, a quarter, an eighth of it
    points: PositiveInt = 32  # places of attention in a frame; the first 18 are trained to lie on the joints
    hidden: PositiveInt = 224  # of a frame's features and of the temporal layers
    dilations: tuple[PositiveInt, ...] = (1, 2, 4)  # one temporal layer each


class Outputs(NamedTuple):
    """What the network says of B videos of T frames."""

    joints: Tensor  # (B, T, 18, 3) metres from the pelvis
    maps: Tensor  # (B, T, points, h, w) logarithms of the shares of attention over the frame
    looks: dict[str, Tensor]  # logits (B, classes) of each part of the look


@dataclass(frozen=True, eq=False)
class Reading:
    """What a judge reads from B videos."""

    joints: Joints  # (B, T, 18, 3) metres from the pelvis: to the camera's right, up, and towards it
    looks: tuple[dict[str, str], ...]  # of each video, the class of each of PARTS


class Judge(nn.Module):
    """Frames -> joints and look: attention points in each frame, then dilated convolutions over time."""

    def __init__(self, settings: JudgeSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or JudgeSettings()
        self.accuracy: dict[str, float] = {}  # of this judge on fresh renders, stored with its weights
        hidden = settings.hidden
        self.frame = _FrameNetwork(settings)
        self.time = nn.ModuleList(_TemporalLayer(hidden, dilation) for dilation in settings.dilations)
        joints = nn.Linear(hidden, len(JOINTS) * 3)
        nn.init.zeros_(joints.weight)
        self.joints = nn.Sequential(nn.LayerNorm(hidden), joints)
        self.look = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU())
        self.parts = nn.ModuleDict({part: nn.Linear(hidden, len(classes)) for part, classes in PARTS.items()})

    def forward(self, video: Tensor) -> Outputs:
        """`video` (B, T, 3, H, W) in [0, 1], any size and length."""
        clips = len(video)
        frames = rearrange(video, "b t c h w -> (b t) c h w")
        size = (self.settings.size, self.settings.size)
        if frames.shape[-2:] != size:
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        features, maps = self.frame(2 * frames - 1)
        x = rearrange(features, "(b t) d -> b t d", b=clips)
        look = self.look(torch.cat([x.mean(1), x.amax(1)], -1))
        for layer in self.time:
            x = layer(x)
        joints = rearrange(self.joints(x), "b t (j c) -> b t j c", c=3)
        return Outputs(
            joints - joints[:, :, :1],
            rearrange(maps, "(b t) m h w -> b t m h w", b=clips),
            {part: head(look) for part, head in self.parts.items()},
        )

    @torch.no_grad()
    def read(self, videos: NDArray[np.uint8], batch: int = 32) -> Reading:
        """Read videos (B, T, H, W, 3)."""
        device = next(self.parameters()).device
        joints: list[Joints] = []
        looks: list[dict[str, str]] = []
        for chunk in _chunks(videos, batch):
            video = rearrange(torch.from_numpy(chunk).to(device), "b t h w c -> b t c h w").float() / 255
            outputs = self(video)
            joints.append(outputs.joints.float().cpu().numpy())
            best = {part: logits.argmax(-1).tolist() for part, logits in outputs.looks.items()}
            looks += [{part: PARTS[part][best[part][i]] for part in PARTS} for i in range(len(chunk))]
        return Reading(np.concatenate(joints), tuple(looks))

    def save(self, folder: Path) -> None:
        """Write `judge.safetensors` (float16) and `judge.json`, each beside and renamed."""
        folder.mkdir(parents=True, exist_ok=True)
        weights, config = folder / "judge.partial", folder / "judge.json.partial"
        save_file(
            {name: t.detach().half().cpu().contiguous() for name, t in self.state_dict().items()}, weights
        )
        described = {
            "settings": self.settings.model_dump(mode="json"),
            "parts": PARTS,
            "accuracy": self.accuracy,
        }
        config.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        weights.replace(folder / "judge.safetensors")
        config.replace(folder / "judge.json")

    @classmethod
    def load(cls, folder: Path | str | None = None) -> "Judge":
        """The judge of a folder, without argument the embedded one; evaluation mode, float32, no gradients.

        Raises CheckpointError when it is missing, damaged or made for other looks.
        """
        folder = Path(folder or EMBEDDED)
        advice = "train one with `echoreel prepare judges recipes/judges.toml`"
        try:
            config = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
            judge = cls(JudgeSettings.model_validate(config["settings"]))
            state = load_file(folder / "judge.safetensors")
            if {part: tuple(classes) for part, classes in config["parts"].items()} != PARTS:
                raise CheckpointError(
                    f"the judge in {folder} knows other clothes and places than this version; {advice}"
                )
            judge.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        except FileNotFoundError as error:
            raise CheckpointError(
                f"there is no judge in {folder} ({Path(error.filename).name} is missing); {advice}"
            ) from error
        except (KeyError, ValidationError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"the judge in {folder} is damaged ({type(error).__name__}); {advice}"
            ) from error
        judge.accuracy = dict(config.get("accuracy", {}))
        return judge.eval().requires_grad_(False)


def look_classes(look: Look) -> dict[str, int]:
    """Class number of each of PARTS."""
    return {part: classes.index(getattr(look, part)) for part, classes in PARTS.items()}


class _FrameNetwork(nn.Module):
    """Frames (N, 3, H, W) in [-1, 1] -> features (N, hidden) and log attention maps (N, points, h, w).

    A small U-Net gives a map per point; a point is where its map lies on average, and sees the features there
    (spatial softmax, Levine et al. 2016, section 3).
    """

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        fine, middle, coarse = settings.widths
        self.stem = nn.Conv2d(3, fine, 4, stride=2, padding=1)
        self.fine, self.middle, self.coarse = (
            _level(fine, fine, 1),
            _level(fine, middle, 2),
            _level(middle, coarse, 2),
        )
        self.coarse_to_middle, self.middle_to_fine = nn.Conv2d(coarse, middle, 1), nn.Conv2d(middle, fine, 1)
        self.up_middle, self.up_fine = _convolution(middle, middle, 1), _convolution(fine, fine, 1)
        self.maps = nn.Conv2d(fine, settings.points, 1)
        self.out = nn.Sequential(
            nn.Linear(settings.points * (fine + 2) + coarse, settings.hidden),
            nn.LayerNorm(settings.hidden),
            nn.SiLU(),
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.stem(frames))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.up_middle(middle + F.interpolate(self.coarse_to_middle(coarse), middle.shape[-2:]))
        fine = self.up_fine(fine + F.interpolate(self.middle_to_fine(middle), fine.shape[-2:]))
        maps = rearrange(self.maps(fine).float(), "n m h w -> n m (h w)").log_softmax(-1)
        shares = maps.exp()
        seen = torch.einsum("nms,ncs->nmc", shares, rearrange(fine, "n c h w -> n c (h w)").float())
        points = shares @ _places(*fine.shape[-2:]).to(shares)
        told = [
            rearrange(seen, "n m c -> n (m c)"),
            rearrange(points, "n m c -> n (m c)"),
            coarse.mean((2, 3)),
        ]
        return self.out(torch.cat(told, -1)), maps.unflatten(-1, fine.shape[-2:])


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


def _level(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(before, after, stride), *_convolution(after, after, 1))


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU())


def _places(height: int, width: int) -> Tensor:
    """Middles of the cells of a grid, (height * width, 2): right and down, -1 to 1 over the frame."""
    down, right = (torch.arange(n) * 2 / n + 1 / n - 1 for n in (height, width))
    return torch.stack([repeat(right, "w -> (h w)", h=height), repeat(down, "h -> (h w)", w=width)], -1)


def _chunks(videos: NDArray[np.uint8], batch: int) -> Iterator[NDArray[np.uint8]]:
    if videos.ndim != 5 or videos.shape[-1] != 3 or videos.dtype != np.uint8 or not len(videos):
        raise ValueError(f"got videos {videos.shape} {videos.dtype}; need uint8 (B, T, H, W, 3) with B > 0")
    for start in range(0, len(videos), batch):
        yield np.ascontiguousarray(videos[start : start + batch])
