"""Which prompts, which conditions -> table: does a reference make the base perform an action, and only that?

Conditions: `base` without references, `ours` with them, `shuffled` with references of another action,
`copied` (the reference itself as if it were the output), `ceiling` (a real render of the prompt, by another
actor and camera than the reference's), `autoencoded` (the same through the base's autoencoder: no video of
this base can be better), `restyled` (references in a look that nothing was trained on). Rivals of `ours`:
`lora` (tuned on the references) and `noised` (the first reference, noised and denoised with the prompt).
"""

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from echoreel.actors.actor_clips import ActorSettings
from echoreel.actors.motion_library import MotionLibrary
from echoreel.actors.renderer import camera_joints
from echoreel.evaluation.actorbench.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.evaluation.actorbench.filming import Studio, StudioSettings
from echoreel.evaluation.actorbench.judge import Judge, Reading
from echoreel.evaluation.actorbench.pose_metrics import (
    LOOK_PARTS,
    MetricSettings,
    MotionBank,
    amount_of_motion,
    look_leakage,
    motion_fidelity,
    prompt_appearance,
)
from echoreel.evaluation.actorbench.report import MEASURES, EvaluationReport, Row
from echoreel.evaluation.actorbench.report_page import write_page, write_plots
from echoreel.evaluation.actorbench.rivals import LoraSettings, Made, Noised, NoisedSettings, Rival, TunedLora
from echoreel.evaluation.frechet_distance import frechet_distance
from echoreel.evaluation.intervals import bootstrap
from echoreel.generation.settings import GenerationSettings
from echoreel.media.drawing import Theme, blank, contact_sheet, in_both_themes
from echoreel.media.images import Frames
from echoreel.media.video_files import write_image

Condition = Literal[
    "base", "ours", "shuffled", "restyled", "lora", "noised", "copied", "autoencoded", "ceiling"
]
READERS: set[Condition] = {"ours", "shuffled", "restyled"}  # of references, by the adapter
CHECKOUT = Path(__file__).parents[3]


class EvaluateSettings(StudioSettings):
    """A whole evaluation: one TOML file."""

    motions: Path | None = None  # a motion library; from here, else from the checkout
    splits: tuple[str, ...] = ("heldout", "train")
    folder: Path = Path("runs/evidence")
    judge: Path | None = None  # none = the embedded one
    conditions: tuple[Condition, ...] = ("base", "ours", "shuffled", "copied", "autoencoded", "ceiling")
    actions: PositiveInt = 16  # of each split, drawn if it has more
    prompts: PositiveInt = 10  # of each action
    prompts_in: dict[str, PositiveInt] = Field(default_factory=dict)  # the same, where a split has its own
    seeds: PositiveInt = 1  # videos of each prompt
    references: tuple[PositiveInt, ...] = (
        1,
    )  # how many `ours` and `lora` have: a row for each; the others have the first
    seed: NonNegativeInt = 0
    actors: ActorSettings = ActorSettings()  # frames and size are the base's
    generation: GenerationSettings = GenerationSettings()
    metrics: MetricSettings = MetricSettings()
    lora: LoraSettings = LoraSettings()
    noised: NoisedSettings = NoisedSettings()


