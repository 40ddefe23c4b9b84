"""What an evaluation found: rows of intervals, as a table for people and JSON for machines."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoreel.checkpoint import write_atomic
from echoreel.metrics import Interval

MEASURES = ("action_accuracy", "motion_fidelity", "prompt_appearance", "look_leakage")


@dataclass(frozen=True)
class Row:
    """One condition on one split; `references` is how many each video had, 0 for none."""

    condition: str
    split: str
    references: int
    n: int  # videos
    action_accuracy: Interval
    motion_fidelity: Interval
    prompt_appearance: Interval
    look_leakage: Interval


@dataclass(frozen=True)
class EvaluationReport:
    """Rows, how good the judges are, and what the run was."""

    rows: tuple[Row, ...]
    judges: Mapping[
        str, Mapping[str, float]
    ]  # of each split, on real renders; "training": as they were trained
    settings: Mapping[str, Any]
    seed: int
    commit: str | None
    folder: Path  # holds report.json, report.md, sheets and the videos

    def details(self) -> dict[str, Any]:
        """For JSON: what is not a number is null."""
        facts = {
            "rows": [asdict(row) for row in self.rows],
            "judges": self.judges,
            "settings": self.settings,
            "seed": self.seed,
            "commit": self.commit,
        }
        cleaned: dict[str, Any] = _without_nan(facts)
        return cleaned

    def markdown(self) -> str:
        """The table, and below it the judges' own accuracy."""
        titles = [
            "split",
            "condition",
            "references",
            "videos",
            *(name.replace("_", " ") for name in MEASURES),
        ]
        body = [
            [
                row.split,
                row.condition,
                str(row.references),
                str(row.n),
                *(str(getattr(row, name)) for name in MEASURES),
            ]
            for row in self.rows
        ]
        lines = [_line(titles), _line(["---"] * len(titles)), *map(_line, body), ""]
        for name, numbers in self.judges.items():
            told = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in numbers.items())
            lines.append(f"Judges on real renders ({name}): {told}.")
        return "\n".join(lines) + "\n"

    def write(self, also: Path | None = None) -> list[Path]:
        """Write report.json and report.md into the folder, and the JSON to `also`. Returns the files."""
        data = (json.dumps(self.details(), indent=1) + "\n").encode()
        files = [self.folder / "report.json", self.folder / "report.md"]
        write_atomic(files[0], data)
        write_atomic(files[1], self.markdown().encode())
        if also:
            write_atomic(also, data)
        return [*files, *([also] if also else [])]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
