"""Which prompts, which conditions -> table: does a reference make the base perform an action, and only that?

Conditions: `base` without references, `ours` with them, `shuffled` with references of another action,
`copied` (the reference itself as if it were the output), `ceiling` (a real render of the prompt, by another
actor and camera than the reference's). Videos are kept in the run folder, named by all that they were made
from, so the same command goes on where it was stopped.
"""

import hashlib
import io
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from rich.console import Console
from rich.progress import track
from torch import nn

from echoreel.actors.cases import Case, CaseCounts, choose_actions, make_cases
from echoreel.actors.domain import ActorClip, ActorSettings
from echoreel.actors.judges import Judge, Reading
from echoreel.actors.looks import full_caption
from echoreel.actors.motions import MotionLibrary
from echoreel.actors.render import camera_joints
from echoreel.backbones import base_of
from echoreel.checkpoint import write_atomic
from echoreel.config import Settings
from echoreel.errors import EchoReelError
from echoreel.generation import CALL_ARGUMENTS, load_adapter, load_base, resolved
from echoreel.latents import encode_captions, encode_video
from echoreel.metrics import (
    LOOK_PARTS,
    MetricSettings,
    MotionBank,
    bootstrap,
    look_leakage,
    motion_fidelity,
    prompt_appearance,
)
from echoreel.pictures import Frames, contact_sheet
from echoreel.report import EvaluationReport, Row
from echoreel.result import GenerationSettings
from echoreel.video import write_image

Condition = Literal["base", "ours", "shuffled", "copied", "ceiling"]
CHECKOUT = Path(__file__).parents[1]


class EvaluateSettings(Settings):
    """A whole evaluation: one TOML file."""

    motions: Path = Path("../shared/motion")  # a motion library; from here, else from the checkout
    splits: tuple[str, ...] = ("heldout", "train")
    folder: Path = Path("runs/evidence")
    base: str = "embedded"  # or a folder, or a hub id
    adapter: str = "embedded"
    judge: Path | None = None  # none = the embedded one
    conditions: tuple[Condition, ...] = ("base", "ours", "shuffled", "copied", "ceiling")
    actions: PositiveInt = 16  # of each split, drawn if it has more
    prompts: PositiveInt = 10  # of each action
    prompts_in: dict[str, PositiveInt] = Field(default_factory=dict)  # the same, where a split has its own
    seeds: PositiveInt = 1  # videos of each prompt
    references: tuple[PositiveInt, ...] = (
        1,
    )  # how many `ours` has: a row for each; the others have the first
    batch: PositiveInt = 16  # videos made at once
    seed: NonNegativeInt = 0
    actors: ActorSettings = ActorSettings()  # frames and size are the base's
    generation: GenerationSettings = GenerationSettings()
    metrics: MetricSettings = MetricSettings()


def evaluate(
    recipe: EvaluateSettings,
    motions: Path | None = None,
    split: str | None = None,
    prompts: int | None = None,
    json: Path | None = None,
) -> EvaluationReport:
    """Measure the recipe's base and adapter, and write report.json, report.md and sheets into its folder.

    `motions`, `split` and `prompts` replace what the recipe says; `json` is one more place for the report.
    Raises EchoReelError's family.
    """
    changes: dict[str, Any] = {"motions": motions, "splits": (split,) if split else None, "prompts": prompts}
    if prompts is not None:
        changes["prompts_in"] = {}
    recipe = recipe.model_copy(update={name: value for name, value in changes.items() if value is not None})
    library = MotionLibrary.load(find_motions(recipe.motions))
    parts = {name: choose_actions(library.split(name), recipe.actions, recipe.seed) for name in recipe.splits}
    judge = Judge.load(recipe.judge)
    studio = Studio(recipe)
    rows: list[Row] = []
    judges = {"training": judge.accuracy}
    for name, part in parts.items():
        trial = _Trial(recipe, name, part, studio, judge)
        rows += trial.rows()
        judges[name] = trial.judge_accuracy()
        write_image(recipe.folder / "sheets" / f"{name}.png", trial.sheet())
    settings = recipe.model_dump(mode="json") | {"weights": studio.weights}
    report = EvaluationReport(tuple(rows), judges, settings, recipe.seed, _commit(), recipe.folder)
    report.write(json)
    return report


def find_motions(path: Path) -> Path:
    """The folder as seen from here or, where there is none, from the checkout."""
    return path if path.exists() or not (CHECKOUT / path).exists() else CHECKOUT / path


