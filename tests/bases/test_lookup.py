"""The table of bases: sites found by path, families by class, token grids by size."""

import re
import runpy

import pytest
import torch
from diffusers import UNet2DConditionModel
from helpers.places import ROOT
from helpers.toy_bases import CALLS
from helpers.toy_models import toy_pipeline, toy_unet
from torch import nn

from echoreel.bases.animatediff import AnimateDiff
from echoreel.bases.lookup import FAMILIES, base_of
from echoreel.common.errors import AdapterMismatch, BaseUnsupported
from echoreel.method.attachment import site_sizes
from echoreel.method.who_reads import Reading, reading_rows


def test_a_pipeline_and_its_denoiser_are_of_the_same_family() -> None:
    pipe = toy_pipeline()
    assert base_of(pipe) == AnimateDiff(pipe.unet, pipe)
    assert base_of(pipe.unet) == AnimateDiff(pipe.unet) == base_of(pipe).bare()
    assert base_of(base_of(pipe)) == base_of(pipe)
    compiled = torch.compile(pipe.unet)
    assert base_of(compiled).denoiser is pipe.unet


def test_entries_name_their_axes() -> None:
    for family in FAMILIES:
        assert sorted(family.layout.replace("(", "").replace(")", "").split()) == ["b", "c", "h", "t", "w"]
        assert family.layout.lstrip("(").startswith("b")


def test_sites_and_widths() -> None:
    sites = AnimateDiff(toy_unet()).find_sites()
    assert len(sites) == 7
    assert sites["down_blocks.1.motion_modules.0"] == 16
    assert set(sites.values()) == {8, 16}


def test_a_base_without_sites_is_refused() -> None:
    image_model = UNet2DConditionModel(
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    with pytest.raises(BaseUnsupported, match="got UNet2DConditionModel, need"):
        base_of(image_model)
    with pytest.raises(BaseUnsupported, match="without any layer"):
        AnimateDiff(nn.Identity()).find_sites()


@pytest.mark.parametrize(
    ("tokens", "grid"), [(3 * 7 * 10, (7, 10)), (3 * 4 * 5, (4, 5)), (3 * 2 * 3, (2, 3)), (3, (1, 1))]
)
def test_the_grid_of_a_site_follows_from_its_tokens(tokens: int, grid: tuple[int, int]) -> None:
    assert site_sizes(tokens, 3, 7, 10) == {"t": 3, "h": grid[0], "w": grid[1]}


def test_a_site_that_fits_no_grid_is_refused() -> None:
    with pytest.raises(AdapterMismatch, match="got 100 tokens"):
        site_sizes(100, 3, 7, 10)


def test_rows_that_read() -> None:
    assert reading_rows(2, 2, guided=False, guidance="positive") == Reading()
    assert reading_rows(6, 2, guided=False, guidance="positive") == Reading()
    assert reading_rows(8, 2, guided=True, guidance="positive") == Reading(first=4)
    assert reading_rows(8, 2, guided=True, guidance="both") == Reading(groups=2)
    for rows, sets, guided in [(3, 2, False), (6, 2, True), (3, 1, True), (1, 2, False)]:
        with pytest.raises(AdapterMismatch, match=f"got {rows} rows.* for {sets} sets"):
            reading_rows(rows, sets, guided, "positive")


def test_every_video_pipeline_of_diffusers_is_claimed_or_has_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "scripts" / "new-bases"), run_name="__main__")
    told = capsys.readouterr().out
    assert done.value.code == 0, told
    assert re.search(r"^Allegro\w+ +not joined yet$", told, re.MULTILINE)
    listed = {line.split()[0] for line in told.splitlines()}
    assert not listed & {*CALLS, "WanPipeline", "WanVACEPipeline", "LTX2Pipeline", "AnimateDiffPipeline"}


def test_every_family_is_in_the_table_of_all_bases() -> None:
    full = runpy.run_path(str(ROOT / "benchmarks" / "bases.py"))["FULL"]
    assert {family.denoiser_type for family in FAMILIES} == {base.kind for base in full.values()}
    page = (ROOT / "docs" / "bases.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == [*full]
    missing = {pipe for pipe in CALLS if f"`{pipe}`" not in page}
    assert not missing, "write it anew (scripts/bases_page.py)"
