"""Action Prism: any length and resolution, a batch is its parts, and the paper's own function."""

import json
import re
from pathlib import Path

import pytest
import torch
from helpers.places import REFERENCE
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from echoreel.common.errors import AdapterMismatch
from echoreel.method.compact_prism import CompactPrismSettings, slot_grid
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.prism import make_prism

COMPACT = CompactPrismSettings(width=16, depth=2, heads=2, slots=5, token_width=8)
DENSE = DensePrismSettings(width=16, depth=2, heads=2, caption_width=12, latent_size=(6, 4))


@pytest.mark.parametrize("settings", [COMPACT, DENSE])
@pytest.mark.parametrize("captions", [True, False])
def test_a_batch_of_two_is_two_batches_of_one(settings: CompactPrismSettings, captions: bool) -> None:
    torch.manual_seed(0)
    prism = make_prism(settings, latent_channels=4, caption_width=10).eval()
    latents = torch.randn(2, 4, 5, 6, 4)
    text = torch.randn(2, 7, 10) if captions else None
    tokens = prism(latents, text)
    assert tokens.shape == (2, 5 * prism.slots_per_frame, prism.token_width)
    parts = [prism(latents[i : i + 1], None if text is None else text[i : i + 1]) for i in range(2)]
    assert_close(tokens, torch.cat(parts))


def test_the_compact_prism_takes_any_length_and_resolution() -> None:
    prism = make_prism(COMPACT, latent_channels=4, caption_width=10).eval()
    for frames, height, width in [(1, 2, 2), (9, 7, 5), (33, 4, 12)]:
        assert prism(torch.randn(1, 4, frames, height, width)).shape == (1, frames * 5, 8)


def test_in_training_tokens_spread_over_references_and_frames_with_unit_variance() -> None:
    """So that they cannot end up alike for all references; afterwards each reference stands for itself."""
    torch.manual_seed(0)
    prism = make_prism(COMPACT, latent_channels=4, caption_width=10).train()
    tokens = prism(torch.randn(4, 4, 6, 8, 8))
    assert_close(
        tokens.unflatten(1, (6, 5)).flatten(0, 1).var(0, unbiased=False), torch.ones(5, 8), atol=0.01, rtol=0
    )


def test_three_quarters_of_a_token_tell_only_what_changes_over_time() -> None:
    """Over the clip they average to the same for every reference; the lasting quarter does not."""
    torch.manual_seed(0)
    prism = make_prism(COMPACT, latent_channels=4, caption_width=10).eval()
    tokens = prism(torch.randn(2, 4, 6, 8, 8)).unflatten(1, (6, 5))
    first, second = tokens.mean(1)
    assert_close(first[:, 2:], second[:, 2:])
    assert (first[:, :2] - second[:, :2]).abs().max() > 0.01
    assert (tokens[0, 0] - tokens[0, 5])[:, 2:].abs().max() > 0.01


def test_the_dense_prism_refuses_another_resolution() -> None:
    prism = make_prism(DENSE, latent_channels=4, caption_width=10)
    with pytest.raises(AdapterMismatch, match="8 x 8 places, need 6 x 4"):
        prism(torch.randn(1, 4, 2, 8, 8))


def test_slots_cover_the_picture() -> None:
    for count in (1, 2, 5, 16, 30):
        centres = slot_grid(count)
        assert centres.shape == (count, 2)
        assert len(centres.unique(dim=0)) == count
        assert centres.abs().max() < 0.5
        assert abs(centres.mean()) < 0.1


def test_gradients_reach_every_parameter() -> None:
    for settings in (COMPACT, DENSE):
        prism = make_prism(settings, latent_channels=4, caption_width=10)
        prism(
            torch.randn(1, 4, 3, 6, 4), torch.randn(1, 3, 10), torch.randn(1, 2, 10)
        ).square().sum().backward()
        without = [name for name, p in prism.named_parameters() if p.grad is None]
        assert not without


RENAMED = [
    (r"^input_to_latent\.", "captions_in."),
    (r"^video_to_latent\.", "latents_in."),
    (r"^latent_to_T\.", "out."),
    (r"^net\.", "layers."),
    (r"\.net\.0\.proj\.", ".gated."),
    (r"\.net\.2\.", ".out."),
    (r"\.attn1_tmp\.", ".time."),
    (r"\.attn2_tmp\.", ".time_again."),
    (r"\.attn1\.", ".space."),
    (r"\.attn2\.", ".caption."),
    (r"\.to_q\.", ".query."),
    (r"\.to_k\.", ".key."),
    (r"\.to_v\.", ".value."),
    (r"\.to_out\.0\.", ".out."),
    (r"\.relative_position_k\.embeddings_table", ".relative_keys"),
    (r"\.relative_position_v\.embeddings_table", ".relative_values"),
    *((rf"\.ff{number}\.", f".feeds.{number - 1}.") for number in range(1, 5)),
    *((rf"\.norm{number}\.", f".norms.{place}.") for place, number in enumerate((1, 2, 3, 4, 5, 6, 7, 8))),
]


def theirs_to_ours(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a released Prism under the names of `DensePrism`."""
    ours = {}
    for name, tensor in tensors.items():
        if not name.startswith("video_inject_process.") or "latent_to_S" in name:
            continue
        name = name.removeprefix("video_inject_process.")
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        ours[name] = tensor.float()
    return ours


@pytest.mark.skipif(not REFERENCE.exists(), reason="needs ../shared/reference")
def test_the_dense_prism_is_the_released_one() -> None:
    name = str(REFERENCE / "echoreel_lvdm_shared")
    sizes = json.loads(Path(f"{name}.json").read_text())["prism"]
    settings = DensePrismSettings(
        width=sizes["latent_query_dim"],
        depth=sizes["layers"],
        heads=sizes["n_heads"],
        caption_width=sizes["latent_context_dim"],
    )
    prism = make_prism(settings, latent_channels=4, caption_width=sizes["input_context_dim"])
    prism.load_state_dict(theirs_to_ours(load_file(f"{name}.weights.safetensors")))
    io = load_file(f"{name}.io.safetensors")
    captions = torch.cat([io["text"], io["reference_text"]], dim=1).float()
    with torch.no_grad():
        tokens = prism(io["reference_latent"].float(), captions)
    assert_close(tokens, io["prism_temporal"].float(), atol=1e-4, rtol=1e-4)
