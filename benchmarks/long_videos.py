"""Does a video of four windows follow a reference of four windows to its end? 64 frames of the embedded base.

    python benchmarks/long_videos.py recipes/actorbench.toml --out runs/long.md --sheet runs/long.png

The embedded base makes 16 frames at once, and 64 with FreeNoise. A reference is a film of 64 frames: a person
does an action four times, in takes drawn anew; or four actions, one in each quarter. Each quarter of a video
is judged as a video of its own, against the action that the reference shows there; the base alone, and with
references of another action, against the prompt's. Videos are kept: the same command goes on.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from action_bench import Bench, bench_of, options_of
from results import Table

from echoreel.actors.actor_clips import ActorDomain
from echoreel.actors.looks import HIDDEN_ACTIONS, full_caption
from echoreel.actors.takes import Take, sample_take
from echoreel.evaluation.actorbench.benchmark import EvaluateSettings
from echoreel.evaluation.actorbench.cases import Case
from echoreel.evaluation.actorbench.filming import as_reference
from echoreel.generation.filming import Shot
from echoreel.media.drawing import contact_sheet
from echoreel.media.reference_video import ReferenceVideo
from echoreel.media.video_files import write_image

WINDOWS, SECONDS = 4, 8.0
HIDDEN = HIDDEN_ACTIONS[0]  # what a prompt says of four actions


def long(recipe: EvaluateSettings) -> EvaluateSettings:
    """The recipe, for videos of eight seconds."""
    return recipe.model_copy(update={"generation": recipe.generation.model_copy(update={"seconds": SECONDS})})


def reference_of(bench: Bench, case: Case, actions: Sequence[str]) -> ReferenceVideo:
    """A film of the case's actor doing these, each in a window of a recording, one after the other."""
    rng = np.random.default_rng([bench.recipe.seed, 5, zlib.crc32(repr((case.prompt, actions)).encode())])
    joints = []
    for action in actions:
        known = [each for each in bench.library.recordings if each.action == action]
        recording = known[rng.integers(len(known))]
        frames, seconds = bench.settings.frames, bench.settings.seconds
        joints.append(sample_take(recording, bench.library.fps, rng, frames, seconds).joints)
    told = actions[0] if len(set(actions)) == 1 else HIDDEN
    before = case.references[0]
    domain = ActorDomain(bench.library, bench.settings)
    clip = domain.film(
        Take(np.concatenate(joints), told), rng, azimuth=before.camera.azimuth, look=before.look
    )
    return replace(as_reference(clip), align="start")


def rows_of(bench: Bench) -> dict[str, list[tuple[Case, Shot, list[str]]]]:
    """Of each row its cases, what is filmed, and the action asked for in each quarter."""
    names = bench.library.actions
    rows: dict[str, list[tuple[Case, Shot, list[str]]]] = {
        "one action": [],
        "four actions": [],
        "another action than the prompt's": [],
        "none (the base alone)": [],
    }
    one, four, other, none = rows.values()
    for case in bench.cases:
        same = [case.action] * WINDOWS
        place = names.index(case.action)
        turned = [names[(place + 5 * quarter) % len(names)] for quarter in range(WINDOWS)]
        wrong = [case.shuffled[0].take.action] * WINDOWS
        seed, hidden = case.seeds[0], full_caption(case.look, HIDDEN)
        one.append((case, Shot(case.prompt, seed, (reference_of(bench, case, same),)), same))
        four.append((case, Shot(hidden, seed, (reference_of(bench, case, turned),)), turned))
        other.append((case, Shot(case.prompt, seed, (reference_of(bench, case, wrong),)), same))
        none.append((case, Shot(case.prompt, seed), same))
    for row in (other, none):  # half as many, to compare with
        del row[1::2]
    return rows


def shares_of(bench: Bench, name: str, row: Sequence[tuple[Case, Shot, list[str]]]) -> list[str]:
    """Accuracy in each quarter."""
    cases = [case for case, _, _ in row]
    videos = bench.studio.film([shot for _, shot, _ in row], name).frames
    right = []
    for quarter, part in enumerate(np.split(videos, WINDOWS, axis=1)):
        named = bench.bank.nearest_actions(bench.judge.read(part).joints)
        asked = [wanted[quarter] for _, _, wanted in row]
        right.append([told == want for told, want in zip(named, asked, strict=True)])
    return [bench.share(each, cases) for each in right]


def sheet_of(
    bench: Bench, rows: dict[str, list[tuple[Case, Shot, list[str]]]], path: Path, count: int
) -> None:
    """References and videos of the first cases, every fourth frame, under one another."""
    drawn = []
    for name in ("one action", "four actions"):
        for case, shot, wanted in rows[name][:: max(1, len(rows[name]) // count)][:count]:
            made = bench.studio.film([shot], name).frames[0]
            told = ", ".join(dict.fromkeys(wanted))
            drawn += [
                (f"reference: {told}", shot.references[0].frames[::4]),
                (f"video: {case.look.shirt}", made[::4]),
            ]
    write_image(path, contact_sheet(drawn, columns=16, height=64))


def main() -> None:
    parser = options_of(__doc__, "long-videos", prompts=1)
    parser.add_argument("--sheet", type=Path, help="a .png of some videos beside their references")
    bench = bench_of(parser.parse_args(), "heldout", long)
    rows = rows_of(bench)
    count = len(bench.library.actions)
    rounds = {case.prompt: number % bench.options.prompts for number, case in enumerate(bench.cases)}
    for first in range(bench.options.prompts):  # in rounds: a run that is stopped has some of each row
        for name, row in rows.items():
            shots = [shot for case, shot, _ in row if rounds[case.prompt] == first]
            bench.studio.film(shots, f"{name}, round {first + 1}")
    last = f"last (chance {1 / count:.2f})"
    table = Table("reference", "videos", "first quarter", "second", "third", last)
    for name, row in rows.items():
        table.add(name, len(row), *shares_of(bench, name, row))
    table.write(bench.options.out)
    if bench.options.sheet:
        sheet_of(bench, rows, bench.options.sheet, 3)


if __name__ == "__main__":
    main()
