"""The training loop, whole: one function for every training here (autoencoder, base, adapter, judges).

Chance is a pure function of (seed, step) everywhere, so a run killed at any moment and started again with the
same command ends with the same bits as an uninterrupted one. On accelerate: one process as it is, several
under `torchrun`. A file longer than others, so that the whole of a training can be read in one place.
"""

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.tracking import get_available_trackers
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from echoreel.common.errors import CheckpointError, EchoReelError, SettingsError
from echoreel.common.files import written_beside
from echoreel.common.randomness import noise_like, seeded
from echoreel.training.batch_statistics import BatchStatistics
from echoreel.training.fit_settings import FREE, FitSettings
from echoreel.training.optimizer import adamw, rate_factor, restore
from echoreel.training.precision import EMULATED, Precision, computes_in_bf16, fast_kernels
from echoreel.training.prefetch import Batch, Feed, count_samples
from echoreel.training.run_folder import (
    RunFolder,
    RunState,
    Snapshot,
    copy_state,
    load_trained,
    train_mode,
    trained_state,
)
from echoreel.training.run_log import VALIDATION, Headline, RunLog
from echoreel.training.stop_signals import stop_signals

__all__ = ["FREE", "FitSettings", "Task", "TrainingDiverged", "fit", "load_trained", "noise_like", "seeded"]

LOG = logging.getLogger(__name__)


class TrainingDiverged(EchoReelError):
    """The loss is not finite."""


class Task(Protocol):
    """What `fit` trains."""

    @property
    def name(self) -> str:
        """One word; a run folder belongs to one task."""

    @property
    def module(self) -> nn.Module:
        """Owns all that trains (`requires_grad`); frozen submodules may lie in it and are not saved."""

    def batch(self, step: int) -> Batch:
        """Batch number `step`: a pure function of it, called from other threads, tensors on the CPU."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Scalar. `batch` is on the module's device, `generator` on the CPU (`noise_like` draws with it)."""

    def validate(self) -> dict[str, float]:
        """Numbers on fixed data and fixed noise; called in evaluation mode, without gradients."""

    def sheet(self, path: Path) -> None:
        """Write a picture of progress to `path` (.png), or do nothing."""


@runtime_checkable
class TellsBatches(Protocol):
    """A task whose batches have names that help to find what is wrong in one."""

    def told(self, step: int) -> str:
        """What batch number `step` holds, for a message."""


@runtime_checkable
class SpreadsBase(Protocol):
    """A task with a frozen base, whose weights several processes can share."""

    def spread(self, device: torch.device) -> None:
        """Keep only this process's part of the base's weights, on the device. Called once, by all."""


@runtime_checkable
class HasHeadline(Protocol):
    """A task with more validation numbers than people read."""

    headline: Headline


def fit(task: Task, settings: FitSettings, folder: Path) -> int:
    """Train `task` in `folder`, from its newest checkpoint if there is one. Returns the step reached.

    That is less than `settings.steps` only when `settings.minutes` ran out. The module then holds the live
    weights. Raises CheckpointError for the folder of another run, and for changed settings. Raises
    OutputError when another process trains there or the disk is full; the same call then resumes. Raises
    TrainingDiverged. Ctrl-C, SIGTERM and a closed terminal write a checkpoint and raise
    KeyboardInterrupt with a message.
    """
    # A batch may leave parts untouched; what batch norms count is shared by `BatchStatistics`.
    several = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    run = RunFolder(Path(folder))
    _check_trackers(settings)
    _check_launcher()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        kwargs_handlers=[several],
        log_with=[*settings.trackers] or None,
        project_dir=run.path,
    )
    first = accelerator.is_main_process
    with run.undone() if first else nullcontext(), run.locked() if first else nullcontext():
        if accelerator.is_main_process:
            run.check_steps(settings.steps, settings.checkpoint_every)
            run.bind(settings, free=FREE)
        accelerator.wait_for_everyone()
        spread = settings.spread_base and _spread(task, accelerator)
        training = _Training(task, settings, accelerator, run, spread)
        start = training.resume()
        steps = range(start, settings.steps)
        if settings.trackers:
            accelerator.init_trackers(run.path.name)
        log = RunLog(
            run.path,
            task.name,
            steps,
            settings.tensorboard,
            accelerator.is_main_process,
            task.headline if isinstance(task, HasHeadline) else None,
            accelerator.trackers if settings.trackers else (),
        )
        if settings.precision == "bf16" and not computes_in_bf16(accelerator.device):
            log.note(EMULATED)
        if settings.warmup > settings.steps:
            log.note(
                f"fit.warmup is {settings.warmup} of {settings.steps} steps, so the learning rate ends at "
                f"{settings.learning_rate * rate_factor(settings.steps - 1, settings):.3g}; lower warmup"
            )
        with (
            log,
            stop_signals() as signals,
            Feed(task.batch, training.indices(steps), settings.prefetch) as feed,
        ):
            return _loop(training, log, signals, feed)


