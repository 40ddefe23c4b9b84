"""What an evaluation found: rows of intervals, as a table for people and JSON for machines."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoreel.common.errors import OutputError
from echoreel.common.files import write_together
from echoreel.common.places import check_below, check_own
from echoreel.evaluation.intervals import Interval, table_line, without_nan

CLAIMS = ("action_accuracy", "classifier_accuracy", "motion_fidelity", "prompt_appearance", "look_leakage")
QUALITY = ("action_accuracy_of_all", "temporal_consistency", "amount_of_motion", "frechet_distance")
MEASURES = CLAIMS + QUALITY
PRICE = ("seconds", "bytes")  # of a new action
FORMS = {"seconds": ".2g", "bytes": ",.0f"}

FILES = ("report.md", "report.html", "report.png", "tradeoff.png")  # beside report.json


@dataclass(frozen=True)
class Row:
    """One condition on one split; `references` is how many each video had, 0 for none."""

    condition: str
    split: str
    references: int
    n: int  # videos
    action_accuracy: Interval  # the nearest motion of this split's actions is one of the prompt's action
    classifier_accuracy: Interval  # the judge's classifier names it among them; nan for actions it knows not
    motion_fidelity: Interval
    prompt_appearance: Interval
    look_leakage: Interval
    action_accuracy_of_all: Interval  # the nearest motion of the whole library's is one of the action
    temporal_consistency: Interval  # cosine of neighbouring frames in the judge's features
    amount_of_motion: Interval  # centimetres a frame
    frechet_distance: float  # from real renders, in the judge's features; nan for one video
    seconds: float = math.nan  # of one processor for a new action, before anything is filmed
    bytes: float = math.nan  # to keep a new action


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
        cleaned: dict[str, Any] = without_nan(facts)
        return cleaned

    def markdown(self) -> str:
        """The tables of the method's claims and of quality, and below them the judges' own accuracy."""
        lines = [*self._table(CLAIMS), "", *self._table(QUALITY + PRICE), ""]
        for name, numbers in self.judges.items():
            told = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in numbers.items())
            lines.append(f"Judges on real renders ({name}): {told}.")
        return "\n".join(lines) + "\n"

    def _table(self, measures: Sequence[str]) -> list[str]:
        titles = ["split", "condition", "references", "videos", *(m.replace("_", " ") for m in measures)]
        body = [
            [row.split, row.condition, str(row.references), str(row.n), *(_told(row, m) for m in measures)]
            for row in self.rows
        ]
        return [table_line(titles), table_line(["---"] * len(titles)), *map(table_line, body)]

    @staticmethod
    def check_places(folder: Path) -> None:
        """Raises OutputError for a file that a report would replace and that none of them is."""
        check_own(folder / "report.json", ("rows", "judges"))
        check_below(folder, ("sheets", "videos"))
        others = [folder / name for name in FILES if os.path.lexists(folder / name)]
        if others and not os.path.lexists(folder / "report.json"):
            raise OutputError(
                f"{others[0]}: already exists without a report.json beside it; choose another folder"
            )

    def write(self) -> list[Path]:
        """Write report.json and report.md into the folder. Returns the files."""
        files = [self.folder / "report.json", self.folder / "report.md"]
        told = (json.dumps(self.details(), indent=1) + "\n").encode()
        write_together({files[1]: self.markdown().encode(), files[0]: told})
        return files


def _told(row: Row, measure: str) -> str:
    value: Interval | float = getattr(row, measure)
    if math.isnan(value.mean if isinstance(value, Interval) else value):
        return "-"
    if isinstance(value, Interval):
        return str(value)
    return f"{value:{FORMS.get(measure, '.1f')}}"