def evaluate(
    recipe: EvaluateSettings,
    motions: Path | None = None,
    split: str | None = None,
    prompts: int | None = None,
) -> EvaluationReport:
    """Measure the recipe's base and adapter; write report.json, report.md, report.html, sheets and plots
    into its folder.

    `motions`, `split` and `prompts` replace what the recipe says.
    Raises EchoReelError's family.
    """
    changes: dict[str, Any] = {"motions": motions, "splits": (split,) if split else None, "prompts": prompts}
    if prompts is not None:
        changes["prompts_in"] = {}
    recipe = recipe.model_copy(update={name: value for name, value in changes.items() if value is not None})
    EvaluationReport.check_places(recipe.folder)
    library = MotionLibrary.load(find_motions(recipe.motions))
    parts = {name: choose_actions(library.split(name), recipe.actions, recipe.seed) for name in recipe.splits}
    judge = Judge.load(recipe.judge)
    if not READERS & {*recipe.conditions}:
        recipe = recipe.model_copy(update={"adapter": None})
    studio = Studio(recipe, recipe.folder / "videos", recipe.generation)
    everything = MotionBank(library, studio.clip_settings(recipe.actors).frames, recipe.metrics)
    rows: list[Row] = []
    judges = {"training": judge.accuracy}
    pictures: list[Path] = []
    for name, part in parts.items():
        trial = _Trial(recipe, name, part, studio, judge, everything)
        rows += trial.rows()
        judges[name] = trial.judge_accuracy()
        pictures.append(recipe.folder / "sheets" / f"{name}.png")
        for theme, path in in_both_themes(pictures[-1]).items():
            write_image(path, trial.sheet(theme))
    settings = recipe.model_dump(mode="json") | {"weights": studio.weights}
    report = EvaluationReport(tuple(rows), judges, settings, recipe.seed, _commit(), recipe.folder)
    report.write()
    write_page(report, [*write_plots(report, recipe.folder), *pictures])
    return report


def find_motions(path: Path | None) -> Path | None:
    """The folder as seen from here or, where there is none, from the checkout."""
    return path if path is None or path.exists() or not (CHECKOUT / path).exists() else CHECKOUT / path


