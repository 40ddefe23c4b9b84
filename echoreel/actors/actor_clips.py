"""The actor domain: seeded captioned clips, and target/reference pairs that share nothing but the motion."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from pydantic import Field

from echoreel.actors.disturb_references import disturbed, draw_disturbances, other_style
from echoreel.actors.looks import Look, hidden_action, sample_caption, sample_look
from echoreel.actors.motion_library import MotionLibrary, Recording
from echoreel.actors.renderer import Camera, Frames, Light, Style, render
from echoreel.actors.takes import Take, mirror, reverse, sample_take, splice
from echoreel.common.settings import Settings


class ActorSettings(Settings):
    """How clips are made. Shares are probabilities in [0, 1]."""

    frames: int = Field(16, ge=2, le=10_000)  # a clip
    size: int = Field(64, ge=8, le=4096)  # pixels, square; the default is the packaged base's
    fps: float = Field(8.0, gt=0)  # of the written video
    seconds: tuple[float, float] = (1.6, 2.6)  # recorded time a clip spans: shorter plays slower
    mirror: float = Field(0.5, ge=0, le=1)
    reverse: float = Field(0.05, ge=0, le=1)
    splice: float = Field(0.3, ge=0, le=1)
    hide_action: float = Field(0.3, ge=0, le=1)  # captions that do not tell the action
    disturb: float = Field(0.0, ge=0, le=1)  # references of pairs, by some of `DISTURBANCES`
    camera_spread_degrees: float = Field(30.0, ge=0, le=180)  # azimuth between the cameras of a pair
    elevation: tuple[float, float] = (0.05, 0.35)  # radians
    distance: tuple[float, float] = (2.9, 3.3)  # metres


@dataclass(frozen=True, eq=False)
class ActorClip:
    """A filmed take and everything that is true of it."""

    frames: Frames  # (T, size, size, 3) uint8
    person: Frames  # (T, size, size) uint8, 255 where all is person
    caption: str
    look: Look
    camera: Camera
    take: Take
    style: Style | None = None  # that it was drawn in, if not the usual one


class ActorDomain:
    """Clips of a motion library; every clip is a pure function of its seed."""

    def __init__(self, library: MotionLibrary, settings: ActorSettings | None = None) -> None:
        self.library = library
        self.settings = settings or ActorSettings()
        by_action: dict[str, list[Recording]] = {}
        for recording in library.recordings:
            by_action.setdefault(recording.action, []).append(recording)
        self._by_action = list(by_action.values())

    def clip(self, seed: int) -> ActorClip:
        """One clip of a random action, camera and look."""
        rng = np.random.default_rng([seed, 0])
        take = self.sample_take(rng)
        return self.film(take, rng, azimuth=rng.uniform(0, 2 * math.pi))

    def pair(self, seed: int, references: int = 1) -> tuple[ActorClip, tuple[ActorClip, ...]]:
        """A target and its references: one time window, other people, clothes and places, cameras nearby."""
        rng = np.random.default_rng([seed, 1])
        take = self.sample_take(rng)
        azimuth = rng.uniform(0, 2 * math.pi)
        target = self.film(take, rng, azimuth=azimuth)
        spread = math.radians(self.settings.camera_spread_degrees)
        chance, others = np.random.default_rng([seed, 2]), []
        for _ in range(references):
            kinds = draw_disturbances(chance) if chance.random() < self.settings.disturb else ()
            beside = azimuth + rng.uniform(-spread, spread)
            style = other_style(kinds, chance)
            clip = self.film(take, rng, azimuth=beside, unlike=target.look, style=style)
            others.append(replace(clip, frames=disturbed(clip.frames, clip.person, kinds, chance)))
        return target, tuple(others)

    def sample_take(self, rng: Generator) -> Take:
        """A window of a random action (each equally often), perhaps spliced, mirrored, reversed."""
        settings = self.settings
        take = self._window(rng)
        if rng.random() < settings.splice:
            take = splice(take, self._window(rng))
        if rng.random() < settings.mirror:
            take = mirror(take)
        if rng.random() < settings.reverse:
            take = reverse(take)
        return take

    def film(
        self,
        take: Take,
        rng: Generator,
        *,
        azimuth: float,
        look: Look | None = None,
        unlike: Look | None = None,
        style: Style | None = None,
    ) -> ActorClip:
        """Film a take from `azimuth` (radians) with a random look, camera height, light and caption.

        `unlike` makes the shirt, the trousers, the hair and the place differ from another look's.
        """
        settings = self.settings
        look = look or _sample_other_look(rng, unlike)
        camera = Camera(azimuth, rng.uniform(*settings.elevation), rng.uniform(*settings.distance))
        direction = rng.normal(size=3) * 0.5 + (0, 0, 1.2)
        light = Light((float(direction[0]), float(direction[1]), float(direction[2])), rng.uniform(0.6, 1.6))
        action = hidden_action(rng) if rng.random() < settings.hide_action else take.action
        caption = sample_caption(look, action, rng)
        frames, person = render(take.joints, look, camera, light, settings.size, style)
        return ActorClip(frames, person, caption, look, camera, take, style)

    def _window(self, rng: Generator) -> Take:
        recordings = self._by_action[rng.integers(len(self._by_action))]
        recording = recordings[rng.integers(len(recordings))]
        return sample_take(recording, self.library.fps, rng, self.settings.frames, self.settings.seconds)


def _sample_other_look(rng: Generator, unlike: Look | None) -> Look:
    while True:
        look = sample_look(rng)
        if unlike is None or all(
            getattr(look, part) != getattr(unlike, part) for part in ("shirt", "trousers", "hair", "place")
        ):
            return look