def _loop(training: "_Training", log: RunLog, signals: list[str], feed: "Feed") -> int:
    settings, began = training.settings, time.monotonic()
    step, saved, saving = training.step, training.step, began
    while step < settings.steps:
        training.optimize(feed)
        step = training.step
        log.advance(step)
        now = time.monotonic()
        stop = training.agree(bool(signals) or _passed(settings.minutes, now - began))
        late = training.agree(_passed(settings.checkpoint_minutes, now - saving))
        final = step == settings.steps
        validate = settings.validate_every > 0 and (final or step % settings.validate_every == 0)
        if validate or final or step % settings.log_every == 0:
            log.write(step, training.numbers() | (training.validate() if validate else {}))
        if stop or final or late or _due(step, settings.checkpoint_every):
            training.save()
            saved, saving = step, time.monotonic()
        if _due(step, settings.sheet_every):
            training.sheet()
        if stop:
            break
    if training.agree(bool(signals)):
        raise KeyboardInterrupt(
            f"{', '.join(signals) or 'a signal'}: stopped with a checkpoint at step {saved} "
            f"of {settings.steps} in {training.run.path}; the same command resumes"
        )
    if step < settings.steps and training.accelerator.is_main_process:
        LOG.warning(
            "fit.minutes ran out at step %d of %d; raise it and run the same command to go on",
            step,
            settings.steps,
        )
    return step