class _Trial:
    """One split: its cases, and the videos and readings of each condition."""

    def __init__(
        self,
        recipe: EvaluateSettings,
        split: str,
        library: MotionLibrary,
        studio: Studio,
        judge: Judge,
        everything: MotionBank,
    ) -> None:
        """`library` has this split's actions, `everything` all."""
        self.recipe, self.split, self._studio, self._judge = recipe, split, studio, judge
        actors = studio.clip_settings(recipe.actors)
        prompts = recipe.prompts_in.get(split, recipe.prompts)
        counts = CaseCounts(recipe.actions, prompts, max(recipe.references), recipe.seeds)
        cases = make_cases(library, actors, counts, recipe.seed)
        self.takes: list[tuple[Case, int]] = [(case, seed) for case in cases for seed in case.seeds]
        self._bank = MotionBank(library, actors.frames, recipe.metrics)
        self._everything = everything
        self._actions = library.actions
        self._made: dict[tuple[Condition, int], Made] = {}
        self._rivals: dict[Condition, Rival] = {
            "lora": TunedLora(recipe.lora),
            "noised": Noised(recipe.noised),
        }

    def rows(self) -> list[Row]:
        """A row per condition, and for `ours` per number of references."""
        return [self._row(condition, count) for condition, count in self._conditions()]

    def judge_accuracy(self) -> dict[str, float]:
        """Of this split's real renders: joint error (metres), share of looks read right, and of actions."""
        reading = self._judge.read(np.stack([case.target.frames for case, _ in self.takes]))
        true = np.stack(
            [camera_joints(case.target.take.joints, case.target.camera) for case, _ in self.takes]
        )
        numbers = {"joint_error": float(np.linalg.norm(reading.joints - true, axis=-1).mean())}
        for part in LOOK_PARTS:
            right = [
                read[part] == getattr(case.look, part)
                for read, (case, _) in zip(reading.looks, self.takes, strict=True)
            ]
            numbers[part] = float(np.mean(right))
        named = self._bank.nearest_actions(reading.joints)
        opinions = {"action": named, "classifier": self._judge.likeliest(reading, self._actions)}
        for name, actions in opinions.items():
            right = [action == case.action for action, (case, _) in zip(actions, self.takes, strict=False)]
            if right:
                numbers[name] = float(np.mean(right))
        return {name: round(value, 4) for name, value in numbers.items()}

    def sheet(self, theme: Theme, each: int = 6) -> Frames:
        """A picture: of every action, frames of the first prompt's reference, base and ours."""
        wanted: list[tuple[Condition, int]] = [
            ("copied", 1),
            ("base", 0),
            ("ours", self.recipe.references[0]),
        ]
        wanted += [key for key in self._made if key[0] in self._rivals]
        shown = [key for key in wanted if key in self._made or key[0] == "copied"]
        label = " | ".join("reference" if name == "copied" else name for name, _ in shown)
        first = {case.action: i for i, (case, _) in reversed([*enumerate(self.takes)])}
        rows = []
        for action, i in sorted(first.items()):
            strips: list[Frames] = []
            for key in shown:
                video = self._film(*key)[i]
                chosen = video[np.linspace(0, len(video) - 1, each).round().astype(int)]
                strips += [chosen, blank(chosen.shape[1:3], theme)[None]]
            rows.append((f"{action}: {label}", np.concatenate(strips[:-1])))
        return contact_sheet(rows, columns=len(shown) * (each + 1), height=64, theme=theme)

    def _conditions(self) -> Iterator[tuple[Condition, int]]:
        recipe = self.recipe
        for condition in self.recipe.conditions:
            if condition in ("ours", "lora"):
                yield from ((condition, count) for count in self.recipe.references)
            else:
                first = recipe.references[0]
                count = {"shuffled": first, "restyled": first, "copied": 1, "noised": 1}
                yield condition, count.get(condition, 0)

    def _row(self, condition: Condition, count: int) -> Row:
        recipe, takes = self.recipe, self.takes
        reading = self._judge.read(self._film(condition, count))
        named = self._bank.nearest_actions(reading.joints)
        of_all = self._everything.nearest_actions(reading.joints)
        classified = self._judge.likeliest(reading, self._actions)
        values: dict[str, list[float]] = {name: [] for name in MEASURES if name != "frechet_distance"}
        for i, (case, _) in enumerate(takes):
            shown = (case.shuffled if condition == "shuffled" else case.references)[: max(count, 1)]
            for measure, value in (
                ("action_accuracy", float(named[i] == case.action)),
                ("classifier_accuracy", float(classified[i] == case.action) if classified else math.nan),
                (
                    "motion_fidelity",
                    motion_fidelity(reading.joints[i], case.target.take.joints, recipe.metrics),
                ),
                ("prompt_appearance", prompt_appearance(reading.looks[i], case.look)),
                ("look_leakage", look_leakage(reading.looks[i], case.look, [clip.look for clip in shown])),
                ("action_accuracy_of_all", float(of_all[i] == case.action)),
                ("temporal_consistency", float(reading.consistency[i])),
                ("amount_of_motion", amount_of_motion(reading.joints[i])),
            ):
                values[measure].append(value)
        prompts = [case.prompt for case, _ in takes]
        intervals = {
            name: bootstrap(each, prompts, recipe.metrics, recipe.seed) for name, each in values.items()
        }
        distance, price = self._distance(condition, reading), [math.nan] * 2
        if count and (condition, count) in self._made:
            price = [float(np.mean(values)) for values in self._made[condition, count][1:]]
        return Row(
            condition,
            self.split,
            count,
            len(takes),
            frechet_distance=distance,
            seconds=price[0],
            bytes=price[1],
            **intervals,
        )

    def _distance(self, condition: Condition, reading: Reading) -> float:
        """Fréchet distance from real renders: the targets, or for these the first references."""
        if len(self.takes) < 2:
            return math.nan
        other: Condition = "copied" if condition == "ceiling" else "ceiling"
        return frechet_distance(reading.features, self._judge.read(self._film(other, 1)).features)

    def _film(self, condition: Condition, count: int) -> Frames:
        """Videos (B, T, H, W, 3) of a condition."""
        if condition == "ceiling":
            return np.stack([case.target.frames for case, _ in self.takes])
        if condition == "copied":
            return np.stack([case.references[0].frames for case, _ in self.takes])
        if condition == "autoencoded":
            return self._studio.autoencoded(self._film("ceiling", 0))
        if (condition, count) not in self._made:
            given = condition if condition in ("shuffled", "restyled") else "references"
            label, studio = f"{self.split}, {condition}", self._studio
            shots = [
                studio.shot(case.prompt, seed, getattr(case, given)[:count], case.target)
                for case, seed in self.takes
            ]
            self._made[condition, count] = studio.film(shots, label, self._rivals.get(condition))
        return self._made[condition, count].frames


def _commit() -> str | None:
    """Of the checkout that this runs from, if it is one and git is there."""
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
