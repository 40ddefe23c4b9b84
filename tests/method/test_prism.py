"""Action Prism: any length and resolution, and a batch is its parts."""

import pytest
import torch
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