class _Training:
    """The state of one training: weights, their average, the optimizer, and running numbers."""

    def __init__(
        self, task: Task, settings: FitSettings, accelerator: Accelerator, run: RunFolder, spread: bool
    ) -> None:
        self.task, self.settings, self.accelerator, self.run = task, settings, accelerator, run
        self.spread = spread  # the base's weights over the processes: what computes with it needs them all
        self.accumulate = settings.accumulate  # batches that this process takes in a step
        self.loss = accelerator.prepare(_Loss(task, settings.precision))
        self.statistics = BatchStatistics(task.module, accelerator)
        self.state = trained_state(task.module)
        self.parameters = {name: t for name, t in self.state.items() if isinstance(t, nn.Parameter)}
        if not self.parameters:
            raise EchoReelError(f"{task.name}: nothing to train; need parameters with requires_grad")
        self.optimizer = adamw(list(self.parameters.values()), settings)
        self.ema: dict[str, Tensor] = {}
        self.step = 0
        self.elapsed = 0.0  # seconds of training in all, over every start
        self.totals = {"loss": 0.0, "gradient_norm": 0.0, "steps": 0.0}  # since the last log line
        self._pending: list[Tensor] = []  # (loss, gradient norm) of steps not yet read from the device
        self._clock, self._samples, self._sample_clock = time.monotonic(), 0, time.monotonic()

    def resume(self) -> int:
        """Take over the newest checkpoint, if there is one. Returns the step to go on from."""
        snapshot = self.run.load()
        if snapshot:
            state = snapshot.state
            if state.task != self.task.name:
                raise CheckpointError(
                    f"{self.run.path} trains {state.task!r}, not {self.task.name!r}; choose another folder"
                )
            self.accumulate = self._share(state.batches or self.settings.accumulate * self.world)
            copy_state(snapshot.weights, self.state)
            self._resume_optimizer(snapshot)
            self.step, self.elapsed, self.totals = state.step, state.elapsed, self.totals | state.totals
        if self.settings.ema:
            source = snapshot.ema if snapshot else self.parameters
            if missing := sorted(self.parameters.keys() - source.keys()):
                raise self._damaged(f"its averaged weights lack {missing[0]}")
            self.ema = {
                n: source[n].detach().to(p.device, torch.float32, copy=True)
                for n, p in self.parameters.items()
            }
        train_mode(self.task.module)
        return self.step

    @property
    def world(self) -> int:
        """How many processes train."""
        return int(self.accelerator.num_processes)

    def _share(self, batches: int) -> int:
        """How many batches of a step this process takes, of so many: a step stays the same step.

        Raises CheckpointError when the processes cannot share them equally.
        """
        if batches % self.world:
            some = [str(count) for count in range(1, batches + 1) if batches % count == 0]
            raise CheckpointError(
                f"{self.run.path} was started with {batches} batches a step, which {self.world} processes "
                f"cannot share equally; start {' or '.join(some)}, or choose another folder"
            )
        return batches // self.world

    def _resume_optimizer(self, snapshot: Snapshot) -> None:
        """Raises CheckpointError when its state is of other parameters, or cannot be."""
        try:
            restore(self.optimizer, snapshot.optimizer)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self._damaged("its optimizer has the state of other parameters, or NaN") from error

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.run.latest()} is damaged ({why}); delete it to resume from the one before"
        )

    def indices(self, steps: range) -> range:
        """Numbers of the batches that this process takes in `steps`: another set in every process."""
        world, rank = self.world, self.accelerator.process_index
        first, last = (step * self.accumulate * world for step in (steps.start, steps.stop))
        return range(first + rank, last + rank, world)

    def optimize(self, feed: "Feed") -> None:
        """One optimizer step."""
        rate = self.settings.learning_rate * rate_factor(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = []
        for micro in range(self.accumulate):
            index, batch = feed.next()
            self._samples += count_samples(batch) * self.world
            batch = send_to_device(batch, self.accelerator.device)
            final = micro == self.accumulate - 1
            with nullcontext() if final else self.accelerator.no_sync(self.loss), self.statistics.batch():
                loss = self.loss(batch, *_chance(self.settings.seed, index)) / self.accumulate
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        limit = self.settings.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.statistics.share()
        self.step += 1
        self._pending.append(torch.stack([torch.stack(losses).sum().float(), norm.float()]))
        if self.ema:
            self._average()

    def agree(self, flag: bool) -> bool:
        """True in every process as soon as it is in one."""
        if self.world == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device)).item())

    def numbers(self) -> dict[str, float]:
        """Means since the last call, learning rate and speed. Raises TrainingDiverged."""
        self._read()
        steps, now = self.totals["steps"], time.monotonic()
        numbers = {
            "loss": self.totals["loss"] / steps,
            "gradient_norm": self.totals["gradient_norm"] / steps,
            "lr": self.settings.learning_rate * rate_factor(self.step - 1, self.settings),
            "samples_per_second": self._samples / (now - self._sample_clock),
            "elapsed": self._seconds(),
        }
        self.totals = dict.fromkeys(self.totals, 0.0)
        self._samples, self._sample_clock = 0, now
        return numbers

    def validate(self) -> dict[str, float]:
        """The task's numbers, with averaged weights where there are any."""
        with self._exported():
            return {VALIDATION + name: value for name, value in self.task.validate().items()}

    def sheet(self) -> None:
        """sheets/step-….png, from the first process, written beside and renamed."""
        path = self.run.path / "sheets" / f"step-{self.step:06d}.png"
        if self.accelerator.is_main_process:
            with self._exported(), written_beside(path) as partial:
                self.task.sheet(partial)
        elif self.spread:  # the first one needs the weights of all
            with self._exported(), tempfile.TemporaryDirectory() as folder:
                self.task.sheet(Path(folder) / path.name)

    def save(self) -> None:
        """Write a checkpoint. Raises TrainingDiverged first, so that none holds broken weights."""
        self._read()
        state = RunState(
            step=self.step,
            task=self.task.name,
            elapsed=self._seconds(),
            totals=self.totals,
            ema=bool(self.ema),
            batches=self.accumulate * self.world,
        )
        if self.accelerator.is_main_process:
            self.run.save(Snapshot(self.state, self.ema, self.optimizer.state_dict(), state))
        self.accelerator.wait_for_everyone()

    def _read(self) -> None:
        """Fetch the pending losses: one wait for the device per log interval, not one per step."""
        if not self._pending:
            return
        values = self.accelerator.reduce(torch.stack(self._pending), reduction="mean").tolist()
        for step, (loss, norm) in enumerate(values, self.step - len(values) + 1):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingDiverged(
                    f"{self.task.name}: loss {loss}, gradient norm {norm} at step {step}, on "
                    f"{self._batches(step)}; lower learning_rate, take precision = 'fp32', or look for "
                    "what is wrong there; the last checkpoint is from before that step"
                )
            self.totals["loss"] += loss
            self.totals["gradient_norm"] += norm
            self.totals["steps"] += 1
        self._pending.clear()

    def _batches(self, step: int) -> str:
        """Names the batches of an optimizer step in a message."""
        indices = self.indices(range(step - 1, step))
        if isinstance(self.task, TellsBatches):
            return "; ".join(self.task.told(index) for index in indices[:4])
        return f"batch {indices[0]}" + (f" to {indices[-1]}" if len(indices) > 1 else "")

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average; its decay rises from 0.1 so that early weights are soon forgotten."""
        decay = min(self.settings.ema, self.step / (9 + self.step))
        live = [parameter.float() for parameter in self.parameters.values()]
        average = get_ema_multi_avg_fn(decay)
        average(list(self.ema.values()), live, None)

    @contextmanager
    def _exported(self) -> Iterator[None]:
        """The module as it will be exported: averaged weights, evaluation mode, no gradients."""
        live = {name: self.parameters[name].detach().clone() for name in self.ema}
        self.task.module.eval()
        try:
            with torch.no_grad(), fast_kernels(self.accelerator.device, self.settings.precision):
                copy_state(self.ema, {name: self.parameters[name] for name in self.ema})
                yield
        finally:
            copy_state(live, {name: self.parameters[name] for name in live})
            train_mode(self.task.module)

    def _seconds(self) -> float:
        now = time.monotonic()
        self.elapsed, self._clock = self.elapsed + now - self._clock, now
        return self.elapsed


class _Loss(nn.Module):
    """One module around the task's loss: what several processes share goes through its forward."""

    def __init__(self, task: Task, precision: Precision) -> None:
        super().__init__()
        self.module, self._task, self._precision = task.module, task, precision

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        with fast_kernels(next(self.module.parameters()).device, self._precision):
            return self._task.loss(batch, generator)


