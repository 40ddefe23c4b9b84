"""ActionAdapter: Action Prism and Action Integrations of a base; attach, set references, save, load."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Literal, Self, TypeAlias

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from echoreel.bases.encoding import encode_captions, encode_references
from echoreel.bases.lookup import Base, base_of, find_sites
from echoreel.common.errors import AdapterMismatch, SettingsError
from echoreel.common.exclusive import used_alone
from echoreel.media.reference_video import ReferenceVideo
from echoreel.method.attachment import Attachment
from echoreel.method.compact_prism import CompactPrismSettings
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.integration import (
    FrameIntegrationSettings,
    Integration,
    IntegrationSettings,
    integration_settings,
    make_integration,
)
from echoreel.method.prism import PrismSettings, make_prism, prism_settings
from echoreel.method.references import Guidance, Held, ReferenceSet, matched, ordinary_tensors

Preset: TypeAlias = Literal["compact", "dense", "paper", "paper-lvdm"]


class ActionAdapter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """All that is trained: a Prism and one Integration per site of a base.

    family, sites, latent_channels, caption_width: the base it fits, that is its family's name, the width at
    each site's path, and the widths of its latents and text tokens. prism_config, integration_config: their
    settings as plain dicts, since they are saved with the weights.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        family: str,
        sites: dict[str, int],
        latent_channels: int,
        caption_width: int,
        prism_config: dict[str, Any],
        integration_config: dict[str, Any],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        settings = integration_settings(integration_config)
        self.prism = make_prism(prism_settings.validate_python(prism_config), latent_channels, caption_width)
        self.integrations = nn.ModuleDict(
            {
                _key(path): make_integration(width, self.prism.token_width, settings)
                for path, width in sites.items()
            }
        )
        self._held = Held()
        self._attachments: tuple[Attachment, ...] = ()  # one for each denoiser of the base

    @classmethod
    def for_base(
        cls,
        base: Any,
        preset: Preset = "compact",
        *,
        prism: PrismSettings | None = None,
        integration: IntegrationSettings | FrameIntegrationSettings | None = None,
    ) -> Self:
        """A fresh adapter for a pipeline or denoiser; `prism` and `integration` replace the preset's.

        Raises BaseUnsupported, SettingsError.
        """
        found = base_of(base)
        if preset not in PRESETS:
            raise SettingsError(f"got preset {preset!r}, need one of {', '.join(PRESETS)}")
        prism, integration = prism or PRESETS[preset][0], integration or PRESETS[preset][1]
        if isinstance(prism, DensePrismSettings):
            size = found.family.latent_size(found.denoiser)
            if size is None:
                raise SettingsError(
                    f"got preset {preset!r} for a base that does not say its native resolution, which a "
                    f"dense Prism needs; take the compact preset"
                )
            prism = prism.model_copy(update={"latent_size": size})
        adapter: Self = cls(
            family=found.family.name,
            sites=_some(find_sites(found.family, found.denoiser), found.family.every),
            latent_channels=found.family.latent_channels(found.denoiser),
            caption_width=found.family.caption_width(found.denoiser),
            prism_config=prism.model_dump(mode="json"),
            integration_config=integration.model_dump(mode="json"),
        )
        adapter.eval()  # as `from_pretrained` does
        return adapter

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, **kwargs: Any) -> Self:
        """An adapter from a folder or hub id; without it, the one that fits the embedded base.

        kwargs: those of diffusers' `ModelMixin.from_pretrained`.
        """
        path = pretrained_model_name_or_path
        if path is None:
            path = str(resources.files("echoreel") / "weights" / "adapter")
        adapter: Self = super().from_pretrained(path, **kwargs)
        return adapter

    def attach(self, base: Any) -> Self:
        """Join a pipeline or denoiser, which stays as it is but for hooks; leave any other base first.

        Moves the adapter to the device that the base computes on, and goes with the base when that is moved
        later. Raises AdapterMismatch, BaseUnsupported, InUse while another thread generates with either.
        """
        self._join(base_of(base))
        return self

    def _join(self, found: Base) -> None:
        self._check_fits(found)
        with used_alone(self, *found.denoisers):
            self.detach()
            self._move(found)
            layers = self._layers()
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
        base: Any = None,
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
        found = base_of(self._pipeline() if base is None else base)
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

    def encode(
        self,
        reference_latents: Tensor,
        caption_tokens: Tensor | None = None,
        prompt_tokens: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, C, T, H, W), and text tokens (B, L, D) or None of the reference's caption and of the
        prompt -> action tokens (B, T * K, A)."""
        like = next(self.prism.parameters())
        texts = [None if text is None else text.to(like) for text in (caption_tokens, prompt_tokens)]
        tokens: Tensor = self.prism(reference_latents.to(like), *texts)
        return tokens

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
        pipe = self._pipeline()
        self._move(self._attachments[0].base)
        columns = matched(references)
        if not columns:
            return None
        negatives = [] if negative_prompt is None else [negative_prompt] * len(prompts)
        times = 2 if negatives else 1
        asked = encode_captions(pipe, [*negatives, *prompts])
        unique = {id(each): each for column in columns for each in column}
        found = encode_references(pipe, [*unique.values()], size or self._native_size())
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
        self._check_tokens(parts)
        like = next(self.integrations.parameters())
        learns = torch.is_grad_enabled() and (self.training or any(part.requires_grad for part in parts))
        with ordinary_tensors(), torch.set_grad_enabled(learns):
            parts = [part.clone().to(like) if part.is_inference() else part.to(like) for part in parts]
            made = ReferenceSet.of_tokens(parts, strengths, self.prism.slot_centres, each_branch)
            if made is None or learns or not self._attachments:
                return made
            return made.with_keys(self._layers())  # now, so that a compiled denoiser finds them

    def _layers(self) -> dict[str, Integration]:
        """By the site's path."""
        return {path: self.integrations[_key(path)] for path in self.config["sites"]}  # type: ignore[misc]

    def _move(self, base: Base) -> None:
        """To the device that the base computes on."""
        device = getattr(base.pipe, "_execution_device", None) or next(base.denoiser.parameters()).device
        with ordinary_tensors():
            nn.Module.to(self, device)

    def _pipeline(self) -> Any:
        """Raises AdapterMismatch unless attached to a pipeline."""
        pipe = self._attachments[0].base.pipe if self._attachments else None
        if pipe is None:
            raise AdapterMismatch(
                "got references for an adapter that is not attached to a pipeline, need its autoencoder and "
                "text encoder; attach(pipe) first, or encode latents yourself and set_tokens"
            )
        return pipe

    def _native_size(self) -> tuple[int, int]:
        """Pixels (height, width) that the base makes by itself. Raises SettingsError when it does not say."""
        base = self._attachments[0].base
        places = base.family.latent_size(base.denoiser)
        if places is None:
            raise SettingsError(
                "got references for a base that does not say its native size, need size=(height, width)"
            )
        pixels = base.family.pixels_per_place(base.pipe)
        return places[0] * pixels, places[1] * pixels

    def __getstate__(self) -> dict[str, Any]:
        """A copy (deepcopy, pickle) is detached and has no references: hooks and the base are not copied."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_attachments": (), "_held": Held()}

    def _check_tokens(self, parts: Sequence[Tensor]) -> None:
        """Raises AdapterMismatch unless these are action tokens of this adapter, for one batch."""
        slots, width = self.prism.slots_per_frame, self.prism.token_width
        for part in parts:
            batch = parts[0].shape[0]
            if part.ndim != 3 or part.shape[0] != batch or part.shape[1] % slots or part.shape[2] != width:
                raise AdapterMismatch(
                    f"got action tokens {tuple(part.shape)}, need ({batch}, T * {slots}, {width}); encode "
                    f"the reference with this adapter"
                )

    def _check_fits(self, base: Base) -> None:
        """Raises AdapterMismatch unless the base is of the family and widths that the config says."""
        if base.family.name != self.config["family"]:
            raise AdapterMismatch(
                f"got a base of the family {base.family.name}, need {self.config['family']}; load or train "
                f"the adapter for it"
            )
        sites = find_sites(base.family, base.denoiser)
        mine = dict(self.config["sites"])
        if mine not in (sites, some := _some(sites, base.family.every)):
            wrong = next(path for path in [*mine, *some] if mine.get(path) != some.get(path))
            raise AdapterMismatch(
                f"got a base with width {sites.get(wrong)} at {wrong}, need {mine.get(wrong)}; this adapter "
                f"was made for another base of the family {self.config['family']}"
            )
        got = base.family.latent_channels(base.denoiser), base.family.caption_width(base.denoiser)
        need = self.config["latent_channels"], self.config["caption_width"]
        if got != need:
            raise AdapterMismatch(
                f"got a base with {got[0]} latent channels and captions of width {got[1]}, need {need[0]} "
                f"and {need[1]}; this adapter was made for another base"
            )


PRESETS: dict[
    str,
    tuple[CompactPrismSettings | DensePrismSettings, IntegrationSettings | FrameIntegrationSettings],
] = {
    "compact": (CompactPrismSettings(), IntegrationSettings(feed_forward=96)),
    "dense": (DensePrismSettings(width=128, depth=3, heads=4, caption_width=128), IntegrationSettings()),
    "paper": (DensePrismSettings(), IntegrationSettings(inner_width=None, heads=8)),
    "paper-lvdm": (DensePrismSettings(), FrameIntegrationSettings()),  # to the letter, as released
}


def _some(sites: dict[str, int], every: int) -> dict[str, int]:
    """The first of the sites and every so many on."""
    return dict([*sites.items()][::every])


def _key(path: str) -> str:
    """A site's name in the ModuleDict, which cannot hold dots."""
    return path.replace(".", "-")
