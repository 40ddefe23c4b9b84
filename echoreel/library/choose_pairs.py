"""(Target, references) training pairs from a library: the same action, another look, another source.

Quadruples (caption, video, reference caption, reference video), as the paper trains on 80 k of. The result is
a manifest for `prepare`, and a count of everything that was dropped, by reason.
"""

import json
import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, NonNegativeInt

from echoreel.common.errors import EchoReelError, OutputError, VideoError
from echoreel.common.files import write_together
from echoreel.common.places import check_own
from echoreel.common.settings import Longest, Seconds, Settings, Share
from echoreel.library.actions.find_action import find_action
from echoreel.media.video_files import probe

REPORT = ("clips", "pairs", "dropped")  # keys of a report


class PairError(EchoReelError):
    """No pairs can be made of these clips."""


class Candidate(Protocol):
    """What is read of a library's clip (`library.LibraryClip`)."""

    @property
    def caption(self) -> str: ...
    @property
    def phrase(self) -> str: ...
    @property
    def label(self) -> str:
        """Its class in a data set; empty where clips have captions alone."""

    @property
    def root(self) -> str:
        """The folder that the path stays in; empty for a URL."""

    @property
    def path(self) -> str: ...
    @property
    def video(self) -> str:
        """Which video it was cut from."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float | None: ...
    @property
    def motion(self) -> float | None:
        """Mean difference of neighbouring frames, 0 to 1; None where nobody has looked."""

    @property
    def look(self) -> tuple[float, ...] | None:
        """Colours, each 0 to 1; None where nobody has looked."""


class PairSettings(Settings):
    """Which clips make a pair. What is not known of a clip is not held against it."""

    references: Annotated[int, Field(ge=1, le=100)] = 1  # of each target
    per_action: Annotated[int, Field(ge=2, le=1_000_000)] = (
        256  # clips of one action at most, drawn by `seed`, so that no action rules
    )
    shortest: Seconds = 2.0  # seconds: 16 frames at 8 a second
    longest: Longest = 30.0  # seconds: a longer clip shows more than its caption
    still: Share = 0.004  # motion below this is a still picture
    similar: Share = 0.03  # mean difference of two looks below which they are the same
    urls: bool = False  # whether clips that are only links may be in the list
    seed: NonNegativeInt = 0


@dataclass
class Pairs:
    """What was chosen, and how many clips or targets were dropped for which reason."""

    chosen: list[tuple[Candidate, list[Candidate]]] = field(default_factory=list)
    seen: int = 0
    actions: int = 0  # of the chosen targets
    dropped: Counter[str] = field(default_factory=Counter)

    def details(self) -> dict[str, Any]:
        """For --json and for the report beside a manifest."""
        return {
            "clips": self.seen,
            "pairs": len(self.chosen),
            "actions": self.actions,
            "dropped": dict(self.dropped.most_common()),
        }


def choose_pairs(clips: Iterable[Candidate], settings: PairSettings | None = None) -> Pairs:
    """Targets and their references. The same clips and settings give the same pairs."""
    settings = settings or PairSettings()
    found, chance = Pairs(), random.Random(settings.seed)
    for lemmas, group in _by_action(clips, found, settings, chance).items():
        before = len(found.chosen)
        group = [clip for clip in group if _long_enough(clip, found, settings)]
        chance.shuffle(group)
        for target in group:
            _match(target, group, found, settings, chance)
        found.actions += bool(lemmas) and len(found.chosen) > before
    chance.shuffle(found.chosen)
    return found


def write_manifest(pairs: Pairs, path: Path) -> Path:
    """Write the JSON lines of `prepare.prepare_pairs`, and `NAME.report.json` beside; -> their root folder.

    The root is the manifest's own folder when all videos lie in it, else the nearest that holds them all.
    Raises PairError when there is nothing to write, or the videos share no folder; OutputError where another
    program's file is there.
    """
    check_manifest(pairs, path)
    root, files = manifest_files(pairs, path)
    write_together(files)
    return root


def manifest_files(pairs: Pairs, path: Path) -> tuple[Path, dict[Path, bytes]]:
    """The root folder, and what the manifest and its report hold. Raises PairError as `write_manifest`."""
    files = {_file(clip) for target, others in pairs.chosen for clip in (target, *others) if clip.root}
    root = _common(files, path.absolute().parent)
    lines = [json.dumps(_line(*pair, root), ensure_ascii=False) for pair in pairs.chosen]
    report = json.dumps(pairs.details() | {"root": str(root)}, indent=2) + "\n"
    held = {path: "\n".join(lines) + "\n", path.with_suffix(".report.json"): report}
    return root, {file: text.encode() for file, text in held.items()}


def check_manifest(pairs: Pairs, path: Path) -> None:
    """Raises PairError when there is nothing to write, OutputError where another program's file is there."""
    check_own(path, ("target", "references"))
    report = path.with_suffix(".report.json")
    check_own(report, REPORT)
    if os.path.lexists(path) and not os.path.lexists(report):
        raise OutputError(
            f"{path}: already exists, and without its {report.name} it may be written by hand; move it away, "
            "or choose another name"
        )
    if not pairs.chosen:
        reasons = ", ".join(f"{count} {reason}" for reason, count in pairs.dropped.most_common(3))
        raise PairError(
            f"no pairs among {pairs.seen} clips ({reasons or 'the library is empty'}); add more videos of "
            "the same actions, or loosen a filter"
        )


