"""What is trained of an adapter, and for which base: a Prism, and an Integration at each of its sites.

A few lines longer than others: one class, with all that is checked before weights of others become one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.bases.missing_tensors import check_complete, check_finite, check_statistics
from echoreel.bases.part_sizes import check_kinds
from echoreel.common.checksums import add_sum, check_packaged, check_sum
from echoreel.common.errors import AdapterMismatch, OutputError, SettingsError
from echoreel.common.exclusive import one_at_a_time
from echoreel.common.loading_errors import why_not_loaded
from echoreel.common.places import WEIGHTS, check_readable
from echoreel.method.adapter_sizes import check_numbers, check_sizes
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.fitted_sizes import fitted_sizes
from echoreel.method.integration import (
    FrameIntegrationSettings,
    Integration,
    IntegrationSettings,
    integration_settings,
    make_integration,
)
from echoreel.method.prism import PrismSettings, make_prism, prism_settings
from echoreel.method.references import Held

FILES = ["config.json", "diffusion_pytorch_model*.safetensors*"]  # of an adapter on the hub
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")
Preset: TypeAlias = Literal["compact", "dense", "paper", "paper-lvdm"]


class AdapterNetworks(ModelMixin, ConfigMixin):  # type: ignore[misc]
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
        self.prism = make_prism(prism_settings(prism_config), latent_channels, caption_width)
        self.integrations = nn.ModuleDict(
            {
                _key(path): make_integration(width, self.prism.token_width, settings)
                for path, width in sites.items()
            }
        )
        self._held = Held()  # what a base reads while this is attached to it

    @classmethod
    def for_base(
        cls,
        base: BaseLike,
        preset: Preset = "compact",
        *,
        prism: PrismSettings | None = None,
        integration: IntegrationSettings | FrameIntegrationSettings | None = None,
    ) -> Self:
        """Make a fresh adapter for a base. It changes nothing until it is trained.

        Args:
            base: a diffusers pipeline, or its denoiser.
            preset: "compact", "dense", "paper" or "paper-lvdm": sizes of Prism and Integration.
            prism: sizes of the Prism instead of the preset's.
            integration: sizes of the Integrations instead of the preset's.

        Returns:
            The adapter, with random weights.

        Raises:
            BaseUnsupported: the base is not of a supported family.
            SettingsError: there is no such preset, or it does not fit the base.
        """
        found = base_of(base)
        usual = preset_sizes(found, preset)
        prism, integration = prism or usual[0], integration or usual[1]
        if isinstance(prism, DensePrismSettings):
            size = found.latent_size
            if size is None:
                raise SettingsError(
                    f"got preset {preset!r} for a base that does not say its native resolution, which a "
                    f"dense Prism needs; take the compact preset"
                )
            prism = prism.model_copy(update={"latent_size": size})
        adapter: Self = cls(
            family=found.name,
            sites=_some(found.find_sites(), found.every),
            latent_channels=found.latent_channels,
            caption_width=found.caption_width,
            prism_config=prism.model_dump(mode="json"),
            integration_config=integration.model_dump(mode="json"),
        )
        adapter.eval()  # as `from_pretrained` does
        return adapter

    @classmethod
    @one_at_a_time
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, **kwargs: Any) -> Self:
        """Load an adapter with diffusers' own options; `load_adapter` has clearer errors.

        Only safetensors are read, whatever `use_safetensors` says.

        Args:
            pretrained_model_name_or_path: a folder or hub id. Default: the adapter of the embedded base.
            **kwargs: those of diffusers' `ModelMixin.from_pretrained`.

        Returns:
            The adapter.

        Raises:
            AdapterMismatch: it is damaged, needs more weights than it has, or they hold NaN.
            OSError: it cannot be found.
        """
        name = pretrained_model_name_or_path
        if name is None:
            name = WEIGHTS / "adapter"
        folder = adapter_folder(str(name), kwargs)
        try:
            inside = folder / (kwargs.get("subfolder") or "")
            _check_config(cls, inside)
            made: Any = super().from_pretrained(str(folder), **kwargs | {"use_safetensors": True})
            check_complete({"adapter": made})
            check_finite(made.state_dict())
        except OSError:
            raise
        except Exception as error:  # of any class that its files bring about: no common type
            raise AdapterMismatch(why_not_loaded("adapter", str(name), error)) from error
        made.register_to_config(_name_or_path=str(name))
        adapter: Self = made
        return adapter

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As diffusers' own, with a checksum; other users may read the files, as any new file there.

        Args:
            save_directory: the folder, which is made where it is not there.
            *args: those of diffusers' `ModelMixin.save_pretrained`.
            **kwargs: likewise.

        Raises:
            OutputError: the folder is a file, or the disk is full.
        """
        if Path(save_directory).is_file():
            raise OutputError(f"{save_directory}: is a file; give the name of a folder")
        super().save_pretrained(save_directory, *args, **kwargs)
        for file in Path(save_directory).glob("diffusion_pytorch_model*.safetensors"):
            add_sum(file)

    def check_fits(self, base: BaseLike) -> None:
        """Check whether the adapter can join a base.

        Args:
            base: a diffusers pipeline, or its denoiser.

        Raises:
            AdapterMismatch: it was made for another family, or for other widths.
            BaseUnsupported: the base is not of a supported family.
        """
        base, config = base_of(base), self.config
        if base.name != config["family"]:
            raise AdapterMismatch(
                f"got a base of the family {base.name}, need {config['family']}; load or train the adapter "
                "for it"
            )
        sites, mine = base.find_sites(), dict(config["sites"])
        if mine not in (sites, some := _some(sites, base.every)):
            wrong = next(path for path in [*mine, *some] if mine.get(path) != some.get(path))
            raise AdapterMismatch(
                f"got a base with width {sites.get(wrong)} at {wrong}, need {mine.get(wrong)}; this adapter "
                f"was made for another base of the family {config['family']}"
            )
        got = base.latent_channels, base.caption_width
        need = config["latent_channels"], config["caption_width"]
        if got != need:
            raise AdapterMismatch(
                f"got a base with {got[0]} latent channels and captions of width {got[1]}, need {need[0]} "
                f"and {need[1]}; this adapter was made for another base"
            )

    def encode(
        self,
        reference_latents: Tensor,
        caption_tokens: Tensor | None = None,
        prompt_tokens: Tensor | None = None,
    ) -> Tensor:
        """Turn a reference into action tokens: the Action Prism.

        Args:
            reference_latents: (B, C, T, H, W), of the base's autoencoder.
            caption_tokens: (B, L, D) of the reference's caption, by the base's text encoder.
            prompt_tokens: (B, L, D) of the prompt.

        Returns:
            Action tokens (B, T * K, A).

        Raises:
            SettingsError: a dense Prism gets latents of another size.
        """
        like = next(self.prism.parameters())
        texts = [None if text is None else text.to(like) for text in (caption_tokens, prompt_tokens)]
        tokens: Tensor = self.prism(reference_latents.to(like), *texts)
        return tokens

    def layers(self) -> dict[str, Integration]:
        """The Integrations by the path of their site."""
        return {path: self.integrations[_key(path)] for path in self.config["sites"]}  # type: ignore[misc]

    def check_tokens(self, parts: Sequence[Tensor]) -> None:
        """Check action tokens before the base reads them.

        Args:
            parts: those of each reference, (B, T * K, A).

        Raises:
            AdapterMismatch: they are not tokens of this adapter, or not of one batch.
        """
        slots, width = self.prism.slots_per_frame, self.prism.token_width
        for part in parts:
            batch = parts[0].shape[0]
            if part.ndim != 3 or part.shape[0] != batch or part.shape[1] % slots or part.shape[2] != width:
                raise AdapterMismatch(
                    f"got action tokens {tuple(part.shape)}, need ({batch}, T * {slots}, {width}); encode "
                    f"the reference with this adapter"
                )


