"""A hundred prompts as people write them: is the person in the colours that they name?

    python benchmarks/free_prompts.py --base embedded --out runs/free-prompts

The base films each prompt alone, and again with a reference of a trained action in another look. A judge
reads shirt and trousers in each half of a video: a prompt counts when all that it names is right in both.
Beside it stands how often the judge is right on real renders, on these through the autoencoder, and on what
the base makes of plain captions that tell everything. Whether the person is whole, only the eye tells: the
pictures show three frames of each video, in the order of `free_prompts.csv`.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import Table, parser_of

from echoreel.actors.actor_clips import ActorDomain, ActorSettings
from echoreel.actors.looks import full_caption
from echoreel.actors.motion_library import MotionLibrary
from echoreel.bases.base import Base
from echoreel.bases.encoding import decode_video, encode_video
from echoreel.bases.loading import load_base
from echoreel.bases.lookup import base_of
from echoreel.evaluation.actorbench.benchmark import find_motions
from echoreel.evaluation.actorbench.filming import as_reference
from echoreel.evaluation.actorbench.judge import Judge
from echoreel.generation.filming import Shot, acting, batches, film
from echoreel.generation.settings import GenerationSettings, resolved
from echoreel.media.images import Frames
from echoreel.media.video_files import write_image
from echoreel.method.loading import load_adapter

PROMPTS = Path(__file__).with_suffix(".csv")
PARTS = ("shirt", "trousers")
SHOWN = (2, 8, 13)  # frames on the sheet
COLUMNS = 10  # prompts side by side on it


def right(judge: Judge, videos: Frames, asked: Sequence[dict[str, str]]) -> dict[str, float]:
    """Share of the named shirts, of the named trousers, and of prompts of which both are right all along."""
    middle = videos.shape[1] // 2
    halves = [judge.read(part).looks for part in (videos[:, :middle], videos[:, middle:])]
    found: dict[str, list[bool]] = {part: [] for part in (*PARTS, "all")}
    for i, row in enumerate(asked):
        told = {part: all(half[i][part] == row[part] for half in halves) for part in PARTS if row[part]}
        for part, value in told.items():
            found[part].append(value)
        found["all"].append(all(told.values()))
    return {part: float(np.mean(values)) for part, values in found.items()}


def filmed(base: Base, shots: Sequence[Shot], settings: GenerationSettings, adapter: Any) -> Frames:
    """Videos (B, T, H, W, 3), of the base alone or with the adapter and the shots' references."""
    made = []
    for chunk in batches(base, shots, 10):
        if adapter is None:
            made.append(film(base, chunk, settings))
        else:
            with acting(adapter, base, chunk, settings):
                made.append(film(base, chunk, settings))
        print(f"{sum(map(len, made))} of {len(shots)}", flush=True)
    return np.concatenate(made)


def sheet(videos: Frames) -> Frames:
    """Three frames of each video, twice as large, ten videos a row with a white line between."""
    rows = []
    for first in range(0, len(videos), COLUMNS):
        strips = []
        for video in videos[first : first + COLUMNS]:
            strips += [*video[list(SHOWN)], np.full_like(video[0, :, :2], 255)]
        rows += [np.concatenate(strips, 1), np.full_like(np.concatenate(strips, 1)[:2], 255)]
    picture: Frames = np.concatenate(rows).repeat(2, 0).repeat(2, 1)
    return picture


@torch.no_grad()
def main() -> None:
    parser = parser_of(__doc__, out="")
    parser.add_argument("--motions", type=Path, default=Path("../shared/motion"))
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--adapter", default="embedded")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/free-prompts"))
    options = parser.parse_args()
    asked = [*csv.DictReader(PROMPTS.open(encoding="utf-8"))]
    base, judge = base_of(load_base(options.base)), Judge.load()
    settings = resolved(base, GenerationSettings(steps=options.steps))
    domain = ActorDomain(
        MotionLibrary.load(find_motions(options.motions)).split("train"),
        ActorSettings(size=base.video_size()[0], splice=0.0, reverse=0.0, hide_action=0.0),
    )
    clips = [domain.clip(7_000_000 + i) for i in range(len(asked))]
    real = np.stack([clip.frames for clip in clips])
    looks = [{part: getattr(clip.look, part) for part in PARTS} for clip in clips]
    rows = {"real renders": right(judge, real, looks)}
    handed_back = np.concatenate([decode_video(base, encode_video(base, each)) for each in real])
    rows["real renders through the autoencoder"] = right(judge, handed_back, looks)
    adapter = load_adapter(options.adapter)
    plain = [full_caption(clip.look, clip.take.action) for clip in clips]
    free = [row["prompt"] for row in asked]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, prompts, wanted, reader in (
        ("plain captions, base alone", plain, looks, None),
        ("free prompts, base alone", free, asked, None),
        ("free prompts, with a reference", free, asked, adapter),
    ):
        shots = [
            Shot(prompt, i, (as_reference(clips[i]),) if reader else ()) for i, prompt in enumerate(prompts)
        ]
        videos = filmed(base, shots, settings, reader)
        rows[name] = right(judge, videos, wanted)
        write_image(options.out / f"{name.replace(', ', '-').replace(' ', '-')}.png", sheet(videos))
    table = Table("videos", "shirt", "trousers", "all that is named")
    for name, shares in rows.items():
        table.add(name, *(f"{value:.2f}" for value in shares.values()))
    table.write(options.out / "table.md")


if __name__ == "__main__":
    main()
