"""A report to look at: bars of each measure with their intervals, and a page with all pictures."""

import html
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

from echoreel.common.extras import needs
from echoreel.common.files import write_atomic, written_beside
from echoreel.evaluation.actorbench.pose_metrics import Interval
from echoreel.evaluation.actorbench.report import MEASURES, EvaluationReport, Row

with needs("matplotlib", "the report of evaluate"):  # told before hours of work, not after
    from matplotlib.figure import Figure

STYLE = (
    "body{font:15px system-ui;margin:2em;max-width:90em}"
    "td,th{padding:.2em .7em;text-align:left}img{max-width:100%}"
)


def write_plot(report: EvaluationReport, path: Path) -> None:
    """Bars of all measures (.png), a colour for each split."""
    splits = list(dict.fromkeys(row.split for row in report.rows))
    names = list(dict.fromkeys(_name(row) for row in report.rows))
    figure = Figure(figsize=(18, 9), layout="constrained")
    axes: Any = figure.subplots(2, math.ceil(len(MEASURES) / 2), squeeze=False)
    width = 0.8 / len(splits)
    for axis, measure in zip(axes.flat, MEASURES, strict=False):
        for i, split in enumerate(splits):
            rows = {_name(row): row for row in report.rows if row.split == split}
            values = [_interval(rows[name], measure) if name in rows else None for name in names]
            kept = [(place, value) for place, value in enumerate(values) if value is not None]
            axis.bar(
                [place + i * width for place, _ in kept],
                [value.mean for _, value in kept],
                width,
                yerr=[
                    [value.mean - value.low for _, value in kept],
                    [value.high - value.mean for _, value in kept],
                ],
                label=split,
            )
        axis.set_title(measure.replace("_", " "))
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
    for axis in axes.flat[len(MEASURES) :]:
        axis.axis("off")
    axes.flat[0].legend()
    with written_beside(path) as partial:
        figure.savefig(partial, dpi=80)


def write_tradeoff(report: EvaluationReport, path: Path) -> None:
    """Action accuracy against look leakage (.png), a picture for each split and a point for each row."""
    splits = list(dict.fromkeys(row.split for row in report.rows))
    figure = Figure(figsize=(7 * len(splits), 5.5), layout="constrained")
    axes: Any = figure.subplots(1, len(splits), squeeze=False)
    for axis, split in zip(axes.flat, splits, strict=True):
        for row in report.rows:
            leak, right = _interval(row, "look_leakage"), _interval(row, "action_accuracy")
            if row.split != split or leak is None or right is None:
                continue
            errors = [[[v.mean - v.low], [v.high - v.mean]] for v in (leak, right)]
            axis.errorbar(leak.mean, right.mean, errors[1], errors[0], fmt="o", capsize=2)
            axis.annotate(
                _name(row), (leak.mean, right.mean), xytext=(6, 5), textcoords="offset points", fontsize=9
            )
        axis.set(
            title=f"{split} actions",
            xlabel="look leakage",
            ylabel="action accuracy",
            xlim=(-0.02, 1),
            ylim=(-0.02, 1),
        )
    with written_beside(path) as partial:
        figure.savefig(partial, dpi=80)


def write_page(report: EvaluationReport, pictures: list[Path]) -> Path:
    """`report.html` in the report's folder: its tables, and the pictures, which lie in that folder too."""
    shown = "".join(
        f"<h2>{html.escape(name.stem)}</h2><img src='{quote(name.as_posix())}'>"
        for name in (picture.relative_to(report.folder) for picture in pictures)
    )
    body = f"<h1>ActorBench</h1>{_tables(report.markdown())}{shown}"
    text = f"<!doctype html><meta charset=utf-8><title>ActorBench</title><style>{STYLE}</style>{body}\n"
    path = report.folder / "report.html"
    write_atomic(path, text.encode())
    return path


def _name(row: Row) -> str:
    return f"{row.condition} {row.references}" if row.references > 1 else row.condition


def _interval(row: Row, measure: str) -> Interval | None:
    value: Interval | float = getattr(row, measure)
    interval = value if isinstance(value, Interval) else Interval(value, value, value)
    return None if math.isnan(interval.mean) else interval


def _tables(markdown: str) -> str:
    """Our own Markdown, of tables and paragraphs only, as HTML."""
    blocks = []
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            rows = [line.strip("| ").split(" | ") for i, line in enumerate(lines) if i != 1]
            cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
            blocks.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>")
        else:
            blocks += [f"<p>{html.escape(line)}</p>" for line in lines]
    return "".join(blocks)
