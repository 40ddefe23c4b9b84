"""Cases of an evaluation: prompts of known look and action, with references by other actors elsewhere."""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from echoreel.actors.actor_clips import ActorClip, ActorDomain, ActorSettings
from echoreel.actors.looks import Look, full_caption
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.renderer import MANNEQUIN
from echoreel.actors.takes import sample_take
from echoreel.common.errors import MotionLibraryError


@dataclass(frozen=True, eq=False)
class Case:
    """One prompt. `target` is what a perfect base films; references share its motion and nothing else."""

    action: str
    prompt: str
    seeds: tuple[int, ...]  # of the videos to be made
    target: ActorClip
    references: tuple[ActorClip, ...]
    shuffled: tuple[ActorClip, ...]  # references of another action
    restyled: tuple[ActorClip, ...]  # references drawn as nothing that was trained on

    @property
    def look(self) -> Look:
        return self.target.look


@dataclass(frozen=True)
class CaseCounts:
    """How many of each."""

    actions: int  # at most; drawn when the library has more
    prompts: int  # of each action
    references: int  # of each prompt
    seeds: int  # videos of each prompt


def choose_actions(library: MotionLibrary, count: int, seed: int) -> MotionLibrary:
    """The recordings of `count` actions, drawn by the seed, or of all when there are no more."""
    actions = library.actions
    if len(actions) <= count:
        return library
    drawn = np.random.default_rng([seed, 2]).choice(len(actions), count, replace=False)
    chosen = {actions[i] for i in drawn}
    return MotionLibrary(tuple(r for r in library.recordings if r.action in chosen), library.fps)


def make_cases(library: MotionLibrary, settings: ActorSettings, counts: CaseCounts, seed: int) -> list[Case]:
    """Cases of every action of the library, action by action; more prompts leave the first ones as they were.

    Raises MotionLibraryError for a library of a single action: there would be no other to tell it from.
    """
    actions = library.actions
    if len(actions) < 2:
        raise MotionLibraryError(f"got a single action, {actions[0]!r}; an evaluation compares at least 2")
    domain = ActorDomain(library, settings)
    filmed = {
        (action, number): _film(domain, action, number, counts, seed)
        for action in actions
        for number in range(counts.prompts)
    }
    cases = []
    for (action, number), (target, references, restyled, seeds) in filmed.items():
        step = np.random.default_rng([seed, 3, number]).integers(1, len(actions))
        other = actions[(actions.index(action) + step) % len(actions)]
        prompt = full_caption(target.look, action)
        shuffled = filmed[other, number][1]
        cases.append(Case(action, prompt, seeds, target, references, shuffled, restyled))
    return cases


def _film(
    domain: ActorDomain, action: str, number: int, counts: CaseCounts, seed: int
) -> tuple[ActorClip, tuple[ActorClip, ...], tuple[ActorClip, ...], tuple[int, ...]]:
    """A target, its references, these restyled, and the seeds of its videos. No mirroring, reversing or
    splicing."""
    settings = domain.settings
    rng = np.random.default_rng([seed, zlib.crc32(action.encode()), number])
    recordings = [r for r in domain.library.recordings if r.action == action]
    recording = recordings[rng.integers(len(recordings))]
    take = sample_take(recording, domain.library.fps, rng, settings.frames, settings.seconds)
    azimuth = rng.uniform(0, 2 * math.pi)
    target = domain.film(take, rng, azimuth=azimuth)
    spread = math.radians(settings.camera_spread_degrees)
    seeds = tuple(
        np.random.default_rng([seed, zlib.crc32(action.encode()), number, 1]).integers(
            2**31, size=counts.seeds
        )
    )
    references = tuple(
        domain.film(take, rng, azimuth=azimuth + rng.uniform(-spread, spread), unlike=target.look)
        for _ in range(counts.references)
    )
    again = np.random.default_rng([seed, zlib.crc32(action.encode()), number, 2])
    restyled = tuple(
        domain.film(take, again, azimuth=clip.camera.azimuth, look=clip.look, style=MANNEQUIN)
        for clip in references
    )
    return target, references, restyled, tuple(int(s) for s in seeds)
