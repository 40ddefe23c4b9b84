"""Toys of the models that measure videos: real classes of transformers, tiny and with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
)

from helpers.toy_models import toy_tokenizer


def toy_clip(folder: Path) -> None:
    """Pictures of 32 x 32, texts of 16 tokens, vectors of 8 numbers."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = toy_tokenizer()
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 16,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {**small, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def toy_videomae(
    folder: Path, kind: Any = VideoMAEForVideoClassification, labels: Sequence[str] = ("one", "two")
) -> None:
    """Four frames of 32 x 32 to these actions."""
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        decoder_hidden_size=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        id2label=dict(enumerate(labels)),
    )
    kind(config).save_pretrained(folder)
    size = {"shortest_edge": 32}
    VideoMAEImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
