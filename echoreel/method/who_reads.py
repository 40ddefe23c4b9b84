"""Which rows of a denoiser's batch read which sets of action tokens."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from echoreel.bases.base import Base, plain
from echoreel.common.errors import AdapterMismatch
from echoreel.method.references import Guidance, ReferenceSet


@dataclass(frozen=True)
class Reading:
    """Which rows of a batch read: those from `first` on, `groups` times all sets of tokens in order; of the
    sets, only those from `sets` on, so many of them, where there are others for other calls."""

    first: int = 0
    groups: int = 1
    sets: tuple[int, int] | None = None


def reading_rows(rows: int, sets: int, guided: bool, guidance: Guidance) -> Reading:
    """Who reads in a batch of `rows`, which is [negative, positive] if `guided`, with `sets` of tokens.

    Neighbouring rows share a set where there are more rows than sets (several videos of one prompt).
    Raises AdapterMismatch when rows cannot be shared out evenly.
    """
    half = rows // 2 if guided else rows
    if (guided and rows % 2) or half % sets:
        of = f"{rows} rows, half of them negative," if guided else f"{rows} rows"
        raise AdapterMismatch(
            f"got {of} for {sets} sets of action tokens, need a whole number of videos per set; "
            f"set one set per prompt, or one for all"
        )
    if not guided:
        return Reading()
    return Reading(groups=2) if guidance == "both" else Reading(first=half)


def reading_of(
    base: Base, context: str | None, sample: Tensor, references: ReferenceSet, guidance: Guidance
) -> Reading | None:
    """Who reads in a call of the denoiser with this sample (rows, ...); None: nobody.

    context: of the denoiser's cache, as the pipeline names it. Raises AdapterMismatch as `reading_rows`.
    """
    rows, sets = sample.shape[0], references.action.tokens.shape[0]
    if context is not None and (base.negative or context in base.positive):
        return _in_context(context in base.negative, rows, sets, references.each_branch, guidance)
    if base.pipe is None and sets not in (1, rows):
        raise AdapterMismatch(
            f"got {rows} rows for {sets} sets of action tokens, need a set per row or one for all; "
            f"attach to the pipeline to have guidance and several videos per prompt taken care of"
        )
    guided = base.pipe is not None and not references.each_branch and _guided(base, sample, sets)
    return reading_rows(rows, sets, guided, guidance)


def _in_context(
    negative: bool, rows: int, sets: int, each_branch: bool, guidance: Guidance
) -> Reading | None:
    """For pipelines that call the denoiser once for each branch, and say for which."""
    if each_branch:
        half = sets // 2
        whole = reading_rows(rows, half, False, "both")
        return Reading(whole.first, whole.groups, (0 if negative else half, half))
    if negative and guidance == "positive":
        return None
    return reading_rows(rows, sets, False, guidance)


def _guided(base: Base, sample: Tensor, sets: int) -> bool:
    """Is the batch [negative, positive]?"""
    said = base.guides() if torch.compiler.is_compiling() else _caller_guides(base)
    if said is False or (said and sample.shape[0] != sets):
        return said
    # Someone calls the denoiser with a set for each row, while the pipeline still says what its last call was
    # like; or the pipeline itself calls, or one that says nothing, which shows in two equal halves.
    if torch.compiler.is_compiling():
        return said is None and sample.shape[0] % (2 * sets) == 0
    sample, half = base.shared(sample), sample.shape[0] // 2
    return 2 * half == sample.shape[0] and torch.equal(sample[:half], sample[half:])


def _caller_guides(base: Base) -> bool | None:
    """What `Base.guides` tells of the pipeline that now calls: pipelines may share a denoiser
    (`from_pipe`), and some (ModelScope's) know only in a variable of their call."""
    caller = _caller(base)
    if caller is None:
        return base.guides()
    said = replace(base, pipe=caller["self"]).guides()
    return caller.get("do_classifier_free_guidance") if said is None else said


def _context_of(base: Base, arguments: Mapping[str, Any]) -> str | None:
    """The context of a call with these arguments, of a pipeline that names none (`Base.handed_over`).

    None where no pipeline calls. A compiled denoiser leaves its graph for this: which branch is called shows
    only on the stack. Raises AdapterMismatch for a pipeline of others, which has no such variable.
    """
    caller = _caller(base)
    if base.handed_over is None or caller is None:
        return None
    argument, variable = base.handed_over
    if variable not in caller:
        raise AdapterMismatch(
            f"got a call of {type(caller['self']).__name__} that does not say for which prompt; have it "
            f"call the denoiser in cache_context({base.negative[0]!r}) for the negative one, else in "
            "cache_context('cond')"
        )
    return base.negative[0] if arguments[argument] is caller[variable] else "cond"


context_of: Callable[[Base, Mapping[str, Any]], str | None] = torch.compiler.disable(_context_of)


def _caller(base: Base) -> Mapping[str, Any] | None:
    """The variables of the pipeline's call that now calls the denoiser, found on the stack."""
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_name == "__call__":
            pipe = frame.f_locals.get("self")
            if plain(getattr(pipe, base.component, None)) is base.denoiser:
                return frame.f_locals
        frame = frame.f_back
    return None
