"""A toy task for the training loop, slow where a test wants to kill it."""

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from echoreel.training.loop import FitSettings, noise_like, seeded


class ToyTask:
    """Learn x -> x @ W with a dropout on the way, a frozen part, and noise from the generator."""

    name = "toy"

    def __init__(self, rows: int = 4, dropout: float = 0.2, noise: float = 0.1, pause: float = 0.0) -> None:
        torch.manual_seed(0)
        frozen = nn.Linear(3, 3).requires_grad_(False)
        self.module: nn.Module = nn.Sequential(
            frozen, nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Linear(8, 2)
        )
        self.rows, self.noise, self.pause = rows, noise, pause
        self.seen: list[int] = []

    def batch(self, step: int) -> dict[str, Tensor]:
        """Rows `step * rows` and following of an endless table."""
        self.seen.append(step)
        rows = range(step * self.rows, (step + 1) * self.rows)
        return {"x": torch.stack([torch.randn(3, generator=seeded(1, row)) for row in rows])}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """Squared error on noisy inputs."""
        time.sleep(self.pause)
        x = batch["x"] + self.noise * noise_like(batch["x"], generator)
        return (self.module(x) - batch["x"][:, :2]).square().mean()

    def validate(self) -> dict[str, float]:
        """Error on the first rows, without noise."""
        x = torch.randn(16, 3, generator=seeded(2))
        return {"error": (self.module(x) - x[:, :2]).square().mean().item()}

    def sheet(self, path: Path) -> None:
        """A stand-in for a picture."""
        path.write_bytes(b"picture")


SETTINGS = FitSettings(
    steps=12,
    learning_rate=1e-2,
    warmup=3,
    schedule="cosine",
    ema=0.9,
    checkpoint_every=3,
    log_every=2,
    validate_every=4,
)


def plain_task() -> ToyTask:
    """Without chance and batch statistics: several processes can be compared with one."""
    task = ToyTask(dropout=0, noise=0)
    task.module[2] = nn.Identity()
    return task


PLAIN = FitSettings(steps=6, warmup=0, learning_rate=1e-2)
