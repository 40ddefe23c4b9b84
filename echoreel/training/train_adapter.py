"""Training an adapter: the base's own denoising problem, with references to read; only the adapter trains."""

import logging
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from echoreel.bases.base import BaseLike
from echoreel.bases.lookup import base_of
from echoreel.bases.quantize import Quantize
from echoreel.common.errors import SettingsError
from echoreel.common.files import check_only, files_in, written_beside
from echoreel.common.places import resolved
from echoreel.common.settings import Settings, load_settings
from echoreel.method.adapter import ActionAdapter
from echoreel.method.integration import FrameIntegrationSettings, IntegrationSettings
from echoreel.method.loading import load_adapter
from echoreel.method.networks import FILES, Preset
from echoreel.method.prism import PrismSettings
from echoreel.training.adapter_settings import AdapterTaskSettings
from echoreel.training.adapter_task import AdapterTask
from echoreel.training.evaluation_settings import HeldoutSettings
from echoreel.training.load_frozen import FrozenWeights, load_frozen
from echoreel.training.loop import FREE, FitSettings, fit
from echoreel.training.memory import check_memory
from echoreel.training.pair_cache import PairSet
from echoreel.training.run_facts import FACTS, TrainingFacts, facts_of
from echoreel.training.run_folder import RunFolder, load_trained
from echoreel.training.spread_base import launched
from echoreel.training.step_pairs import check_task

LOG = logging.getLogger(__name__)
# Of a recipe: what names paths of this machine.
PLACES = {"folder", "pairs", "validation", "start", "base", "base_parts", "evaluation"}


class AdapterRecipe(Settings):
    """A whole adapter training: one TOML file.

    Raises:
        SettingsError: a name is unknown, or a value out of range.
    """

    folder: Path  # of the run; `adapter/` in it is the result
    base: str = "embedded"  # or a folder, a hub id, or a single file
    base_parts: str | None = None  # of a single file: a pipeline with the rest of it
    quantize: Quantize | None = None  # the denoiser's weights in fewer bits, to save memory
    stream_base: bool = False  # its blocks wait in main memory, and come to the GPU one by one
    start: str | None = None  # an adapter to go on from: "embedded", a folder or a hub id; none = a fresh one
    preset: Preset = "compact"  # of a fresh one
    prism: PrismSettings | None = None  # instead of the preset's
    integration: IntegrationSettings | FrameIntegrationSettings | None = None  # likewise
    freeze_prism: bool = False  # only the integrations train: for a start whose Prism has learned already
    pairs: Path  # a folder of cached pairs, made with this base
    validation: Path | None = None  # another one; none = the first of `pairs` are held back
    task: AdapterTaskSettings = AdapterTaskSettings()
    fit: FitSettings
    evaluation: HeldoutSettings = HeldoutSettings()  # of `evaluate --videos`; training does not read it

    def weights(self) -> FrozenWeights:
        """How the base's weights are to be held."""
        return FrozenWeights(
            self.base, self.base_parts, self.quantize, self.stream_base, self.fit.spread_base
        )


def first_process() -> bool:
    """Of those that torchrun starts; the only one otherwise."""
    return launched()[0] == 0


