"""What a base reads: a set of references, and how it acts. Each is one value, built whole and replaced whole.

An adapter and its attachments share one `Held`; nothing else of them changes while references come and go.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor

from echoreel.common.errors import AdapterMismatch
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.integration import ActionTokens, Integration, Memory, Part

Guidance: TypeAlias = Literal["positive", "both"]
Versions: TypeAlias = tuple[tuple[int, int, torch.device], ...]


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Tensors made within may be used anywhere, even under `torch.inference_mode`; gradients as around it."""
    gradients = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Action tokens of references with their strengths, and the branches of guidance that they are for."""

    action: ActionTokens
    each_branch: bool = False  # `action` holds sets for the negative prompts, then for the positive ones
    keys: Mapping[str, Memory] | None = None  # of every site; None: computed at each call
    made_with: Versions = ()  # the parameters that `keys` were computed with

    @classmethod
    def of_tokens(
        cls,
        parts: Sequence[Tensor],
        strengths: Sequence[float],
        slot_centres: Tensor,
        each_branch: bool = False,
        during: Sequence[Part] | None = None,
    ) -> Self | None:
        """Of tokens (B, T * K, A) of each reference; None where no strength is above 0.

        during: of each, the part of the video that it acts in; None: all of it.

        Raises AdapterMismatch for strengths that cannot be.
        """
        if len(parts) != len(strengths) or not all(0 <= strength < math.inf for strength in strengths):
            raise AdapterMismatch(
                f"got strengths {[*strengths]} for {len(parts)} references, need one for each, 0 or more"
            )
        kept = [i for i, strength in enumerate(strengths) if strength > 0]
        if not kept:
            return None
        used, weights = [parts[i] for i in kept], [strengths[i] for i in kept]
        when = None if during is None else [during[i] for i in kept]
        return cls(ActionTokens.of_references(used, weights, slot_centres, when), each_branch)

    def with_keys(self, integrations: Mapping[str, Integration]) -> Self:
        """The same with keys and values of every site, computed now without gradients."""
        with torch.no_grad():
            keys = self.computed(integrations)
        made_with = () if torch.compiler.is_compiling() else versions(integrations)
        return replace(self, keys=keys, made_with=made_with)

    def computed(self, integrations: Mapping[str, Integration]) -> dict[str, Memory]:
        """Keys and values of every site, where and as exactly as its parameters are."""
        return {path: layer.memory(self._near(layer)) for path, layer in integrations.items()}

    def fresh(self, integrations: Mapping[str, Integration]) -> bool:
        """Are the keys those of the present parameters?"""
        return self.keys is not None and self.made_with == versions(integrations)

    def _near(self, layer: Integration) -> ActionTokens:
        return self.action.to(layer.norm.weight)


@dataclass(frozen=True, eq=False)
class State:
    """What a base reads now, and how much, when and in which branch of guidance."""

    references: ReferenceSet | None = None
    scale: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)  # fractions of the denoising steps
    guidance: Guidance = "positive"
    zero: bool = field(init=False)  # scale is 0: nothing is computed; compiled code never looks at `scale`
    gain: Tensor = field(init=False)  # 0-dim: what additions are multiplied by

    def __post_init__(self) -> None:
        strength, device = 1.0, torch.device("cpu")
        if self.references is not None:
            strength, device = self.references.action.strength, self.references.action.tokens.device
        object.__setattr__(self, "zero", self.scale == 0)
        with ordinary_tensors():
            object.__setattr__(self, "gain", torch.tensor(self.scale * strength, device=device))


class Held:
    """The present state, for all who ask."""

    def __init__(self) -> None:
        self.state = State()

    def change(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]


def versions(integrations: Mapping[str, Integration]) -> Versions:
    """Change when parameters change in place (a training step, loaded weights) or are moved."""
    return tuple(
        (0 if p.is_inference() else p._version, p.data_ptr(), p.device)
        for layer in integrations.values()
        for p in layer.parameters()
    )


def matched(references: Sequence[Sequence[ReferenceVideo]]) -> list[tuple[ReferenceVideo, ...]]:
    """Of every prompt's references: all first ones, all second ones, and so on, without those of strength 0.

    Raises AdapterMismatch where prompts differ in their number, lengths, strengths or parts of the video.
    """
    likeness = {tuple((len(each.frames), each.strength, each.during) for each in row) for row in references}
    if len(likeness) > 1:
        raise AdapterMismatch(
            "got prompts with references of different numbers, lengths, strengths or parts in one batch, "
            "need equal ones; generate these videos one at a time"
        )
    return [column for column in zip(*references, strict=True) if column[0].strength > 0]
