"""Tokens of prompts and captions: as ComfyUI's text encoders give them, and as in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from echoreel.common.errors import AdapterMismatch

from .families import KINDS


@dataclass(frozen=True, eq=False)
class Text:
    """Tokens (1, L, D), of padding 0; and a summary (1, D), where the encoder gives one."""

    tokens: Tensor
    summary: Tensor | None = None

    @classmethod
    def of(cls, conditioning: Any) -> "Text":
        """Of a CONDITIONING's first prompt."""
        tokens: Tensor = conditioning[0][0][:1]
        more: Mapping[str, Any] = conditioning[0][1]
        mask, summary = more.get("attention_mask"), more.get("pooled_output")
        if mask is not None:
            tokens = tokens * mask[:1].reshape(1, -1, 1).to(tokens)
        return cls(tokens, None if summary is None else summary[:1])

    def read(self, what: str, family: str, width: int | None = None) -> Tensor:
        """As in training: with zeros up to the family's number, and the summary behind where it is read.

        what: "a prompt", "a caption". width: of its tokens, or None for any. Raises AdapterMismatch for what
        another text encoder made.
        """
        kind, tokens = KINDS[family], self.tokens
        if width is not None and tokens.shape[-1] != width:
            raise AdapterMismatch(
                f"got {what} of width {tokens.shape[-1]}, need {width}; encode it with the model's text "
                "encoder"
            )
        tokens = pad(tokens, (0, 0, 0, max(0, kind.text - tokens.shape[1])))
        if not kind.summary:
            return tokens
        if self.summary is None or self.summary.shape[-1] > tokens.shape[-1]:
            raise AdapterMismatch(
                f"got {what} without a summary by CLIP, which {family} reads; encode it with DualCLIPLoader "
                "of the type hunyuan_video"
            )
        summary = pad(self.summary, (0, tokens.shape[-1] - self.summary.shape[-1]))
        return torch.cat([tokens, summary[:, None].to(tokens)], dim=1)
