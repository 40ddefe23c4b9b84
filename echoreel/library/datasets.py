"""Data sets of actions as people have them on disk -> (target, references) pairs, without a library.

Every layout says which class a clip is of, and which source it was cut from: pairs are of one class, of two
sources, and of two looks. Clips are read once, small, to see how they look and whether anything moves.
"""

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

from echoreel.common.errors import EchoReelError, OutputError, VideoError
from echoreel.common.files import write_together
from echoreel.common.places import check_own
from echoreel.library.choose_pairs import (
    Pairs,
    PairSettings,
    check_manifest,
    choose_pairs,
    looks_apart,
    manifest_files,
)
from echoreel.library.sources.layouts import LAYOUTS, NEED, READERS, DatasetClip, Layout
from echoreel.library.sources.shots import LOOK_SIZE, look_of, motion_of
from echoreel.media.video_files import Span, read_frames

FEW = 10  # actions, below which an adapter learns these actions instead of reading references
LOOKED_AT = Span(start=0.0, fps=4.0, frames=8)


@dataclass
class DatasetPairs:
    """Pairs to train on and pairs of actions held out, and what there is to know before hours of encoding."""

    train: Pairs
    heldout: Pairs
    per_action: Counter[str] = field(default_factory=Counter)  # pairs of each trained action
    heldout_actions: tuple[str, ...] = ()

    def details(self) -> dict[str, Any]:
        """For --json and the report."""
        return {
            "train": self.train.details(),
            "heldout": self.heldout.details(),
            "heldout_actions": list(self.heldout_actions),
            "pairs_per_action": dict(sorted(self.per_action.items())),
            "apart": self.apart,
            "motion": self.motion,
        }

    @property
    def apart(self) -> float | None:
        """Median difference in look of a target and its first reference, 0 to 1."""
        found = [looks_apart(target, others[0]) for target, others in self.train.chosen if target.look]
        return median(found) if found else None

    @property
    def motion(self) -> float | None:
        """Median motion of the targets, 0 to 1."""
        found = [target.motion for target, _ in self.train.chosen if target.motion is not None]
        return median(found) if found else None

    def told(self) -> list[str]:
        """For people, with what should make them think."""
        lines, counts = [], sorted(self.per_action.values())
        for name, part in (("train", self.train), ("held out", self.heldout)):
            if part.seen:
                lines.append(
                    f"{name}: {len(part.chosen)} pairs of {part.actions} actions, from {part.seen} clips"
                )
                lines += [f"  dropped {n}: {why}" for why, n in part.dropped.most_common()]
        if counts:
            lines.append(
                f"pairs an action: {counts[0]} to {counts[-1]}, half have {median(counts):g} or more"
            )
        if self.motion is not None and self.apart is not None:
            lines.append(
                f"motion {self.motion:.3f} (0 is a still), looks {self.apart:.3f} apart (0 is alike)"
            )
        if 0 < len(counts) < FEW:
            lines.append(
                f"only {len(counts)} actions: an adapter may learn these instead of reading references; "
                "add more actions rather than more clips"
            )
        return lines


def dataset_pairs(
    layout: Layout, root: Path, settings: PairSettings | None = None, holdout: int = 0
) -> DatasetPairs:
    """Choose pairs; `holdout` actions, drawn by the settings' seed, are kept apart.

    root: the data set's folder, or the file of a table. Raises EchoReelError for a folder without clips of
    this layout, MissingExtra for a table.
    """
    settings = settings or PairSettings()
    groups: dict[str, list[DatasetClip]] = defaultdict(list)
    lost: Counter[str] = Counter()
    for clip in READERS[layout](root, lost):
        groups[clip.label].append(clip)
    if not groups:
        why = "; ".join(f"{count} {reason}" for reason, count in lost.most_common(3))
        raise EchoReelError(f"{root}: no clips of the layout {layout} ({why or 'no videos'}); {NEED[layout]}")
    labels = sorted(groups)
    if holdout > len(labels) - 1:
        raise EchoReelError(f"got {holdout} actions to hold out, and {len(labels)} in all; hold out fewer")
    out = {*random.Random(settings.seed).sample(labels, holdout)}
    train, heldout = Pairs(dropped=lost, seen=lost.total()), Pairs()
    made = DatasetPairs(train, heldout, heldout_actions=tuple(sorted(out)))
    for label in labels:
        part = heldout if label in out else train
        chosen = choose_pairs(_looked_at(groups[label], settings, part.dropped), settings)
        _merge(part, chosen)
        if label not in out and chosen.chosen:
            made.per_action[label] = len(chosen.chosen)
    for part in (train, heldout):
        random.Random(settings.seed).shuffle(part.chosen)
    return made


def layout_of(name: str) -> Layout:
    """Raises EchoReelError for a layout that is not known."""
    if name not in LAYOUTS:
        raise EchoReelError(f"layout: got {name!r}, need one of {', '.join(LAYOUTS)}")
    return cast(Layout, name)


def write_dataset(made: DatasetPairs, out: Path) -> dict[Path, Path]:
    """Write train.jsonl, heldout.jsonl where there is any, report.json; -> root folder of each manifest.

    Raises PairError where no pair is left of a manifest, OutputError; then nothing is written.
    """
    report, heldout = out / "report.json", out / "heldout.jsonl"
    check_own(report, ("train", "heldout"))
    parts = {out / "train.jsonl": made.train} | ({heldout: made.heldout} if made.heldout_actions else {})
    for path, pairs in parts.items():
        check_manifest(pairs, path)
    if heldout not in parts and os.path.lexists(heldout):
        raise OutputError(
            f"{heldout}: is of actions that were held out before and are trained now; remove it, or choose "
            "another folder"
        )
    made_of = {path: manifest_files(pairs, path) for path, pairs in parts.items()}
    told = {report: (json.dumps(made.details(), indent=2) + "\n").encode()}
    write_together({file: data for _, files in made_of.values() for file, data in files.items()} | told)
    return {path: root for path, (root, _) in made_of.items()}


def _merge(into: Pairs, more: Pairs) -> None:
    into.chosen += more.chosen
    into.seen += more.seen
    into.actions += bool(more.chosen)
    into.dropped.update(more.dropped)


def _looked_at(clips: list[DatasetClip], settings: PairSettings, lost: Counter[str]) -> Iterator[DatasetClip]:
    """At most so many of an action, drawn by the seed, with look and motion."""
    drawn = random.Random(settings.seed).sample(clips, min(len(clips), settings.per_action))
    if len(drawn) < len(clips):
        lost["over the most clips of one action"] += len(clips) - len(drawn)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for seen in pool.map(_seen, drawn):
            if seen is None:
                lost["that cannot be read"] += 1
            else:
                yield seen


def _seen(clip: DatasetClip) -> DatasetClip | None:
    """None where it cannot be read, or has one frame only."""
    if not clip.root:
        return clip
    span = LOOKED_AT.model_copy(update={"start": clip.start, "end": clip.end})
    try:
        frames = read_frames(Path(clip.root) / clip.path, span, size=LOOK_SIZE).frames
    except VideoError:
        return None
    return replace(clip, look=look_of(frames), motion=motion_of(frames)) if len(frames) > 1 else None
