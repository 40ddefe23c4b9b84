"""Released checkpoints: agreement with the originals' outputs; names, shapes and settings taken strictly."""

import json
from collections import defaultdict
from hashlib import sha256
from typing import Any

import pytest
import torch
from helpers.places import DATA
from helpers.released_toys import VIDEOCRAFTER_UNETS, ReleasedToy, Shapes, wanted_tensors
from torch import Tensor

from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.common.errors import BaseUnsupported, CheckpointError, SettingsError
from echoreel.method.adapter import ActionAdapter
from echoreel.released.convert_unets import convert_echoreel_lvdm, convert_lvdm, convert_videocrafter
from echoreel.released.original_names import adapter_names, original_names, unused_names

TOLERANCE = 1e-4
BFLOAT16 = 0.06  # of the output's standard deviation, root mean square
BFLOAT16_FRAMES = 4  # that are compared in it: few, since some processors have no arithmetic for it


@pytest.fixture(scope="module")
def lvdm() -> ReleasedToy:
    return ReleasedToy("lvdm")


@pytest.fixture(scope="module", params=VIDEOCRAFTER_UNETS)
def videocrafter(request: pytest.FixtureRequest) -> ReleasedToy:
    return ReleasedToy(request.param)


def converted(fixture: ReleasedToy) -> tuple[LVDMUNet, ActionAdapter]:
    return convert_echoreel_lvdm(fixture.weights, fixture.settings["unet"], fixture.settings["prism"])


def assert_near(got: Tensor, want: Tensor) -> None:
    assert (got - want).abs().max() < TOLERANCE


def assert_near_in_bfloat16(got: Tensor, want: Tensor) -> None:
    assert got.dtype == torch.bfloat16
    assert (got - want).square().mean().sqrt() < BFLOAT16 * want.std()


@torch.no_grad()
def test_echoreel_on_lvdm_agrees(lvdm: ReleasedToy) -> None:
    unet, adapter = converted(lvdm)
    io = lvdm.io
    inputs = io["latent"], io["timestep"]
    assert_near(unet(*inputs, encoder_hidden_states=io["text"]).sample, io["base_output"])
    adapter.attach(unet)

    def noise(io: dict[str, Tensor]) -> Tensor:
        adapter.set_tokens(
            adapter.encode(io["reference_latent"], torch.cat([io["text"], io["reference_text"]], 1))
        )
        return unet(io["latent"], io["timestep"], encoder_hidden_states=io["text"]).sample

    tokens = adapter.encode(io["reference_latent"], torch.cat([io["text"], io["reference_text"]], 1))
    assert_near(tokens, io["prism_temporal"])
    assert_near(noise(io), io["output"])

    few = {name: x[:, :, :BFLOAT16_FRAMES] if x.ndim == 5 else x for name, x in io.items()}
    want = noise(few)
    unet.bfloat16(), adapter.bfloat16()
    half = {name: x if name == "timestep" else x.bfloat16() for name, x in few.items()}
    assert_near_in_bfloat16(noise(half), want)


@torch.no_grad()
def test_the_halves_of_a_batch_are_what_they_are_alone(lvdm: ReleasedToy) -> None:
    """The original pairs clips with other clips' references there."""
    unet, adapter = converted(lvdm)
    adapter.attach(unet)
    latent, timestep, text = (lvdm.doubled(name) for name in ("latent", "timestep", "text"))
    context = torch.cat([text, lvdm.doubled("reference_text")], 1)
    tokens = adapter.encode(lvdm.doubled("reference_latent"), context)
    adapter.set_tokens(tokens)
    together = unet(latent, timestep, encoder_hidden_states=text).sample
    assert_near(together[:1], lvdm.io["output"])
    adapter.set_tokens(tokens[1:])
    assert_near(together[1:], unet(latent[1:], timestep[1:], encoder_hidden_states=text[1:]).sample)


@torch.no_grad()
def test_lvdm_alone_converts_without_echoreel(lvdm: ReleasedToy) -> None:
    plain = {name: x for name, x in lvdm.weights.items() if "inject" not in name}
    unet, io = convert_lvdm(plain, lvdm.settings["unet"]), lvdm.io
    assert_near(
        unet(io["latent"], io["timestep"], encoder_hidden_states=io["text"]).sample, io["base_output"]
    )


@torch.no_grad()
def test_videocrafter_agrees(videocrafter: ReleasedToy) -> None:
    unet = convert_videocrafter(videocrafter.weights, videocrafter.settings["unet"])
    io = videocrafter.io

    def noise(rows: slice, dtype: torch.dtype = torch.float32, frames: int | None = None) -> Tensor:
        latent, text = io["latent"][rows, :, :frames].to(dtype), io["text"][rows].to(dtype)
        return unet(latent, io["timestep"][rows], encoder_hidden_states=text, fps=io["fps"][rows]).sample

    together = noise(slice(0, 2))
    assert_near(together, io["output"])
    for row in range(2):
        assert_near(noise(slice(row, row + 1)), together[row : row + 1])
    want = noise(slice(0, 2), frames=BFLOAT16_FRAMES)
    unet.bfloat16()
    assert_near_in_bfloat16(noise(slice(0, 2), torch.bfloat16, BFLOAT16_FRAMES), want)


def test_a_context_without_the_image_is_refused() -> None:
    fixture = ReleasedToy("i2v")
    unet = convert_videocrafter(fixture.weights, fixture.settings["unet"])
    with pytest.raises(BaseUnsupported, match="got a context of 77 tokens, need 77 of the text"):
        unet(fixture.io["latent"], 1, encoder_hidden_states=fixture.io["text"][:, :77])