def adapter_to_train(
    base: BaseLike,
    start: str | None,
    preset: Preset,
    prism: PrismSettings | None = None,
    integration: IntegrationSettings | FrameIntegrationSettings | None = None,
    seed: int = 0,
) -> ActionAdapter:
    """The adapter to start from, or without one a fresh one of these sizes, made by the seed.

    Raises AdapterMismatch when it does not fit this base, SettingsError for sizes beside a start, or for
    sizes that do not fit into memory.
    """
    base = base_of(base)
    if start is None:
        with torch.device("meta"):  # takes no memory
            sized = ActionAdapter.for_base(base, preset, prism=prism, integration=integration)
        check_memory(sum(parameter.numel() for parameter in sized.parameters()), base.pipe.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh: ActionAdapter = ActionAdapter.for_base(base, preset, prism=prism, integration=integration)
            return fresh
    if prism is not None or integration is not None:
        raise SettingsError(
            f"got the start {start} and sizes of a Prism or Integration; a start has its own sizes, so leave "
            "out `start`, or `prism` and `integration`"
        )
    adapter = load_adapter(start)
    adapter.check_fits(base)
    return adapter


def train(recipe: AdapterRecipe | Path | str) -> Path:
    """Train an adapter on a frozen base, from pairs that `echoreel prepare pairs` encoded.

    Stopped at any moment, the same call resumes from the last checkpoint, to the same bits.

    Args:
        recipe: a recipe, or its TOML file.

    Returns:
        The adapter's folder, `folder/adapter`, for `load_adapter`.

    Raises:
        SettingsError: the recipe has a mistake.
        CheckpointError: the run folder belongs to another recipe, or is damaged.
        AdapterMismatch: the adapter to start from does not fit the base.
        EchoReelError: the pairs cannot be used, or the loss is not finite.
        KeyboardInterrupt: a signal stopped it, after a checkpoint.
    """
    recipe = recipe if isinstance(recipe, AdapterRecipe) else load_settings(recipe, AdapterRecipe)
    first, run, weights = first_process(), RunFolder(recipe.folder), recipe.weights()
    weights.check(recipe.task.gradient_checkpointing)
    with run.undone() if first else nullcontext():
        if first:
            with run.locked():
                check_run(run, recipe.fit)
                free = ("folder", "stream_base", "evaluation", *(f"fit.{name}" for name in FREE))
                run.bind(recipe, free=free, file="recipe.json")
        data = PairSet.open(recipe.pairs)
        validation = PairSet.open(recipe.validation) if recipe.validation else None
        check_task(recipe.task, data, validation)  # before captions are encoded

        def captions() -> list[str]:
            return ["", *data.all_captions(), *(validation.all_captions() if validation else ())]

        def adapter_for(base: BaseLike) -> ActionAdapter:
            parts = (recipe.start, recipe.preset, recipe.prism, recipe.integration)
            return adapter_to_train(base, *parts, seed=recipe.task.seed)

        check = None if recipe.start is None else adapter_for
        loaded = load_frozen(weights, captions, recipe.folder, check)
        adapter = adapter_for(loaded.base)
        adapter.prism.requires_grad_(not recipe.freeze_prism)
        fit(AdapterTask(adapter, loaded, data, recipe.task, validation), recipe.fit, recipe.folder)
    adapter.detach()
    load_trained(recipe.folder, adapter)
    if first:
        save_adapter(adapter, recipe.folder / "adapter", _facts(recipe))
    return recipe.folder / "adapter"


def check_run(run: RunFolder, settings: FitSettings) -> None:
    """Raises OutputError, before any work, where files of others are in the way of checkpoints or result."""
    run.check_steps(settings.steps, settings.checkpoint_every)
    result = run.check_result("adapter")
    ours = (*FILES, FACTS)
    check_only(result, [name for name in files_in(result) if any(fnmatchcase(name, each) for each in ours)])


def _facts(recipe: AdapterRecipe) -> TrainingFacts | None:
    """None where the run's log has no line yet, since its minutes ran out before, or is damaged."""
    settings, name = recipe.model_dump(mode="json", exclude=PLACES), resolved(recipe.folder).name
    try:
        return facts_of(recipe.folder, recipe.base, recipe.pairs, settings, name=name)
    except (OSError, ValueError, LookupError, OverflowError):
        LOG.warning("the adapter gets no training.json: metrics.jsonl has no line that can be read")
        return None


def save_adapter(adapter: ActionAdapter, folder: Path, facts: TrainingFacts | None = None) -> None:
    """Write beside, then swap: killed in between, the next start saves again. Raises OutputError."""
    with written_beside(folder) as partial:
        adapter.save_pretrained(partial)
        if facts is None:
            (folder / FACTS).unlink(missing_ok=True)  # of the weights that were there
        else:
            (partial / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
