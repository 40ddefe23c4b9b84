"""Held-out pairs -> cases: a prompt, references of its action, and those of another action as a control."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoreel.common.errors import ClipTooShort, EchoReelError, VideoError
from echoreel.evaluation.measure.subjects import Part
from echoreel.library.actions.find_action import find_action
from echoreel.media.video_files import probe
from echoreel.training.evaluation_settings import HeldoutSettings
from echoreel.training.manifest import ManifestLine, ManifestReference, read_manifest

SHORTEST = 0.25  # seconds of a clip: two frames that are 1/8 s apart


@dataclass(frozen=True)
class Shown:
    """A reference as a video has it."""

    part: Part
    caption: str


@dataclass(frozen=True)
class References:
    """Of one action. `unseen`: a clip of the same action that no video of the case reads; None: there is none
    in the manifest."""

    shown: tuple[Shown, ...]
    unseen: Part | None


@dataclass(frozen=True)
class Case:
    """One prompt; its references show its action in another clip than `target`."""

    number: int  # of the line in the manifest, from 1 and without empty lines
    action: str
    prompt: str
    seeds: tuple[int, ...]  # of its videos
    target: Part
    right: References
    shuffled: References  # of another action


def heldout_cases(manifest: Path, root: Path | None, settings: HeldoutSettings) -> list[Case]:
    """So many cases of each action, action by action; the same call gives the same ones.

    root: of the paths in the manifest. Raises EchoReelError's family for a manifest that is wrong,
    has too few references, an empty caption, or a single action. Raises VideoError's family for a missing
    file.
    """
    root, most = root or manifest.parent, max(settings.references)
    groups: dict[str, list[tuple[int, ManifestLine]]] = defaultdict(list)
    for number, line in enumerate(read_manifest(manifest, most, root), 1):
        if not line.caption.strip():
            raise EchoReelError(
                f"pair {number} of the manifest: its caption is empty; say what its video shows, or drop "
                "the line"
            )
        groups[action_of(line)].append((number, line))
    if len(groups) < 2:
        raise EchoReelError(
            f"{manifest}: got pairs of a single action, {next(iter(groups))[:60]!r}, need 2 or more: the "
            "control has references of another; hold out more actions"
        )
    clips = {action: _clips(lines, root) for action, lines in groups.items()}
    drawn = {action: _drawn(lines, action, settings) for action, lines in sorted(groups.items())}
    actions = [*drawn]
    cases = []
    for action, lines in drawn.items():
        for place, (number, line) in enumerate(lines):
            step = np.random.default_rng([settings.seed, 3, number]).integers(1, len(actions))
            other = actions[(actions.index(action) + int(step)) % len(actions)]
            _, lent = drawn[other][place % len(drawn[other])]
            target = _part(line.target, line, root)
            case = Case(
                number=number,
                action=action,
                prompt=line.caption,
                seeds=_seeds(line, settings),
                target=target,
                right=_references(line.references[:most], clips[action], target, root),
                shuffled=_references(lent.references[:most], clips[other], target, root),
            )
            cases.append(case)
    _check_files(cases)
    return cases


def first_of(part: Part, seconds: float) -> Part:
    """Of a clip as much as a video is long: what a training reads of it, too."""
    end = part.start + seconds
    return part._replace(end=end if part.end is None else min(part.end, end))


def action_of(line: ManifestLine) -> str:
    """As the line says, or else as its caption does."""
    if line.action:
        return line.action
    found = find_action(line.caption)
    return " ".join(found.lemmas) if found else line.caption


def _drawn(
    lines: Sequence[tuple[int, ManifestLine]], action: str, settings: HeldoutSettings
) -> list[tuple[int, ManifestLine]]:
    rng = np.random.default_rng([settings.seed, zlib.crc32(action.encode())])
    return [lines[i] for i in rng.permutation(len(lines))[: settings.prompts]]


def _seeds(line: ManifestLine, settings: HeldoutSettings) -> tuple[int, ...]:
    """Lines of one caption have videos of their own."""
    target = zlib.crc32(f"{line.target} {line.start}".encode())
    rng = np.random.default_rng([settings.seed, target, 1])
    return tuple(int(seed) for seed in rng.choice(2**31, settings.seeds, replace=False))


def _part(path: Path, cut: ManifestLine | ManifestReference, root: Path) -> Part:
    return Part(root / path, cut.start, cut.end)


def _clips(lines: Sequence[tuple[int, ManifestLine]], root: Path) -> list[Part]:
    """All clips of an action, each once, in an order that the manifest's does not change."""
    found = {_part(line.target, line, root) for _, line in lines}
    found |= {_part(each.path, each, root) for _, line in lines for each in line.references}
    return sorted(found, key=str)


def _references(
    given: Sequence[ManifestReference], clips: Sequence[Part], target: Part, root: Path
) -> References:
    shown = tuple(Shown(_part(each.path, each, root), each.caption) for each in given)
    seen = {target.path, *(each.part.path for each in shown)}
    left = [part for part in clips if part.path not in seen]
    drawn = zlib.crc32(str(given[0].path).encode())
    return References(shown, left[drawn % len(left)] if left else None)


def _check_files(cases: Sequence[Case]) -> None:
    """Raises VideoError's family for a file that cannot be read: now, not after hours of filming."""
    used = {
        part: case.number
        for case in cases
        for references in (case.right, case.shuffled)
        for part in (case.target, references.unseen, *(each.part for each in references.shown))
        if part is not None
    }
    for part, number in used.items():
        try:
            _check_length(part)
        except VideoError as error:
            raise type(error)(f"pair {number} of the manifest: {error}") from error


def _check_length(part: Part) -> None:
    """Raises ClipTooShort for a part in which no motion can be measured, and what `probe` raises."""
    whole = probe(part.path).duration
    ends = [each for each in (part.end, whole) if each is not None]
    seconds = max(0.0, min(ends) - part.start) if ends else SHORTEST
    if seconds < SHORTEST:
        raise ClipTooShort(
            f"{part.path}: {seconds:.2f} s from {part.start:g} s on, need {SHORTEST:g}; choose a longer "
            "part, or drop the line"
        )