@dataclass(frozen=True, eq=False)
class Shot:
    """One video to be made: its prompt and seed, and the references that it has."""

    prompt: str
    seed: int
    references: tuple[ActorClip, ...] = ()


class Studio:
    """The base and the adapter under test, and the folder of videos that they have made."""

    def __init__(self, recipe: EvaluateSettings) -> None:
        pipe: Any = load_base(recipe.base)
        self._pipe = pipe
        self._adapter = load_adapter(recipe.adapter) if {"ours", "shuffled"} & {*recipe.conditions} else None
        self._settings = resolved(pipe, recipe.generation)
        self._folder, self._batch = recipe.folder / "videos", recipe.batch
        modules = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        self.weights = {"base": _fingerprint(modules)}
        if self._adapter is not None:
            self.weights["adapter"] = _fingerprint([self._adapter])

    def clip_settings(self, actors: ActorSettings) -> ActorSettings:
        """The actor domain with the frames and the size that the base makes. Raises EchoReelError."""
        found = base_of(self._pipe)
        places = found.family.latent_size(found.denoiser)
        size = places[0] * found.family.pixels_per_place(self._pipe) if places else actors.size
        asked = (self._settings.height or size, self._settings.width or size)
        if asked[0] != asked[1]:
            raise EchoReelError(f"got videos of {asked[1]}x{asked[0]}; the actor domain's are square")
        return actors.model_copy(
            update={"frames": self._settings.num_frames or actors.frames, "size": asked[0]}
        )

    def film(self, shots: Sequence[Shot], label: str) -> Frames:
        """Videos (B, T, H, W, 3), made in batches where they are not in the folder."""
        keys = [self._key(shot) for shot in shots]
        missing = [i for i, key in enumerate(keys) if not (self._folder / f"{key}.npz").exists()]
        chunks = [missing[start : start + self._batch] for start in range(0, len(missing), self._batch)]
        for chunk in track(
            chunks, f"{label}: {len(missing)} of {len(shots)} videos", console=Console(stderr=True)
        ):
            for i, frames in zip(chunk, self._make([shots[i] for i in chunk]), strict=True):
                file = io.BytesIO()
                np.savez_compressed(file, frames=frames)
                write_atomic(self._folder / f"{keys[i]}.npz", file.getvalue())
        return np.stack([np.load(self._folder / f"{key}.npz")["frames"] for key in keys])

    def _make(self, shots: Sequence[Shot]) -> Frames:
        """One call of the pipeline: a generator and a set of action tokens for each video."""
        settings, prompts = self._settings, [shot.prompt for shot in shots]
        wanted = {argument: getattr(settings, name) for argument, name in CALL_ARGUMENTS.items()}
        given = {argument: value for argument, value in wanted.items() if value is not None}
        if settings.negative_prompt is not None:
            given["negative_prompt"] = [settings.negative_prompt] * len(shots)
        self._pipe.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(shot.seed) for shot in shots]
        try:
            if shots[0].references:
                self._show(shots)
            video = self._pipe(prompt=prompts, generator=generators, output_type="np", **given).frames
        finally:
            if self._adapter is not None:
                self._adapter.detach()
        if not np.isfinite(video).all():
            raise EchoReelError("the base made values that are no numbers; load it in another precision")
        frames: Frames = np.round(np.asarray(video) * 255).astype(np.uint8)
        return frames

    @torch.no_grad()
    def _show(self, shots: Sequence[Shot]) -> None:
        """Attach the adapter and give it the references: the first of every video, the second, and so on."""
        pipe, adapter, settings = self._pipe, self._adapter, self._settings
        assert adapter is not None
        adapter.attach(pipe)
        adapter.set_scale(settings.scale)
        adapter.set_guidance(settings.guidance)
        adapter.set_window(*settings.window)
        asked = encode_captions(pipe, [shot.prompt for shot in shots])
        tokens = []
        for clips in zip(*(shot.references for shot in shots), strict=True):
            latents = encode_video(pipe, np.stack([clip.frames for clip in clips]))
            shown = encode_captions(pipe, [full_caption(clip.look, clip.take.action) for clip in clips])
            tokens.append(adapter.encode(latents, shown, asked))
        adapter.set_tokens(tokens)

    def _key(self, shot: Shot) -> str:
        """Names a video by all that it is made from."""
        settings = self._settings.model_dump(mode="json", exclude={"compare", "fps"})
        told = [self.weights["base"], shot.prompt, shot.seed]
        if shot.references:
            told += [self.weights["adapter"], *(full_caption(c.look, c.take.action) for c in shot.references)]
            told += [hashlib.sha256(clip.frames.tobytes()).hexdigest() for clip in shot.references]
        else:
            settings = {
                name: settings[name] for name in settings if name not in ("scale", "guidance", "window")
            }
        return hashlib.sha256(repr((settings, told)).encode()).hexdigest()[:24]


