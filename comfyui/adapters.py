"""An adapter's two parts from its folder, without diffusers: config.json and safetensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from echoreel.common.checksums import check_sum
from echoreel.common.errors import AdapterMismatch, CheckpointError
from echoreel.common.loading_errors import hint_of
from echoreel.common.places import check_ends, small_file
from echoreel.common.text import json_value
from echoreel.method.adapter_sizes import check_sizes
from echoreel.method.integration import ActionTokens, integration_settings, make_integration
from echoreel.method.prism import make_prism, prism_settings

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


class Adapter:
    """A Prism and, by site, Integrations, in evaluation mode; with what the config says of its base."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Fresh weights. Raises KeyError, TypeError, ValueError for a config that cannot be."""
        check_sizes(config)
        self.family = str(config["family"])
        self.sites = {str(path): int(width) for path, width in config["sites"].items()}
        self.latent_channels, self.caption_width = (
            int(config["latent_channels"]),
            int(config["caption_width"]),
        )
        prism = prism_settings(config["prism_config"])
        self.prism = make_prism(prism, self.latent_channels, self.caption_width)
        settings = integration_settings(config["integration_config"])
        self.integrations = nn.ModuleDict(
            {
                path.replace(".", "-"): make_integration(width, self.prism.token_width, settings)
                for path, width in self.sites.items()
            }
        )
        self.whole = nn.ModuleDict({"prism": self.prism, "integrations": self.integrations})
        self.whole.eval().requires_grad_(False)

    @torch.no_grad()
    def tokens(
        self, references: Sequence[tuple[Tensor, Tensor, float]], prompts: Sequence[Tensor]
    ) -> ActionTokens | None:
        """What the Prism makes of references (latents (1, C, T, h, w), caption tokens (1, L, D), strength).

        A set for each prompt's tokens (1, L, D). None where no strength is above 0.
        """
        like = next(self.prism.parameters())
        parts, strengths = [], []
        for latents, caption, strength in references:
            if strength > 0:
                texts = [(caption.to(like), prompt.to(like)) for prompt in prompts]
                parts.append(torch.cat([self.prism(latents.to(like), *each) for each in texts]))
                strengths.append(strength)
        if not parts:
            return None
        return ActionTokens.of_references(parts, strengths, self.prism.slot_centres.detach())


def load_adapter(folder: Path) -> Adapter:
    """The adapter in a folder. Raises AdapterMismatch for what is none."""
    try:
        config = json_value(small_file(folder / CONFIG).decode())
        check_ends(folder / WEIGHTS)
        check_sum(folder / WEIGHTS)
        with torch.device("meta"):  # a config that asks for giants takes no memory
            adapter = Adapter(config)
        held = {name: tensor.float() for name, tensor in load_file(str(folder / WEIGHTS)).items()}
        adapter.whole.load_state_dict(held, assign=True)
        if not all(each.isfinite().all() for each in adapter.whole.state_dict().values()):
            raise ValueError("its weights hold NaN or infinite values")
    except OSError as error:
        raise AdapterMismatch(
            f"{folder.name}: {Path(str(error.filename or WEIGHTS)).name} cannot be read; an adapter's folder "
            f"holds {CONFIG} and {WEIGHTS}"
        ) from error
    except CheckpointError as error:
        raise AdapterMismatch(f"{folder.name}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, RecursionError) as error:
        raise AdapterMismatch(_told(folder, error)) from error
    except (ValidationError, SafetensorError) as error:
        raise AdapterMismatch(_told(folder, error)) from error
    return adapter


def _told(folder: Path, error: Exception) -> str:
    why = hint_of(error)
    return f"{folder.name}: not an adapter of EchoReel ({why}); copy the whole folder that training wrote"