VARIED = (
    (
        {"channel_mult": (1, 2, 3), "attention_resolutions": (4, 1), "num_res_blocks": 2},
        {"latent_query_dim": 24, "n_heads": 3, "d_head": 4, "layers": 1},
    ),
    (
        {"channel_mult": (1,), "attention_resolutions": (1,), "transformer_depth": 2},
        {"latent_query_dim": 16, "n_heads": 1, "d_head": 32, "layers": 3, "latent_context_dim": 20},
    ),
    (
        {"channel_mult": (1, 1), "attention_resolutions": (2,), "temporal_length": 3},
        {"latent_query_dim": 16, "n_heads": 2, "d_head": 8, "layers": 2},
    ),
)


@torch.no_grad()
@pytest.mark.parametrize(("unet_settings", "prism_settings"), VARIED)
def test_other_sizes_convert_and_their_rows_stay_apart(
    unet_settings: dict[str, Any], prism_settings: dict[str, Any]
) -> None:
    """Of levels, depth, heads, frames; and of heads that do not fill the Prism's width."""
    sizes = {"image_size": 8, "model_channels": 32, "num_heads": 2, "num_res_blocks": 1, "context_dim": 12}
    unet_settings = sizes | unet_settings
    prism_settings = {"input_context_dim": 12, "latent_context_dim": 12} | prism_settings
    torch.manual_seed(0)
    shapes = wanted_tensors(convert_echoreel_lvdm, unet_settings, prism_settings)
    shapes |= {name: other_length(name, shape) for name, shape in shapes.items()}
    tensors = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    unet, adapter = convert_echoreel_lvdm(tensors, unet_settings, prism_settings)
    assert adapter.prism.latent_size == (6, 6)
    adapter.attach(unet)
    latent, text, reference = torch.randn(2, 4, 5, 8, 8), torch.randn(2, 7, 12), torch.randn(2, 4, 4, 6, 6)
    tokens = adapter.encode(reference, torch.cat([text, torch.randn(2, 3, 12)], 1))
    adapter.set_tokens(tokens)
    together = unet(latent, torch.tensor([7, 900]), encoder_hidden_states=text).sample
    for row, timestep in enumerate((7, 900)):
        adapter.set_tokens(tokens[row : row + 1])
        rows = slice(row, row + 1)
        alone = unet(latent[rows], timestep, encoder_hidden_states=text[rows]).sample
        assert_near(alone, together[rows])
        adapter.clear_references()
        plain = unet(latent[rows], timestep, encoder_hidden_states=text[rows]).sample
        assert (plain - alone).abs().max() > 10 * TOLERANCE


def other_length(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of what no setting says: references of 6 x 6 places and 5 frames, relative positions up to 3 frames."""
    if "inject" in name and name.endswith("embeddings_table"):
        return (7, *shape[1:])
    if name.endswith(("inject_attn3_tmp.to_k.weight", "inject_attn3_tmp.to_v.weight")):
        return (shape[0], 4 * 6 * 6)
    if name.endswith(("inject_attn3.to_k.weight", "inject_attn3.to_v.weight")):
        return (shape[0], 4 * 5)
    return shape


def test_names_and_shapes_of_the_full_size() -> None:
    """Every name of the released files, and no other."""
    released = json.loads((DATA / "released_names.json").read_text())
    with torch.device("meta"):
        unet = LVDMUNet()
        adapter = ActionAdapter.for_base(unet, preset="paper-lvdm")
    shapes = {theirs: tuple(unet.get_parameter(ours).shape) for ours, theirs in original_names(unet).items()}
    assert digests(shapes) == released["lvdm"]
    for ours, theirs in adapter_names(adapter, unet).items():
        shapes[theirs] = tuple(adapter.get_parameter(ours).shape)
    assert digests(shapes | unused_names(adapter, unet)) == released["echoreel-lvdm"]


def digests(shapes: Shapes) -> dict[str, str]:
    """Of the names and shapes, up to axes of length 1, below each block."""
    blocks = defaultdict(list)
    for name, shape in sorted(shapes.items()):
        lengths = [length for length in shape if length != 1]
        blocks[".".join(name.split(".")[:2])].append(f"{name} {lengths}")
    return {block: sha256("\n".join(lines).encode()).hexdigest()[:16] for block, lines in blocks.items()}


def test_gaps_leftovers_and_other_shapes_are_listed(lvdm: ReleasedToy) -> None:
    tensors = dict(lvdm.weights)
    del tensors["out.2.bias"]
    tensors["out.3.bias"] = torch.zeros(4)
    tensors["out.0.bias"] = torch.zeros(33)
    with pytest.raises(
        CheckpointError,
        match=r"1 missing: out\.2\.bias; 1 left over: out\.3\.bias; 1 of another shape: out\.0\.bias \(33,\)",
    ):
        convert_echoreel_lvdm(tensors, lvdm.settings["unet"], lvdm.settings["prism"])
    with pytest.raises(CheckpointError, match=r"left over: .* and \d+ more"):
        convert_lvdm(lvdm.weights, lvdm.settings["unet"])


def test_settings_of_other_models_are_refused(lvdm: ReleasedToy) -> None:
    settings, prism = lvdm.settings["unet"], lvdm.settings["prism"]
    with pytest.raises(SettingsError, match="use_relative_position: got False"):
        convert_lvdm(lvdm.weights, settings | {"use_relative_position": False})
    with pytest.raises(SettingsError, match="num_haeds: unknown key; did you mean num_heads"):
        convert_lvdm(lvdm.weights, settings | {"num_haeds": 4})
    with pytest.raises(SettingsError, match="need the U-Net's 48"):
        convert_echoreel_lvdm(lvdm.weights, settings, prism | {"input_context_dim": 64})
