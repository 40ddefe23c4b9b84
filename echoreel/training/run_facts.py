"""What a training tells of its adapter: a file beside the weights, which `info` and model cards read."""

from pathlib import Path
from typing import Annotated, Any

from huggingface_hub import hf_hub_download
from pydantic import Field, NonNegativeInt, TypeAdapter

from echoreel.common.places import HUB_ID, small_file
from echoreel.common.settings import Settings
from echoreel.common.text import json_value
from echoreel.training.evaluated import Evaluated
from echoreel.training.pair_cache import PairSet, PairSetError

FACTS = "training.json"  # beside an adapter's config.json
MISSING = "not told"
_METRICS = TypeAdapter(list[dict[str, float]])


class TrainingFacts(Settings):
    """What is known of an adapter's training, and what its publisher says of it."""

    name: str
    base: str  # hub id, or the name of a folder
    license: str = MISSING
    data: str = MISSING  # which videos, and their licences
    steps: NonNegativeInt
    hours: Annotated[float, Field(ge=0, le=1e6)]
    pairs: int | None = None
    references: int | None = None  # of each pair
    frames: int | None = None  # of each clip; none where clips are of several shapes
    fps: float | None = None
    size: tuple[int, int] | None = None  # pixels (height, width)
    latents: tuple[int, ...] = ()  # (C, T, h, w)
    validation: dict[str, float] = Field(default_factory=dict)  # the last one
    evaluation: Evaluated | None = None  # of these weights, on actions held out
    recipe: dict[str, Any] = Field(default_factory=dict)
    samples: tuple[str, ...] = ()

    def clips(self) -> str:
        """Their frames, size and rate, as far as they are known."""
        known = [f"{self.frames} frames"] if self.frames else []
        known += [f"{self.size[1]}x{self.size[0]}"] if self.size else []
        known += [f"{self.fps:g} fps"] if self.fps else []
        return ", ".join(known) or MISSING

    def told(self) -> str:
        """For `echoreel info`."""
        pairs = "pairs" if self.pairs is None else f"{self.pairs} pairs"
        shape = "" if self.clips() == MISSING else f" of {self.clips()}"
        return (
            f"{self.name}: {self.steps} steps on {pairs}{shape} for {self.base}; data: {self.data}; "
            f"licence: {self.license}"
        )


def facts_of(run: Path, base: str, pairs: Path, recipe: dict[str, Any], **told: Any) -> TrainingFacts:
    """Of a run, from its log and its pairs, where these are still there.

    told: more fields. Raises OSError, ValueError, LookupError or OverflowError for a log that is none.
    """
    rows = small_file(run / "metrics.jsonl").decode().splitlines()
    lines = _METRICS.validate_python([json_value(row) for row in rows])
    start, checked = "validation/", [line for line in lines if "validation/right" in line]
    numbers = checked[-1] if checked else {}
    return TrainingFacts.model_validate(
        told
        | _clips(pairs)
        | {
            "base": base if HUB_ID.fullmatch(base) and not Path(base).exists() else Path(base).name,
            "steps": int(lines[-1]["step"]),
            "hours": lines[-1]["elapsed"] / 3600,
            "validation": {k.removeprefix(start): v for k, v in numbers.items() if k.startswith(start)},
            "recipe": recipe,
        }
    )


def published_facts(adapter: Path | str) -> TrainingFacts | None:
    """What an adapter's folder, or its page on the hub, says of its training, if it says so."""
    file = Path(adapter) / FACTS
    try:
        if not Path(adapter).is_dir() and HUB_ID.fullmatch(str(adapter)):
            file = Path(hf_hub_download(str(adapter), FACTS))
        return TrainingFacts.model_validate_json(small_file(file))
    except (OSError, ValueError):  # the hub's errors are of these, and pydantic's
        return None


def _clips(folder: Path) -> dict[str, Any]:
    """What the pairs are, and how their preparation read them, as far as the folder says."""
    try:
        pairs = PairSet.open(folder)
    except PairSetError:
        return {}
    found = {"pairs": len(pairs), "references": pairs.shape[0], "latents": pairs.shape[1:]}
    try:
        told = json_value(small_file(folder / "settings.json").decode())
        if told.get("buckets"):
            return found
        made = told.get("actors") or told  # of `prepare actors`, square and of no rate
        size = made["size"] if isinstance(made["size"], list) else [made["size"]] * 2
        return found | {"frames": made["frames"], "fps": made.get("fps"), "size": tuple(size)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return found
