"""A report to look at: bars of each measure with their intervals, and a page with all pictures."""

import html
import math
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

from echoreel.common.extras import needs
from echoreel.common.files import write_atomic, written_beside
from echoreel.evaluation.actorbench.report import MEASURES, EvaluationReport, Row
from echoreel.evaluation.intervals import Interval
from echoreel.media.drawing import COLOURS, HATCHES, MARKERS, in_both_themes, plot_style

with needs("matplotlib", "the report of evaluate"):  # told before hours of work, not after
    from matplotlib import rc_context, rcParams
    from matplotlib.figure import Figure

STYLE = (
    ":root{color-scheme:light dark}body{font:15px system-ui;margin:2em;max-width:90em}"
    "td,th{padding:.2em .7em;text-align:left}img{max-width:100%}"
)
SIDE = 0.7  # of the leakage's axis, from which on names stand on the left of their points


def write_plots(report: EvaluationReport, folder: Path) -> list[Path]:
    """Bars of all measures and the trade-off, in both themes; returns the light ones."""
    drawn: list[Path] = []
    for name, draw in (("report.png", _bars), ("tradeoff.png", _tradeoff)):
        for theme, path in in_both_themes(folder / name).items():
            style: Any = plot_style(theme)  # whose keys matplotlib's types list
            with rc_context(style):
                figure = draw(report)
                with written_beside(path) as partial:
                    figure.savefig(partial, dpi=80)
        drawn.append(folder / name)
    return drawn


def _bars(report: EvaluationReport) -> Figure:
    """Bars of all measures, a colour and a hatching for each split."""
    splits = list(dict.fromkeys(row.split for row in report.rows))
    names = list(dict.fromkeys(_name(row) for row in report.rows))
    figure = Figure(figsize=(18, 9), layout="constrained")
    axes: Any = figure.subplots(2, math.ceil(len(MEASURES) / 2), squeeze=False)
    width = 0.8 / len(splits)
    for axis, measure in zip(axes.flat, MEASURES, strict=False):
        for i, (split, colour, hatch) in enumerate(zip(splits, cycle(COLOURS), cycle(HATCHES), strict=False)):
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
                color=colour,
                hatch=hatch,
                ecolor=rcParams["text.color"],
            )
        axis.set_title(measure.replace("_", " "))
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    for axis in axes.flat[len(MEASURES) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(splits))
    return figure


def _tradeoff(report: EvaluationReport) -> Figure:
    """Action accuracy against look leakage, a picture for each split and a point for each row."""
    splits = list(dict.fromkeys(row.split for row in report.rows))
    names = list(dict.fromkeys(_name(row) for row in report.rows))
    signs = dict(zip(names, zip(cycle(COLOURS), cycle(MARKERS), strict=False), strict=False))
    figure = Figure(figsize=(7 * len(splits), 5.5), layout="constrained")
    axes: Any = figure.subplots(1, len(splits), squeeze=False)
    for axis, split in zip(axes.flat, splits, strict=True):
        for number, row in enumerate(each for each in report.rows if each.split == split):
            leak, right = _interval(row, "look_leakage"), _interval(row, "action_accuracy")
            if leak is None or right is None:
                continue
            errors = [[[v.mean - v.low], [v.high - v.mean]] for v in (leak, right)]
            colour, marker = signs[_name(row)]
            axis.errorbar(leak.mean, right.mean, errors[1], errors[0], fmt=marker, color=colour, capsize=2)
            side, ha = (-6, "right") if leak.mean > SIDE else (6, "left")
            place = {"xytext": (side, -14 if number % 2 else 5), "textcoords": "offset points", "ha": ha}
            axis.annotate(_name(row), (leak.mean, right.mean), **place)
        axis.set(title=f"{split} actions", xlabel="look leakage", ylabel="action accuracy")
        axis.set(xlim=(-0.02, 1), ylim=(-0.02, 1.02))
    return figure


def write_page(report: EvaluationReport, pictures: list[Path]) -> Path:
    """`report.html` in the report's folder: its tables, and the pictures there, each in both themes."""
    shown = "".join(_shown(picture.relative_to(report.folder)) for picture in pictures)
    body = f"<h1>ActorBench</h1>{_tables(report.markdown())}{shown}"
    text = f"<!doctype html><meta charset=utf-8><title>ActorBench</title><style>{STYLE}</style>{body}\n"
    path = report.folder / "report.html"
    write_atomic(path, text.encode())
    return path


def _shown(picture: Path) -> str:
    """A picture under its name, the dark one where the reader's screen is."""
    light, dark = (quote(path.as_posix()) for path in in_both_themes(picture).values())
    source = f"<source srcset='{dark}' media='(prefers-color-scheme: dark)'>"
    name = html.escape(picture.stem)
    return f"<h2>{name}</h2><picture>{source}<img src='{light}' alt='{name}'></picture>"


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