class _Trial:
    """One split: its cases, and the videos and readings of each condition."""

    def __init__(
        self, recipe: EvaluateSettings, split: str, library: MotionLibrary, studio: Studio, judge: Judge
    ) -> None:
        self.recipe, self.split, self._studio, self._judge = recipe, split, studio, judge
        actors = studio.clip_settings(recipe.actors)
        prompts = recipe.prompts_in.get(split, recipe.prompts)
        counts = CaseCounts(recipe.actions, prompts, max(recipe.references), recipe.seeds)
        cases = make_cases(library, actors, counts, recipe.seed)
        self.takes: list[tuple[Case, int]] = [(case, seed) for case in cases for seed in case.seeds]
        self._bank = MotionBank(library, actors.frames, recipe.metrics)
        self._videos: dict[tuple[Condition, int], Frames] = {}

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
        numbers["action"] = float(
            np.mean([name == case.action for name, (case, _) in zip(named, self.takes, strict=True)])
        )
        return {name: round(value, 4) for name, value in numbers.items()}

    def sheet(self, each: int = 6) -> Frames:
        """A picture: of every action, frames of the first prompt's reference, base and ours."""
        wanted: list[tuple[Condition, int]] = [
            ("copied", 1),
            ("base", 0),
            ("ours", self.recipe.references[0]),
        ]
        shown = [key for key in wanted if key in self._videos or key[0] == "copied"]
        label = " | ".join("reference" if name == "copied" else name for name, _ in shown)
        first = {case.action: i for i, (case, _) in reversed([*enumerate(self.takes)])}
        rows = []
        for action, i in sorted(first.items()):
            strips: list[Frames] = []
            for key in shown:
                video = self._film(*key)[i]
                chosen = video[np.linspace(0, len(video) - 1, each).round().astype(int)]
                strips += [chosen, np.full_like(chosen[:1], 255)]
            rows.append((f"{action}: {label}", np.concatenate(strips[:-1])))
        return contact_sheet(rows, columns=len(shown) * (each + 1), height=64)

    def _conditions(self) -> Iterator[tuple[Condition, int]]:
        for condition in self.recipe.conditions:
            if condition == "ours":
                yield from ((condition, count) for count in self.recipe.references)
            else:
                count = {"shuffled": self.recipe.references[0], "copied": 1}.get(condition, 0)
                yield condition, count

    def _row(self, condition: Condition, count: int) -> Row:
        recipe, takes = self.recipe, self.takes
        reading: Reading = self._judge.read(self._film(condition, count))
        named = self._bank.nearest_actions(reading.joints)
        values: dict[str, list[float]] = {name: [] for name in ("action", "motion", "appearance", "leakage")}
        for i, (case, _) in enumerate(takes):
            shown = (case.shuffled if condition == "shuffled" else case.references)[: max(count, 1)]
            values["action"].append(float(named[i] == case.action))
            values["motion"].append(
                motion_fidelity(reading.joints[i], case.target.take.joints, recipe.metrics)
            )
            values["appearance"].append(prompt_appearance(reading.looks[i], case.look))
            values["leakage"].append(look_leakage(reading.looks[i], case.look, [clip.look for clip in shown]))
        prompts = [case.prompt for case, _ in takes]
        intervals = [bootstrap(each, prompts, recipe.metrics, recipe.seed) for each in values.values()]
        return Row(condition, self.split, count, len(takes), *intervals)

    def _film(self, condition: Condition, count: int) -> Frames:
        """Videos (B, T, H, W, 3) of a condition."""
        if condition == "ceiling":
            return np.stack([case.target.frames for case, _ in self.takes])
        if condition == "copied":
            return np.stack([case.references[0].frames for case, _ in self.takes])
        if (condition, count) not in self._videos:
            given = {"base": "references", "ours": "references", "shuffled": "shuffled"}[condition]
            shots = [Shot(case.prompt, seed, getattr(case, given)[:count]) for case, seed in self.takes]
            label = f"{self.split}, {condition}"
            self._videos[condition, count] = self._studio.film(shots, label)
        return self._videos[condition, count]


def _fingerprint(modules: Sequence[nn.Module]) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _commit() -> str | None:
    """Of the checkout that this runs from, if it is one and git is there."""
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
