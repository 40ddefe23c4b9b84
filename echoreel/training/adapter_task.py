"""Training an adapter, as `fit` wants it; each of its four parts is a module of its own."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.method.adapter import ActionAdapter
from echoreel.training.adapter_loss import FrozenBase, adapter_loss
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_sheet import AdapterSheet
from echoreel.training.adapter_validation import AdapterValidation
from echoreel.training.autoencoder_probe import check_pairs
from echoreel.training.gradient_checkpointing import recompute_in_training
from echoreel.training.load_frozen import Loaded
from echoreel.training.pair_cache import Pairs, PairSet
from echoreel.training.run_log import Headline
from echoreel.training.spread_base import spread_over_processes
from echoreel.training.step_pairs import TrainingPairs, adapter_batch, check_task


class AdapterTask:
    """Train `adapter` on `base`, a pipeline that stays frozen, with pairs from `data`.

    A sample whose reference is dropped would teach nothing: without references the adapter is not there.
    """

    name = "adapter"
    headline = Headline(
        ("right", "shuffled", "none"),
        "validation is the error with the right references, with those of another pair, and with none: "
        "references are read once the first is the least",
    )

    def __init__(
        self,
        adapter: ActionAdapter,
        base: BaseLike | Loaded,
        data: PairSet,
        settings: AdapterTaskSettings,
        validation: PairSet | None = None,
    ) -> None:
        """`validation`: pairs of other actions, say; without it the first pairs of `data` are held back.
        `base` may be without text encoders, as `load_frozen` returns it.

        Raises AdapterMismatch, BaseUnsupported, PairSetError when the parts do not fit each other.
        """
        adapter.detach()
        loaded = base if isinstance(base, Loaded) else Loaded(base_of(base))
        self.base, self._text = loaded.base, loaded.text
        self.module, self.settings = adapter, settings
        self._frozen = FrozenBase(adapter, self.base, loaded.stored)
        check_task(settings, data, validation)
        self._pairs = TrainingPairs(data, validation, settings.held_back, settings.batch, settings.seed)
        for pairs in (data, validation) if validation else (data,):
            check_pairs(pairs, self.base, adapter.config["latent_channels"])
        for part in (v for v in self.base.pipe.components.values() if isinstance(v, torch.nn.Module)):
            part.eval().requires_grad_(False)
        if settings.gradient_checkpointing:
            recompute_in_training(self.base)
        self._validation = AdapterValidation(self._frozen, self._pairs.held_back, settings)
        self._sheet = AdapterSheet(self._frozen, self._pairs.held_back, settings)

    def batch(self, step: int) -> Pairs:
        """Pairs number `step`."""
        return adapter_batch(self._pairs, step, self.settings)

    def spread(self, device: torch.device) -> None:
        """Keep only this process's part of the base's weights. Raises BaseUnsupported."""
        spread_over_processes(self.base, device)

    def told(self, step: int) -> str:
        """Which pairs these are."""
        return self._pairs.told(step)

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """The base's own loss on the targets while it reads the references."""
        return adapter_loss(self._frozen, batch, self.settings, generator)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """What references are worth on held-back pairs; `AdapterValidation.numbers` says which numbers."""
        return self._validation.numbers()

    def sheet(self, path: Path) -> None:
        """References | base | ours for the first held-back pairs."""
        with nullcontext() if self._text is None else self._text.present(self.base):
            self._sheet.write(path)
