"""ActionAdapter: attached to a base, it has that act as in references.

Over 300 lines since one class is what users hold, and its public methods tell their arguments and errors.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from echoreel.bases.base import Base, BaseLike
from echoreel.bases.encoding import encode_captions, encode_references
from echoreel.bases.lookup import base_of
from echoreel.bases.missing_tensors import is_finite
from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.common.exclusive import check_mine, used_alone
from echoreel.media.reference_video import Reference, ReferenceVideo, as_references
from echoreel.method.attachment import Attachment
from echoreel.method.integration import WHOLE, ActionTokens, FrameIntegration, Part
from echoreel.method.networks import AdapterNetworks
from echoreel.method.references import Guidance, Held, ReferenceSet, matched, ordinary_tensors

MOST_SCALE = 10.0  # as the settings of a generation have it


class ActionAdapter(AdapterNetworks):
    """What makes a frozen base perform the action of references: attach it, set references, call the base.

    `load_adapter` gives a trained one, `ActionAdapter.for_base` a fresh one. `save_pretrained` and
    `from_pretrained` are diffusers' own.
    """

    _attachments: tuple[Attachment, ...] = ()  # one for each denoiser of the base

    def attach(self, base: BaseLike) -> Self:
        """Join a base, which stays as it is but for hooks; leave any other base first.

        The adapter moves to the base's device, and follows when the base is moved later.

        Args:
            base: a diffusers pipeline, or its denoiser alone.

        Returns:
            The adapter itself.

        Raises:
            AdapterMismatch: the adapter was made for another base.
            BaseUnsupported: the base is not of a supported family.
            InUse: another thread generates with the base or the adapter.
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
        """Leave the base bit for bit as it was. References and scale are kept.

        Raises:
            InUse: another thread generates with the adapter.
        """
        with used_alone(self, *self.denoisers):
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
        """Use references for a `with` block: `with adapter.reading(pipe, references, prompt):`

        Afterwards everything is as before: what the adapter is attached to, its references, scale, window and
        guidance. Other threads are refused meanwhile.

        Args:
            base: a pipeline. Default: the one that the adapter is attached to.
            references: videos, or a set that `reference_set` made; None reads nothing.
            prompt: as in `set_references`.
            size: as in `set_references`.
            negative_prompt: as in `set_references`.

        Yields:
            The adapter itself.

        Raises:
            AdapterMismatch: the adapter was made for another base, or there is no pipeline.
            BaseUnsupported: the base is not of a supported family.
            InUse: another thread generates with the base or the adapter.
            SettingsError: the base does not say its size, and none is given; or a side is below 1.
        """
        found = self._whole_base() if base is None else base_of(base)
        with used_alone(self, *found.denoisers):
            before, state = self._attachments, self._held.state
            try:
                if not before or before[0].base != found:
                    self._join(found)
                if references is None or isinstance(references, ReferenceSet):
                    self._change(references=references)
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
        references: Reference | Sequence[Reference],
        prompt: str | Sequence[str] = "",
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> None:
        """Let the pipeline read these references from its next call on, until they are replaced or cleared.

        Args:
            references: clips that show the action: files or `ReferenceVideo`s, one or several.
            prompt: what the pipeline will be called with, one or several. With the captions of the references
                it tells the Prism what the action is.
            size: (height, width) in pixels that frames are cropped and resized to. Default: the base's own.
            negative_prompt: makes both branches of guidance read, as in the released EchoReel; the pipeline
                must then guide.

        Raises:
            AdapterMismatch: the adapter is not attached to a pipeline.
            SettingsError: the base does not say its size, and none is given; or a side is below 1.
            VideoError: a file cannot be used.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        shown = [as_references(references)] * len(prompts)
        self._change(references=self.reference_set(shown, prompts, size, negative_prompt))

    @torch.no_grad()
    def reference_set(
        self,
        references: Sequence[Sequence[ReferenceVideo]],
        prompts: Sequence[str],
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> ReferenceSet | None:
        """Encode references of their own for each prompt of a batch, for `reading`.

        All prompts have equally many references. The first of each are equally long and strong, and so on.

        Args:
            references: for each prompt its references.
            prompts: what the pipeline will be called with.
            size: as in `set_references`.
            negative_prompt: as in `set_references`.

        Returns:
            What `reading` takes; None without any reference.

        Raises:
            AdapterMismatch: the batch does not match, or there is no pipeline.
            SettingsError: the base does not say its size, and none is given; or a side is below 1.
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
            tokens = self.encode(torch.cat(latents * times), torch.cat(shown * times), asked)
            if not is_finite(tokens):  # else the base would be told to make NaN
                raise AdapterMismatch(
                    f"the adapter made NaN or infinite values of {column[0].name} in {tokens.dtype}; load "
                    "the base in float32, or encode the reference again"
                )
            parts.append(tokens)
        strengths = [column[0].strength for column in columns]
        during = [column[0].during for column in columns]
        return self._reference_set(parts, strengths, bool(negatives), during)

    @torch.no_grad()
    def window_set(
        self,
        windows: Sequence[tuple[int, int]],
        references: Sequence[Sequence[ReferenceVideo]],
        prompt: str,
        size: tuple[int, int] | None = None,
        negative_prompt: str | None = None,
    ) -> ReferenceSet | None:
        """Encode references of a long video that the base makes in one call, in windows that overlap.

        Each window's references fill it, as those of a short video do. Where windows overlap, what is found
        is blended.

        Args:
            windows: first latent frame of each, and the one behind its last; together they are the video.
            references: of each window, which may have none.
            prompt: as in `set_references`.
            size: as in `set_references`.
            negative_prompt: as in `set_references`.

        Returns:
            What `reading` takes; None without any reference.

        Raises:
            AdapterMismatch: windows and references do not match, or there is no pipeline.
            SettingsError: the base does not say its size, and none is given; or a side is below 1.
        """
        if len(windows) != len(references):
            raise AdapterMismatch(
                f"got {len(windows)} windows and references of {len(references)}, need those of each window"
            )
        made = [self.reference_set([each], [prompt], size, negative_prompt) for each in references]
        actions = [None if each is None else each.action for each in made]
        action = ActionTokens.of_windows([*zip(windows, actions, strict=True)])
        if action is None:
            return None
        whole = ReferenceSet(action, negative_prompt is not None)
        with ordinary_tensors():
            return whole.with_keys(self.layers())

    def set_tokens(
        self,
        tokens: Tensor | Sequence[Tensor],
        strengths: Sequence[float] | None = None,
        during: Sequence[Part] | None = None,
    ) -> None:
        """Let the base read action tokens that you made yourself.

        Args:
            tokens: (B, T * K, A), of one reference, or a sequence with those of each.
            strengths: one per reference, 0 leaves it out. Default: 1.
            during: of each reference, the part of the video that it acts in, such as (0, 0.5). Default: all.

        Raises:
            AdapterMismatch: the tokens have another width or length, or this adapter knows no parts.
        """
        parts = [tokens] if isinstance(tokens, Tensor) else list(tokens)
        strengths = [1.0] * len(parts) if strengths is None else list(strengths)
        self._change(references=self._reference_set(parts, strengths, during=during))

    def clear_references(self) -> None:
        """Remove all references; the base behaves as if nothing were attached."""
        self._change(references=None)

    def set_scale(self, scale: float) -> None:
        """Set how much of all references is added.

        Args:
            scale: 1 is as trained, 0 is off, 10 is the most.

        Raises:
            SettingsError: it is out of range.
        """
        if not 0 <= scale <= MOST_SCALE:  # nan is neither
            raise SettingsError(f"got scale {scale}, need 0 to {MOST_SCALE:g}; 1 is as trained, 0 is off")
        self._change(scale=float(scale))

    def set_window(self, start: float = 0.0, end: float = 1.0) -> None:
        """Set the part of the denoising steps in which references act.

        Args:
            start: from 0.
            end: to 1, above `start`. Whole steps inside count, by the scheduler's timesteps.

        Raises:
            SettingsError: they are out of range.
        """
        if not 0 <= start < end <= 1:
            raise SettingsError(f"got a window from {start} to {end}, need 0 <= start < end <= 1")
        self._change(window=(float(start), float(end)))

    def set_guidance(self, guidance: Guidance) -> None:
        """Set which branch of classifier-free guidance reads references.

        References that were set with a negative prompt are always read by both.

        Args:
            guidance: "positive", so that guidance amplifies the action, or "both".

        Raises:
            SettingsError: it is neither.
        """
        if guidance not in ("positive", "both"):
            raise SettingsError(f'got guidance {guidance!r}, need "positive" or "both"')
        self._change(guidance=guidance)

    def _change(self, **changes: object) -> None:
        """What the base reads. Raises InUse: in the middle of another thread's video it would change that."""
        for each in (self, *self.denoisers):
            check_mine(each)
        self._held.change(**changes)

    def _reference_set(
        self,
        parts: Sequence[Tensor],
        strengths: Sequence[float],
        each_branch: bool = False,
        during: Sequence[Part] | None = None,
    ) -> ReferenceSet | None:
        """Of action tokens; with the keys of every site where nothing learns. Raises AdapterMismatch."""
        self.check_tokens(parts)
        if (
            during is not None
            and {*during} - {WHOLE}
            and any(isinstance(layer, FrameIntegration) for layer in self.layers().values())
        ):
            raise AdapterMismatch(
                "got a reference for a part of the video, and an adapter of the paper's form, which counts "
                "frames and knows no parts; leave the part out"
            )
        like = next(self.integrations.parameters())
        learns = torch.is_grad_enabled() and (self.training or any(part.requires_grad for part in parts))
        with ordinary_tensors(), torch.set_grad_enabled(learns):
            parts = [part.clone().to(like) if part.is_inference() else part.to(like) for part in parts]
            made = ReferenceSet.of_tokens(parts, strengths, self.prism.slot_centres, each_branch, during)
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
