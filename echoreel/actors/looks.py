"""Looks: who performs, in what clothes and where, and the caption that says it."""

from dataclasses import dataclass

from numpy.random import Generator

Colour = tuple[float, float, float]  # red, green, blue in [0, 1]

COLOURS: dict[str, Colour] = {
    "red": (0.85, 0.12, 0.12), "blue": (0.12, 0.25, 0.85), "green": (0.1, 0.6, 0.2), "yellow": (0.95, 0.8, 0.1),
    "white": (0.93, 0.93, 0.93), "black": (0.1, 0.1, 0.12), "purple": (0.5, 0.15, 0.65), "orange": (0.95, 0.5, 0.1),
    "pink": (0.95, 0.5, 0.65), "cyan": (0.1, 0.75, 0.8),
}  # fmt: skip
SKINS: dict[str, Colour] = {
    "light": (0.95, 0.78, 0.65), "tan": (0.85, 0.62, 0.47), "brown": (0.6, 0.4, 0.27), "dark": (0.36, 0.23, 0.15),
}  # fmt: skip
HAIRS: dict[str, Colour] = {
    "black": (0.08, 0.07, 0.07), "brown": (0.35, 0.2, 0.1), "blond": (0.85, 0.68, 0.3), "red": (0.65, 0.22, 0.08),
    "grey": (0.6, 0.6, 0.62),
}  # fmt: skip
SHOES = ("black", "white", "red")
TOPS = ("sweater", "t-shirt")


@dataclass(frozen=True)
class Place:
    """Sky colours from top to horizon, two ground colours, the ground's pattern (0 plain, 1 checks, 2 stripes)."""

    phrase: str
    sky: Colour
    horizon: Colour
    ground: Colour
    ground_too: Colour
    pattern: int


PLACES: dict[str, Place] = {
    "field": Place("on a grassy field", (0.45, 0.65, 0.95), (0.75, 0.87, 0.97), (0.25, 0.55, 0.2), (0.3, 0.62, 0.25), 2),
    "desert": Place("in a desert", (0.5, 0.7, 0.95), (0.95, 0.9, 0.8), (0.85, 0.7, 0.45), (0.8, 0.64, 0.4), 2),
    "checks": Place("on a checkered floor", (0.25, 0.25, 0.3), (0.45, 0.45, 0.5), (0.75, 0.75, 0.75), (0.5, 0.5, 0.55), 1),
    "snow": Place("on a snowy plain", (0.6, 0.72, 0.85), (0.88, 0.92, 0.96), (0.95, 0.96, 0.98), (0.88, 0.9, 0.95), 2),
    "stage": Place("on a dark stage", (0.02, 0.02, 0.05), (0.08, 0.06, 0.12), (0.3, 0.2, 0.14), (0.25, 0.17, 0.12), 2),
    "wood": Place("on a wooden floor", (0.8, 0.75, 0.7), (0.9, 0.87, 0.82), (0.62, 0.42, 0.24), (0.55, 0.36, 0.2), 2),
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One actor in one place; every field but `build` (relative girth) is a key of the tables above."""

    hair: str
    skin: str
    shirt: str
    top: str
    trousers: str
    shoes: str
    place: str
    build: float = 1.0


def sample_look(rng: Generator) -> Look:
    """A random actor; shirt and trousers differ in colour."""
    shirt, trousers = rng.choice(list(COLOURS), 2, replace=False)
    return Look(
        hair=str(rng.choice(list(HAIRS))),
        skin=str(rng.choice(list(SKINS))),
        shirt=str(shirt),
        top=str(rng.choice(TOPS)),
        trousers=str(trousers),
        shoes=str(rng.choice(SHOES)),
        place=str(rng.choice(list(PLACES))),
        build=float(rng.uniform(0.8, 1.35)),
    )


SUBJECTS = ("a person", "a person", "someone", "an actor", "a performer")
HIDDEN_ACTIONS = ("moving", "doing something", "performing an action", "")


def full_caption(look: Look, action: str) -> str:
    """The plain caption that says everything: `a person with brown hair in a red sweater and …`."""
    return _words(
        f"a person with {look.hair} hair in a {look.shirt} {look.top} and {look.trousers} trousers",
        action,
        look,
    )


def sample_caption(look: Look, action: str, rng: Generator, drop: float = 0.15) -> str:
    """A caption in varied words; hair, trousers and place are each left out with probability `drop`."""
    who = str(rng.choice(SUBJECTS))
    if rng.random() >= drop:
        who += f" with {look.hair} hair"
    who += f" {rng.choice(['in', 'wearing'])} a {look.shirt} {look.top}"
    if rng.random() >= drop:
        who += f" and {look.trousers} trousers"
    if rng.random() < 0.2:
        return " ".join(f"{PLACES[look.place].phrase}, {who} is {action}".split())
    return _words(who, action, look, with_place=rng.random() >= drop)


def hidden_action(rng: Generator) -> str:
    """Words that stand where the action stood, without telling it."""
    return str(rng.choice(HIDDEN_ACTIONS))


def _words(who: str, action: str, look: Look, *, with_place: bool = True) -> str:
    return " ".join(f"{who} {action} {PLACES[look.place].phrase if with_place else ''}".split())
