"""What the embedded base's text encoder learns before anything is drawn: to tell what a caption says.

Captions without end and without pictures, so this costs minutes. Afterwards the encoder is frozen, and the
denoiser finds hair, clothes, place and action in its tokens ready to use, as it would in those of CLIP.
Learned with the denoiser alone, clothes did not follow the caption (docs/research/log.md).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from echoreel.actors.looks import (
    COLOURS,
    HAIRS,
    PLACES,
    TOPS,
    Look,
    hidden_action,
    sample_caption,
    sample_look,
)
from echoreel.embedded_base.architecture import BaseSettings, build_text_encoder
from echoreel.embedded_base.tokenizer import load_tokenizer

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
PARTS: dict[str, tuple[str, ...]] = {
    "hair": tuple(HAIRS),
    "shirt": tuple(COLOURS),
    "top": TOPS,
    "trousers": tuple(COLOURS),
    "place": tuple(PLACES),
}
"""What a caption can say of a look; each has one more class for what it does not say."""


def disturbed(caption: str, rng: Generator) -> str:
    """One caption in ten is empty, for guidance. Another one in ten has a word nobody knows.

    So new words, such as names of new actions, mean nothing rather than something wrong."""
    chance = rng.random()
    if chance < 0.1:
        return ""
    words = caption.split()
    if chance < 0.2:
        words[rng.integers(len(words))] = "".join(rng.choice(LETTERS, rng.integers(3, 11)))
    return " ".join(words)


def said(caption: str, look: Look) -> dict[str, int]:
    """The class of each part of the look that the caption tells, or the last one, "not said"."""
    phrases = {
        "hair": f"{look.hair} hair",
        "shirt": f"a {look.shirt} {look.top}",
        "top": f"a {look.shirt} {look.top}",
        "trousers": f"{look.trousers} trousers",
        "place": PLACES[look.place].phrase,
    }
    return {
        part: classes.index(getattr(look, part)) if phrases[part] in caption else len(classes)
        for part, classes in PARTS.items()
    }


class CaptionTask:
    """The text encoder, and a linear layer that reads parts of the look and actions from its last tokens."""

    name = "captions"

    def __init__(
        self, actions: Sequence[str], settings: BaseSettings, batch_size: int, hide_action: float, seed: int
    ) -> None:
        """`actions`: every phrase that a caption may have; of spliced takes it has two."""
        self.actions, self.batch_size, self.hide_action, self.seed = actions, batch_size, hide_action, seed
        self.tokenizer = load_tokenizer()
        self._classes = [len(classes) + 1 for classes in PARTS.values()]
        self.module = nn.ModuleDict(
            {
                "text_encoder": build_text_encoder(settings, self.tokenizer),
                "head": nn.Linear(settings.text_width, sum(self._classes) + len(actions)),
            }
        )

    def batch(self, step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([self.seed, 4, step])
        captions, parts, acts = [], [], torch.zeros(self.batch_size, len(self.actions))
        for row in range(self.batch_size):
            look = sample_look(rng)
            done = [int(i) for i in rng.integers(len(self.actions), size=1 + (rng.random() < 0.3))]
            told = rng.random() >= self.hide_action
            action = " while ".join(self.actions[i] for i in done) if told else hidden_action(rng)
            caption = disturbed(sample_caption(look, action, rng), rng)
            captions.append(caption)
            parts.append([*said(caption, look).values()])
            if told and action in caption:
                acts[row, done] = 1
        padded = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        return {"words": padded["input_ids"], "parts": torch.tensor(parts), "actions": acts}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Cross-entropies of the parts, and ten times that of each action being there or not."""
        parts, actions = self._told(batch["words"])
        look = sum(F.cross_entropy(logits, batch["parts"][:, i]) for i, logits in enumerate(parts))
        total: Tensor = look + 10 * F.binary_cross_entropy_with_logits(actions, batch["actions"])
        return total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Share of captions of which each part, and all actions, are told right."""
        batch = self.batch(2**40)
        device = next(self.module.parameters()).device
        parts, actions = self._told(batch["words"].to(device))
        right = {
            name: logits.argmax(-1).cpu() == batch["parts"][:, i]
            for i, (name, logits) in enumerate(zip(PARTS, parts, strict=True))
        }
        right["actions"] = ((actions.cpu() > 0) == batch["actions"].bool()).all(1)
        return {name: values.float().mean().item() for name, values in right.items()}

    def sheet(self, path: Path) -> None:
        """Nothing to see."""

    def _told(self, words: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Logits of each part, and of each action, from the tokens at and after the caption's end."""
        hidden = self.module["text_encoder"](words).last_hidden_state.float()
        ends = ((words == self.tokenizer.eos_token_id).cumsum(1) > 0).unsqueeze(-1)
        logits = self.module["head"]((hidden * ends).sum(1) / ends.sum(1))
        *parts, actions = logits.split([*self._classes, len(self.actions)], dim=-1)
        return tuple(parts), actions