def _by_action(
    clips: Iterable[Candidate], found: Pairs, settings: PairSettings, chance: random.Random
) -> dict[tuple[str, ...], list[Candidate]]:
    """The usable clips of each action, at most so many, every one as likely as any other."""
    groups: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    counts: Counter[tuple[str, ...]] = Counter()
    keys: dict[str, tuple[str, ...]] = {}
    for clip in clips:
        found.seen += 1
        fault = _fault(clip, settings)
        if fault:
            found.dropped[fault] += 1
            continue
        if clip.phrase not in keys:
            action = find_action(clip.phrase)
            keys[clip.phrase] = (clip.phrase,) if action is None else action.lemmas
        key = keys[clip.phrase]
        counts[key] += 1
        if len(groups[key]) < settings.per_action:
            groups[key].append(clip)
            continue
        found.dropped["over the most clips of one action"] += 1
        place = chance.randrange(counts[key])
        if place < settings.per_action:
            groups[key][place] = clip
    return groups


def _fault(clip: Candidate, settings: PairSettings) -> str:
    """Why a clip is in no pair; empty when it may be."""
    seconds = None if clip.end is None else clip.end - clip.start
    if not clip.phrase:
        return "no action in the caption"
    if not clip.root and not settings.urls:
        return "only a link"
    if seconds is not None and seconds < settings.shortest:
        return "too short"
    if seconds is not None and seconds > settings.longest:
        return "too long"
    if clip.motion is not None and clip.motion < settings.still:
        return "too still"
    return ""


def _long_enough(clip: Candidate, found: Pairs, settings: PairSettings) -> bool:
    """Whether a clip that ends with its file is as long as its pair needs; others were looked at before."""
    length = _length(_file(clip)) if clip.end is None and clip.root else None
    if length is not None and not settings.shortest <= length - clip.start <= settings.longest:
        found.dropped["too short" if length - clip.start < settings.shortest else "too long"] += 1
        return False
    return True


@lru_cache(maxsize=1 << 16)
def _length(file: Path) -> float | None:
    """Seconds; None when the file does not say, or cannot be read: `prepare pairs` says why."""
    try:
        return probe(file).duration
    except VideoError:
        return None


def _match(
    target: Candidate, group: Sequence[Candidate], found: Pairs, settings: PairSettings, chance: random.Random
) -> None:
    """Give a target its references: of a few drawn ones those that look least like it and each other."""
    others = [clip for clip in group if clip.video != target.video]
    if not others:
        alone = len(group) == 1
        found.dropped["no other clip of the action" if alone else "only cuts of one video"] += 1
        return
    chosen: list[Candidate] = []
    drawn = chance.sample(others, min(len(others), 16 * settings.references))
    for _ in range(settings.references):
        videos = {clip.video for clip in chosen}
        left = [clip for clip in drawn if clip.video not in videos]
        if not left:
            break
        best = max(left, key=lambda clip: min(looks_apart(clip, one) for one in (target, *chosen)))
        if min(looks_apart(best, one) for one in (target, *chosen)) < settings.similar:
            break
        chosen.append(best)
    if len(chosen) < settings.references:
        found.dropped["too similar to the others of the action" if chosen or left else "too few sources"] += 1
        return
    found.chosen.append((target, chosen))


def looks_apart(clip: Candidate, other: Candidate) -> float:
    """How differently two clips look, 0 to 1; without looks 1, or 0 when the words are the same, too."""
    if clip.look is not None and other.look is not None:
        return math.fsum(abs(a - b) for a, b in zip(clip.look, other.look, strict=True)) / len(clip.look)
    return float(clip.caption != other.caption)


def _file(clip: Candidate) -> Path:
    return Path(os.path.abspath(Path(clip.root) / clip.path))


def _common(files: set[Path], own: Path) -> Path:
    """The folder that paths in the manifest are relative to."""
    if all(file.is_relative_to(own) for file in files):
        return own
    try:
        return Path(os.path.commonpath([file.parent for file in files]))
    except ValueError as error:  # two drives
        raise PairError("the videos share no folder; copy them to one drive first") from error


def _line(target: Candidate, others: Sequence[Candidate], root: Path) -> dict[str, Any]:
    def told(clip: Candidate) -> dict[str, Any]:
        path = str(_file(clip).relative_to(root)) if clip.root else clip.path
        end = clip.end if clip.end is not None or not clip.root else _length(_file(clip))
        cut = {} if end is None else {"end": round(end, 3)}
        return {"path": path, "caption": clip.caption, "start": round(clip.start, 3), **cut}

    first = told(target)
    action = {"action": target.label} if target.label else {}
    return {"target": first.pop("path"), **action, **first, "references": [told(clip) for clip in others]}
