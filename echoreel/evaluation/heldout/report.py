"""What an evaluation on held-out pairs found: a table for people, and JSON for machines."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoreel.common.errors import OutputError
from echoreel.common.files import PARTIAL, write_together
from echoreel.common.places import check_below, check_outputs, check_own
from echoreel.evaluation.intervals import Interval, table_line, without_nan

CLAIMS = {  # field: its title, decimals
    "action_accuracy": ("action accuracy", 2),
    "accuracy_among": ("among held out", 2),
    "motion_fidelity": ("motion fidelity", 2),
    "text_alignment": ("text alignment", 3),
    "leakage": ("leakage", 3),
}
QUALITY = {
    "frame_consistency": ("frame consistency", 3),
    "motion": ("motion (sides/s)", 3),
    "frechet_distance": ("Fréchet distance", 1),
}
FILES = {"report.json", "report.md", "evaluation.lock", "sheets", "videos"}
LEFT = re.compile(rf"\.report\..+{re.escape(PARTIAL)}")  # what a killed evaluation may have left half written


@dataclass(frozen=True)
class HeldoutRow:
    """One condition; `references` is how many each video had, 0 for none. Intervals are over actions; nan
    where nothing was measured."""

    condition: str
    references: int
    n: int  # videos
    action_accuracy: Interval  # the classifier names the action, among all that it knows
    accuracy_among: Interval  # the same among the held-out actions
    motion_fidelity: Interval  # trajectories, against references of the right action
    text_alignment: Interval  # CLIP's cosine of frames and prompt
    leakage: Interval  # how much nearer in look to the references shown than to another clip of their action
    frame_consistency: Interval  # CLIP's cosine of neighbouring frames
    motion: Interval  # shorter sides of the frame a second
    frechet_distance: float  # from the real videos of the prompts


@dataclass(frozen=True)
class HeldoutReport:
    """Rows, what is missing and why, and what the run was."""

    rows: tuple[HeldoutRow, ...]
    actions: tuple[str, ...]
    videos: tuple[Mapping[str, Any], ...]  # what each video came to
    models: Mapping[str, str | None]
    settings: Mapping[str, Any]
    weights: Mapping[str, str]  # names of the base's and the adapter's
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    folder: Path  # holds report.json, report.md, sheets/ and videos/

    def details(self) -> dict[str, Any]:
        """For JSON: what is not a number is null."""
        names = ("actions", "models", "settings", "weights", "left_out", "notes")
        facts = {"rows": [asdict(row) for row in self.rows]} | {name: getattr(self, name) for name in names}
        cleaned: dict[str, Any] = without_nan(facts | {"videos": self.videos})
        return cleaned

    def markdown(self) -> str:
        """The tables of claims and of quality, without what was not measured, and what to know of them."""
        lines = [*self._table(CLAIMS), "", *self._table(QUALITY), ""]
        lines += [f"note: {note}" for note in self.notes] + [f"left out: {why}" for why in self.left_out]
        return "\n".join(lines).rstrip() + "\n"

    def _table(self, measures: Mapping[str, tuple[str, int]]) -> list[str]:
        kept = {
            name: told
            for name, told in measures.items()
            if any(not math.isnan(_mean(row, name)) for row in self.rows)
        }
        titles = ["condition", "references", "videos", *(title for title, _ in kept.values())]
        body = [
            [
                row.condition,
                str(row.references),
                str(row.n),
                *(_told(row, m, d) for m, (_, d) in kept.items()),
            ]
            for row in self.rows
        ]
        return [table_line(titles), table_line(["---"] * len(titles)), *map(table_line, body)]

    @staticmethod
    def check_places(folder: Path) -> None:
        """Raises OutputError for a folder with files or links of others, or that cannot be written."""
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file; give the name of a folder")
        filmed = [f"videos/{each.name}" for each in (folder / "videos").glob("*")]
        check_below(folder, ["sheets", "videos", *filmed])
        check_own(folder / "report.json", ("rows", "left_out"))
        names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
        others = sorted(name for name in names - FILES if not LEFT.match(name))
        known = os.path.lexists(folder / "report.json")
        others += [] if known else [name for name in ("report.md", "sheets") if (folder / name).exists()]
        if others:
            raise OutputError(
                f"{folder}: holds {others[0]}, which no evaluation of videos wrote; move it or choose another"
            )
        check_outputs([folder / "report.json"], overwrite=True)

    def write(self) -> None:
        """Write report.json, which says whose folder it is, then report.md."""
        told = (json.dumps(self.details(), indent=1) + "\n").encode()
        write_together(
            {self.folder / "report.md": self.markdown().encode(), self.folder / "report.json": told}
        )


def _mean(row: HeldoutRow, measure: str) -> float:
    value: Interval | float = getattr(row, measure)
    return value.mean if isinstance(value, Interval) else value


def _told(row: HeldoutRow, measure: str, digits: int) -> str:
    value: Interval | float = getattr(row, measure)
    if math.isnan(_mean(row, measure)):
        return "-"
    if isinstance(value, Interval):
        return value.told(digits)
    return f"{value:.{digits}f}"