Sizes: TypeAlias = tuple[PrismSettings, IntegrationSettings | FrameIntegrationSettings]

PRESETS: dict[str, Sizes | None] = {
    "compact": None,  # what fits the base
    "dense": (DensePrismSettings(width=128, depth=3, heads=4, caption_width=128), IntegrationSettings()),
    "paper": (DensePrismSettings(), IntegrationSettings(inner_width=None, heads=8)),
    "paper-lvdm": (DensePrismSettings(), FrameIntegrationSettings()),  # to the letter, as released
}


def adapter_folder(name: str, options: Mapping[str, Any]) -> Path:
    """The folder, or that of a hub id's files, which are downloaded.

    options: of diffusers' `from_pretrained`. Raises OSError where it is unavailable.
    """
    if Path(name).is_dir():
        return Path(name)
    subfolder = options.get("subfolder")
    asked = {key: value for key, value in options.items() if key in HUB_OPTIONS}
    files = [f"{subfolder}/{file}" if subfolder else file for file in FILES]
    try:
        return Path(snapshot_download(name, allow_patterns=files, **asked))
    except HFValidationError as error:
        raise FileNotFoundError(f"{name}: there is no such folder; give a folder or a hub id") from error


def _check_config(made: Any, folder: Path) -> None:
    """Raises AdapterMismatch, before memory is taken, for a config that asks for more than its weights are.

    made: the class of the adapter.
    """
    check_readable(folder)
    config = made.load_config(str(folder))
    try:
        check_sizes(config)
        with torch.device("meta"):
            empty = made.from_config(config)
        asked = sum(parameter.numel() for parameter in empty.parameters())
        files = [*folder.glob("*.safetensors")]
        check_numbers(asked, sum(file.stat().st_size for file in files))
        check_kinds(folder, files)
        for file in files:
            check_sum(file)
        check_statistics("adapter", empty, files)
        if folder == WEIGHTS / "adapter":
            check_packaged("adapter")
    except SettingsError as error:
        raise AdapterMismatch(f"its config cannot be: {error}; get the files again") from error


def preset_sizes(base: BaseLike, preset: Preset = "compact") -> Sizes:
    """Sizes of Prism and Integration that a preset has for a base. Raises SettingsError for another name."""
    if preset not in PRESETS:
        raise SettingsError(f"got preset {preset!r}, need one of {', '.join(PRESETS)}")
    return PRESETS[preset] or fitted_sizes(base_of(base))


def _some(sites: dict[str, int], every: int) -> dict[str, int]:
    """The first of the sites and every so many on."""
    return dict([*sites.items()][::every])


def _key(path: str) -> str:
    """A site's name in the ModuleDict, which cannot hold dots."""
    return path.replace(".", "-")
