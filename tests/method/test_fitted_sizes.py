"""An adapter's sizes fit its base: as fine as its tokens need, and small beside it."""

import sys
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from helpers.places import ROOT
from helpers.toy_models import toy_pipeline

from echoreel.bases.known_bases import KNOWN
from echoreel.bases.sketch import parameters, sketched
from echoreel.common.errors import SettingsError
from echoreel.method.adapter import ActionAdapter
from echoreel.method.compact_prism import CompactPrism, CompactPrismSettings
from echoreel.method.fitted_sizes import Grid, slot_rows_and_columns
from echoreel.method.integration import IntegrationSettings
from echoreel.method.networks import preset_sizes

TABLE = (ROOT / "docs" / "adapter-sizes.md").read_text()


@pytest.fixture(scope="module")
def sizes_of() -> Callable[[str], tuple[object, ...]]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return import_module("overhead").sizes_of
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["animatediff", "wan-1.3b", "wan-14b", "ltx", "cogvideox-2b"])
def test_an_adapter_is_at_most_three_hundredths_of_its_base_as_the_docs_say(
    name: str, sizes_of: Callable[[str], tuple[object, ...]]
) -> None:
    assert f"| {' | '.join(map(str, (name, *sizes_of(name))))} |" in TABLE
    base = sketched(name)[0]
    with torch.device("meta"):
        adapter = ActionAdapter.for_base(base)
    assert parameters(adapter) <= 0.03 * parameters(base.denoiser)
    assert adapter.config["prism_config"] == preset_sizes(base)[0].model_dump(mode="json")
    assert all(f"| {each} |" in TABLE for each in KNOWN)


@pytest.mark.parametrize(
    ("grid", "slots"),
    [
        (Grid(30, 52), (8, 14)),
        (Grid(52, 30), (14, 8)),
        (Grid(4, 4), (4, 4)),
        (Grid(1, 1), (1, 1)),
        (Grid(8, 400), (8, 16)),
        (Grid(2, 3), (2, 3)),
    ],
)
def test_slots_follow_the_shape_of_the_picture(grid: Grid, slots: tuple[int, int]) -> None:
    assert slot_rows_and_columns(grid) == slots


def test_a_base_of_8x8_latents_keeps_the_sizes_that_were_trained() -> None:
    prism, integration = preset_sizes(toy_pipeline())
    assert prism == CompactPrismSettings(rows=4)
    assert integration == IntegrationSettings(feed_forward=96, slot_rows=4)
    torch.manual_seed(0)
    before = CompactPrism(CompactPrismSettings(), 4, 16)
    torch.manual_seed(0)
    now = CompactPrism(prism, 4, 16)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), now.parameters(), strict=True))


def test_slots_lie_in_rows_and_look_as_sharply_as_they_lie() -> None:
    usual = CompactPrism(CompactPrismSettings(), 4, 16)
    fine = CompactPrism(CompactPrismSettings(slots=112, rows=8), 4, 16)
    assert fine.slot_centres[:, 0].unique().numel() == 8
    assert fine.slot_centres[:, 1].unique().numel() == 14
    next_row = [prism.log_slopes.exp()[0] * (1 / rows) ** 2 for prism, rows in ((usual, 4), (fine, 8))]
    torch.testing.assert_close(*next_row)


def test_another_preset_is_told() -> None:
    with pytest.raises(SettingsError, match="got preset 'tiny', need one of compact"):
        preset_sizes(toy_pipeline(), "tiny")  # type: ignore[arg-type]
