"""ActionAdapter: attached to a base, it has that act as in references."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.encoding import encode_captions, encode_references
from echoreel.bases.lookup import base_of
from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.common.exclusive import used_alone
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.attachment import Attachment
from echoreel.method.networks import AdapterNetworks
from echoreel.method.references import Guidance, Held, ReferenceSet, matched, ordinary_tensors


class ActionAdapter(AdapterNetworks):
    """An adapter that is attached to a base, and what the base then reads."""

    _attachments: tuple[Attachment, ...] = ()  # one for each denoiser of the base

    def attach(self, base: BaseLike) -> Self:
        """Join a pipeline or denoiser, which stays as it is but for hooks; leave any other base first.

        Moves the adapter to the device that the base computes on, and goes with the base when that is moved
        later. Raises AdapterMismatch, BaseUnsupported, InUse while another thread generates with either.
        """
        self._join(base_of(base))
        return self

    def _join(self, found: Base) -> None:
        self.check_fits(found)
        with used_alone(self, *found.denoisers):
            self.detach()
            self._move(found)
            layers = self.layers()
            self._attachments = tuple(
                Attachment(found, denoiser, layers, self._held) for denoiser in found.denoisers
            )

    def detach(self) -> None:
        """Leave the base as it was; references and scale are kept."""
        with used_alone(self):
            for attachment in self._attachments:
                attachment.remove()
            self._attachments = ()

    @contextmanager
    def reading(
        self,
        base: BaseLike | None = None,
        references: Sequence[ReferenceVideo] | ReferenceSet | None = None,
        prompt: str | Sequence[str] = "",
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> Iterator[Self]:
        """Within, the pipeline acts as in these references: `with adapter.reading(pipe, references, prompt):`

        base: a pipeline, or None for the one that this is attached to. references: videos, or a set that
        `reference_set` made, or None to read nothing. The others as in `set_references`. Afterwards all is as
        before: what the adapter is attached to, its references, scale, window and guidance. Other threads are
        refused meanwhile. Raises what `attach` and `set_references` raise.
        """
        found = self._whole_base() if base is None else base_of(base)
        with used_alone(self, *found.denoisers):
            before, state = self._attachments, self._held.state
            try:
                if not before or before[0].base != found:
                    self._join(found)
                if references is None or isinstance(references, ReferenceSet):
                    self._held.change(references=references)
                else:
                    self.set_references(references, prompt, size, negative_prompt)
                yield self
            finally:
                self._held.state = state
                if self._attachments is not before:
                    self._join(before[0].base) if before else self.detach()

    @property
    def denoisers(self) -> tuple[nn.Module, ...]:
        """What the adapter is attached to; empty when it is detached."""
        return tuple(attachment.denoiser for attachment in self._attachments)

    def set_references(
        self,
        references: Sequence[ReferenceVideo],
        prompt: str | Sequence[str] = "",
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> None:
        """Have the pipeline act as in these videos, from its next call on, until replaced or cleared.

        prompt: what the pipeline will be called with, one or several; with the references' captions it tells
        the Prism what the action is. size: pixels (height, width) that frames are cropped and resized to,
        instead of the base's native ones. negative_prompt: given, both branches of guidance read, each what
        the Prism makes of its own prompt, as in the released EchoReel; the pipeline must then guide.
        Raises AdapterMismatch when not attached to a pipeline, SettingsError when a size is needed.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        shown = [list(references)] * len(prompts)
        self._held.change(references=self.reference_set(shown, prompts, size, negative_prompt))

    @torch.no_grad()
    def reference_set(
        self,
        references: Sequence[Sequence[ReferenceVideo]],
        prompts: Sequence[str],
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> ReferenceSet | None:
        """What `reading` takes, for a batch of prompts, each with references of its own; None without any.

        All prompts have as many references, the first of each as long and as strong as the others' first, and
        so on. The others as in `set_references`. Raises what that raises, AdapterMismatch for a batch that
        does not match.
        """
        base = self._whole_base()
        self._move(base)
        columns = matched(references)
        if not columns:
            return None
        negatives = [] if negative_prompt is None else [negative_prompt] * len(prompts)
        times = 2 if negatives else 1
        asked = encode_captions(base, [*negatives, *prompts])
        unique = {id(each): each for column in columns for each in column}
        found = encode_references(base, [*unique.values()], base.video_size(size))
        encoded = dict(zip(unique, found, strict=True))
        parts = []
        for column in columns:
            latents, shown = zip(*(encoded[id(each)] for each in column), strict=True)
            parts.append(self.encode(torch.cat(latents * times), torch.cat(shown * times), asked))
        return self._reference_set(parts, [column[0].strength for column in columns], bool(negatives))

    def set_tokens(self, tokens: Tensor | Sequence[Tensor], strengths: Sequence[float] | None = None) -> None:
        """Have the base read these action tokens (B, T * K, A): of one reference, or a sequence, one of each.

        strengths: per reference, 1 unless given; 0 leaves a reference out. Raises AdapterMismatch.
        """
        parts = [tokens] if isinstance(tokens, Tensor) else list(tokens)
        strengths = [1.0] * len(parts) if strengths is None else list(strengths)
        self._held.change(references=self._reference_set(parts, strengths))

    def clear_references(self) -> None:
        """Have the base read nothing, and be its own self again."""
        self._held.change(references=None)

    def set_scale(self, scale: float) -> None:
        """How much of what the integrations find is added: 1 as trained, 0 nothing. Raises SettingsError."""
        if not math.isfinite(scale):
            raise SettingsError(f"got scale {scale}, need a number; 1 is as trained, 0 is off")
        self._held.change(scale=float(scale))

    def set_window(self, start: float = 0.0, end: float = 1.0) -> None:
        """The part of the denoising steps in which references act: 0 <= start < end <= 1, else SettingsError.

        Whole steps inside the window count, by the timesteps of the pipeline's scheduler at each call.
        """
        if not 0 <= start < end <= 1:
            raise SettingsError(f"got a window from {start} to {end}, need 0 <= start < end <= 1")
        self._held.change(window=(float(start), float(end)))

    def set_guidance(self, guidance: Guidance) -> None:
        """Which branch of classifier-free guidance reads. Raises SettingsError.

        "positive", so that guidance amplifies the action, or "both". Not asked for references that were set
        with a negative prompt: both branches read those.
        """
        if guidance not in ("positive", "both"):
            raise SettingsError(f'got guidance {guidance!r}, need "positive" or "both"')
        self._held.change(guidance=guidance)

    def _reference_set(
        self, parts: Sequence[Tensor], strengths: Sequence[float], each_branch: bool = False
    ) -> ReferenceSet | None:
        """Of action tokens; with the keys of every site where nothing learns. Raises AdapterMismatch."""
        self.check_tokens(parts)
        like = next(self.integrations.parameters())
        learns = torch.is_grad_enabled() and (self.training or any(part.requires_grad for part in parts))
        with ordinary_tensors(), torch.set_grad_enabled(learns):
            parts = [part.clone().to(like) if part.is_inference() else part.to(like) for part in parts]
            made = ReferenceSet.of_tokens(parts, strengths, self.prism.slot_centres, each_branch)
            if made is None or learns or not self._attachments:
                return made
            return made.with_keys(self.layers())  # now, so that a compiled denoiser finds them

    def _move(self, base: Base) -> None:
        """To the device that the base computes on."""
        with ordinary_tensors():
            nn.Module.to(self, base.device)

    def _whole_base(self) -> Base:
        """With its pipeline. Raises AdapterMismatch unless attached to one."""
        base = self._attachments[0].base if self._attachments else None
        if base is None or base.pipe is None:
            raise AdapterMismatch(
                "got references for an adapter that is not attached to a pipeline, need its autoencoder and "
                "text encoder; attach(pipe) first, or encode latents yourself and set_tokens"
            )
        return base

    def __getstate__(self) -> dict[str, Any]:
        """A copy (deepcopy, pickle) is detached and has no references: hooks and the base are not copied."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_attachments": (), "_held": Held()}
