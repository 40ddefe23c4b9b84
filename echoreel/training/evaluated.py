"""What `evaluate --videos` found of a run's adapter, as a model card shows it."""

from pathlib import Path

from pydantic import BaseModel, Field

from echoreel.bases.encoding import weights_of
from echoreel.common.errors import EchoReelError
from echoreel.common.places import small_file
from echoreel.common.text import json_value
from echoreel.method.loading import load_adapter

REPORT = "evaluation/report.json"  # in a run's folder
MEASURES = {  # of a row, as `evaluation/heldout/report.py` names them; and their titles
    "action_accuracy": "right action",
    "accuracy_among": "among held out",
    "motion_fidelity": "motion fidelity",
    "text_alignment": "text alignment",
    "leakage": "leakage",
}


class Mean(BaseModel):
    """A mean with its 95 % interval; none where nothing was measured."""

    mean: float | None
    low: float | None
    high: float | None

    def told(self) -> str:
        """Such as "0.641 [0.602, 0.688]"."""
        if None in (self.mean, self.low, self.high):
            return "-"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


class EvaluatedRow(BaseModel):
    """One condition of the report, such as "ours" with 4 references."""

    condition: str = Field(pattern="^[a-z]{1,20}$")
    references: int
    n: int  # videos
    action_accuracy: Mean
    accuracy_among: Mean
    motion_fidelity: Mean
    text_alignment: Mean
    leakage: Mean

    def measures(self) -> dict[str, str]:
        """What to show of each measure."""
        return {name: getattr(self, name).told() for name in MEASURES}


class Evaluated(BaseModel):
    """A report, without what names files of this machine."""

    rows: tuple[EvaluatedRow, ...]
    actions: tuple[str, ...]  # held out
    weights: dict[str, str]  # names of the base's and the adapter's

    def markdown(self) -> str:
        """The table, without measures that were left out."""
        rows = [(row, row.measures()) for row in self.rows]
        kept = [name for name in MEASURES if any(told[name] != "-" for _, told in rows)]
        titles = ["condition", "references", "videos", *(MEASURES[name] for name in kept)]
        lines = [titles, ["---"] * len(titles)]
        for row, told in rows:
            lines.append([row.condition, str(row.references), str(row.n), *(told[name] for name in kept)])
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def evaluated(run: Path) -> Evaluated | None:
    """Of a run's adapter as it is now; None without a report, or where that is of other weights.

    Raises EchoReelError for a report that is damaged.
    """
    file = run / REPORT
    if not file.exists():
        return None
    try:
        found = Evaluated.model_validate(json_value(small_file(file).decode()))
    except (OSError, ValueError) as error:
        raise EchoReelError(
            f"{file} is damaged, or of another program; move it away and run `echoreel evaluate` again"
        ) from error
    return found if found.weights.get("adapter") == weights_of(load_adapter(run / "adapter")) else None