def _chance(seed: int, index: int) -> tuple[torch.Generator]:
    """The loss's generator; dropout draws from torch's own generator, so that is set as well."""
    generator = seeded(seed, index)
    torch.manual_seed(generator.initial_seed())
    return (generator,)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _passed(minutes: float, seconds: float) -> bool:
    return minutes > 0 and seconds > minutes * 60


def _check_launcher() -> None:
    """Raises SettingsError for ways to share out weights that accelerate has beside ours."""
    for name, told in (("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_FSDP", "FSDP")):
        if os.environ.get(name, "").lower() == "true":
            raise SettingsError(
                f"accelerate was told to use {told}, which shares out what trains, and an adapter is small; "
                "start with torchrun, and set spread_base = true in [fit] to share out the frozen base"
            )


def _spread(task: Task, accelerator: Accelerator) -> bool:
    """Whether the base's weights were spread over the processes. Raises SettingsError where there is none."""
    if not isinstance(task, SpreadsBase):
        raise SettingsError(f"spread_base: {task.name} has no frozen base to spread; leave it out")
    if accelerator.num_processes == 1:
        return False
    task.spread(accelerator.device)
    return True


def _check_trackers(settings: FitSettings) -> None:
    """Raises SettingsError for a log whose package is not installed."""
    available = {str(kind) for kind in get_available_trackers()}
    if missing := [name for name in settings.trackers if name not in available]:
        raise SettingsError(
            f"trackers: the package of {missing[0]} is not installed; pip install it, or leave it out"
        )
