"""A base's text encoder learns to read prompts as people write them; all else of the base stays what it is.

The new encoder reads a prompt and gives what the old one gives for the full caption that the prompt means
(distillation: Hinton et al. 2015). It reads both ways, unlike CLIP's, since a caption's first words may
depend on a prompt's last. No pictures are needed, so this takes minutes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from pydantic import Field, PositiveInt
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

from echoreel.actors.looks import COLOURS, HAIRS, PLACES, TOPS, full_caption, sample_caption, sample_look
from echoreel.actors.motion_library import MotionLibrary
from echoreel.bases.loading import load_base
from echoreel.common.files import written_beside
from echoreel.common.settings import Settings
from echoreel.embedded_base.prompts import LETTERS, UNKNOWN_ACTION, Prompt, sample_prompt
from echoreel.embedded_base.tokenizer import MAX_TOKENS, load_tokenizer
from echoreel.training.loop import FitSettings, fit, load_trained

VALIDATION_SEED = 2**40  # prompts of this seed are never trained on
PARTS = {
    "with {} hair": tuple(HAIRS),
    "in a {} ": tuple(COLOURS),
    " {} and": TOPS,
    "and {} trousers": tuple(COLOURS),
    "{}": tuple(place.phrase for place in PLACES.values()),
}
"""How each part stands in a full caption."""


class PromptRecipe(Settings):
    """Settings of `train_prompts`."""

    motions: Path | None = None  # a motion library, for the names of actions
    split: str = "train"
    folder: Path = Path("runs/prompts")
    base: str = "embedded"  # whose text encoder is the teacher, or a folder
    layers: PositiveInt = 4  # of the new encoder; as wide as the old one
    heads: PositiveInt = 4
    feed_forward: PositiveInt = 3  # its hidden width, in widths
    batch: PositiveInt = 64  # prompts
    empty: float = Field(0.06, ge=0, le=1)  # share of prompts without a word, for guidance
    captions: float = Field(0.19, ge=0, le=1)  # share of plain captions, which mean themselves
    validation_prompts: PositiveInt = 96
    fit: FitSettings


class PromptTask:
    """What `fit` trains: the new text encoder."""

    name = "prompts"

    def __init__(self, recipe: PromptRecipe, actions: Sequence[str], teacher: Any) -> None:
        """`teacher`: the base's pipeline, of which the text encoder and the tokenizer are used."""
        torch.manual_seed(recipe.fit.seed)
        self.recipe, self.actions, self._teacher = recipe, tuple(actions), teacher
        self.tokenizer = load_tokenizer()
        self.module: Any = build_prompt_encoder(
            recipe, teacher.text_encoder.config.hidden_size, len(self.tokenizer)
        )

    def batch(self, step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([self.recipe.fit.seed, 6, step])
        prompts = [self._prompt(rng) for _ in range(self.recipe.batch)]
        return {
            "words": _ids(self.tokenizer, [prompt.text for prompt in prompts]),
            "meant": _ids(self._teacher.tokenizer, [prompt.meaning for prompt in prompts]),
        }

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Mean squared difference of all tokens, place by place."""
        with torch.no_grad():
            target = self._teacher.text_encoder(batch["meant"]).last_hidden_state
        return F.mse_loss(self.module(batch["words"]).last_hidden_state, target)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The error, relative to how much meanings differ, and the share of prompts that are understood.

        Understood: nearer to its own meaning than to the same one with one part replaced."""
        rng = np.random.default_rng(VALIDATION_SEED)
        prompts = [self._free(rng) for _ in range(self.recipe.validation_prompts)]
        device = next(self.module.parameters()).device
        given = self.module(_ids(self.tokenizer, [p.text for p in prompts]).to(device)).last_hidden_state
        meant = self._meanings([p.meaning for p in prompts], device)
        own = (given - meant).square().mean((1, 2))
        nearer = torch.ones(len(prompts), dtype=torch.bool, device=device)
        for pattern, values in PARTS.items():
            others = [_another(p.meaning, pattern, values, rng) for p in prompts]
            nearer &= own < (given - self._meanings(others, device)).square().mean((1, 2))
        spread = (meant - meant.mean(0)).square().mean()
        return {"error": float(own.mean() / spread), "told_apart": float(nearer.float().mean())}

    def sheet(self, path: Path) -> None:
        """Nothing to see."""

    def _prompt(self, rng: Generator) -> Prompt:
        chance = rng.random()
        if chance < self.recipe.empty:
            return Prompt("", "")
        if chance >= self.recipe.empty + self.recipe.captions:
            return self._free(rng)
        look, unknown = sample_look(rng), rng.random() < 0.2
        known = self.actions[rng.integers(len(self.actions))]
        action = "doing a " + "".join(rng.choice(LETTERS, rng.integers(3, 9))) if unknown else known
        plain = (
            full_caption(look, action) if rng.random() < 0.5 else sample_caption(look, action, rng, drop=0.0)
        )
        return Prompt(plain, full_caption(look, UNKNOWN_ACTION if unknown else action))

    def _free(self, rng: Generator) -> Prompt:
        """One that fits: what a longer one says at its end is cut off."""
        while True:
            prompt = sample_prompt(self.actions, rng)
            if len(self.tokenizer(prompt.text)["input_ids"]) <= MAX_TOKENS:
                return prompt

    def _meanings(self, captions: Sequence[str], device: torch.device) -> Tensor:
        ids = _ids(self._teacher.tokenizer, captions).to(device)
        tokens: Tensor = self._teacher.text_encoder.to(device)(ids).last_hidden_state
        return tokens


def train_prompts(recipe: PromptRecipe) -> Path:
    """Train, going on from what `recipe.folder` holds; write `folder/base`, the base with the new encoder and
    its tokenizer, and return it. Raises as `load_base`, `MotionLibrary.load` and `fit`."""
    base: Any = load_base(recipe.base)
    task = PromptTask(recipe, MotionLibrary.load(recipe.motions).split(recipe.split).actions, base)
    fit(task, recipe.fit, recipe.folder)
    load_trained(recipe.folder, task.module)
    parts = base.components | {"text_encoder": task.module.eval(), "tokenizer": task.tokenizer}
    finished = recipe.folder / "base"
    recommended = Path(base.name_or_path) / "generation.json"
    with written_beside(finished) as partial:
        type(base)(**parts).to(dtype=torch.float16).save_pretrained(partial)  # anew: the path is not saved
        if recommended.is_file():
            (partial / recommended.name).write_bytes(recommended.read_bytes())
    return finished


def build_prompt_encoder(recipe: PromptRecipe, width: int, words: int) -> DistilBertModel:
    """Untrained; token ids (B, MAX_TOKENS) become tokens (B, MAX_TOKENS, width)."""
    config = DistilBertConfig(
        vocab_size=words,
        max_position_embeddings=MAX_TOKENS,
        dim=width,
        n_layers=recipe.layers,
        n_heads=recipe.heads,
        hidden_dim=recipe.feed_forward * width,
        dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=0,
    )
    return DistilBertModel(config)


def _ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    padded = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = padded["input_ids"]
    return ids


def _another(caption: str, pattern: str, values: Sequence[str], rng: Generator) -> str:
    """The caption with another value of a part."""
    present = next(value for value in values if pattern.format(value) in caption)
    value = rng.choice([value for value in values if value != present])
    return caption.replace(pattern.format(present), pattern.format(value), 1)
