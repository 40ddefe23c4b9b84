"""Released checkpoints -> our models: every tensor by name and shape, none missing and none left over."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from echoreel.bases.lvdm import LVDM
from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.bases.ports.videocrafter_unet import VideoCrafterUNet
from echoreel.common.errors import CheckpointError, SettingsError
from echoreel.common.settings import validated
from echoreel.method.adapter import ActionAdapter
from echoreel.method.dense_prism import DensePrismSettings
from echoreel.method.integration import FrameIntegrationSettings
from echoreel.released.original_names import (
    FixedLengths,
    OriginalLVDM,
    OriginalPrism,
    OriginalVideoCrafter,
    adapter_names,
    original_names,
    unused_names,
)

NAMED = 12  # names that a message lists of each kind of mistake
TEXT_FPS, IMAGE_FPS = 28, 8  # that the authors' own scripts ask VideoCrafter for
TEXT_TOKENS = 77  # of the text in VideoCrafter 1's context; the others are the image's


def convert_lvdm(
    state_dict: Mapping[str, Tensor],
    unet_settings: Mapping[str, Any],
    dtype: torch.dtype | None = torch.float32,
) -> LVDMUNet:
    """LVDM's U-Net from its tensors by their original names, without prefix, and its constructor settings.

    dtype: of the model, None for the tensors' own; tensors that have it already are used as they are, not
    copied. Raises CheckpointError naming every tensor that is missing, left over or of another shape, and
    SettingsError for settings of another model.
    """
    unet = _empty_lvdm(validated(OriginalLVDM, dict(unet_settings), "U-Net settings"))
    fill(state_dict, [(unet, original_names(unet))], dtype)
    return unet


def convert_echoreel_lvdm(
    state_dict: Mapping[str, Tensor],
    unet_settings: Mapping[str, Any],
    prism_settings: Mapping[str, Any],
    dtype: torch.dtype | None = torch.float32,
) -> tuple[LVDMUNet, ActionAdapter]:
    """The same for LVDM with EchoReel's tensors in it: the U-Net, and the adapter for it.

    adapter.encode takes the prompt's and the reference caption's text tokens, one after the other.
    """
    theirs = validated(OriginalLVDM, dict(unet_settings), "U-Net settings")
    unet = _empty_lvdm(theirs)
    prism = validated(OriginalPrism, dict(prism_settings), "Prism settings")
    lengths = FixedLengths.of(state_dict)
    adapter = _empty_adapter(unet, theirs, prism, lengths)
    fill(
        state_dict,
        [(unet, original_names(unet)), (adapter, adapter_names(adapter, unet))],
        dtype,
        unused_names(adapter, unet, lengths.place),
    )
    return unet, adapter


def convert_videocrafter(
    state_dict: Mapping[str, Tensor],
    unet_settings: Mapping[str, Any],
    dtype: torch.dtype | None = torch.float32,
) -> VideoCrafterUNet:
    """The same for VideoCrafter 2 (text to video) and VideoCrafter 1 (image to video)."""
    theirs = validated(OriginalVideoCrafter, dict(unet_settings), "U-Net settings")
    unet = _empty_videocrafter(theirs)
    fill(state_dict, [(unet, original_names(unet))], dtype)
    return unet


def _empty_lvdm(theirs: OriginalLVDM) -> LVDMUNet:
    with torch.device("meta"):
        unet: LVDMUNet = LVDMUNet(
            sample_size=theirs.image_size,
            in_channels=theirs.in_channels,
            out_channels=theirs.out_channels,
            block_out_channels=[theirs.model_channels * multiple for multiple in theirs.channel_mult],
            attention_levels=[
                2**level in theirs.attention_resolutions for level in range(len(theirs.channel_mult))
            ],
            layers_per_block=theirs.num_res_blocks,
            transformer_layers=theirs.transformer_depth,
            attention_heads=theirs.num_heads,
            cross_attention_dim=theirs.context_dim,
            reach=theirs.temporal_length,
        ).eval()
    return unet


def _empty_videocrafter(theirs: OriginalVideoCrafter) -> VideoCrafterUNet:
    levels = range(len(theirs.channel_mult))
    attends = [2**level in theirs.attention_resolutions for level in levels]
    with torch.device("meta"):
        unet: VideoCrafterUNet = VideoCrafterUNet(
            in_channels=theirs.in_channels,
            out_channels=theirs.out_channels,
            down_block_types=["CrossAttnDownBlock3D" if a else "DownBlock3D" for a in attends],
            up_block_types=["CrossAttnUpBlock3D" if a else "UpBlock3D" for a in reversed(attends)],
            block_out_channels=[theirs.model_channels * multiple for multiple in theirs.channel_mult],
            layers_per_block=theirs.num_res_blocks,
            cross_attention_dim=theirs.context_dim,
            attention_head_dim=theirs.num_head_channels,
            fps=IMAGE_FPS if theirs.use_image_attention else TEXT_FPS,
            text_tokens=TEXT_TOKENS if theirs.use_image_attention else 0,
            transformer_layers=theirs.transformer_depth,
        ).eval()
    return unet


def _empty_adapter(
    unet: LVDMUNet, base: OriginalLVDM, theirs: OriginalPrism, lengths: FixedLengths
) -> ActionAdapter:
    if theirs.input_context_dim != base.context_dim:
        raise SettingsError(
            f"Prism settings: got text tokens of width {theirs.input_context_dim}, need the U-Net's "
            f"{base.context_dim}"
        )
    prism = DensePrismSettings(
        width=theirs.latent_query_dim,
        depth=theirs.layers,
        heads=theirs.n_heads,
        head_width=theirs.d_head,
        caption_width=theirs.latent_context_dim,
        reach=lengths.prism_reach,
        latent_size=lengths.latent_size(base.in_channels),
    )
    integration = FrameIntegrationSettings(heads=base.num_heads, reach=lengths.integration_reach)
    with torch.device("meta"):
        adapter: ActionAdapter = ActionAdapter(
            family=LVDM.name,
            sites=LVDM(unet).find_sites(),
            latent_channels=base.in_channels,
            caption_width=base.context_dim,
            prism_config=prism.model_dump(mode="json"),
            integration_config=integration.model_dump(mode="json"),
        ).eval()
    return adapter


def fill(
    state_dict: Mapping[str, Tensor],
    models: Sequence[tuple[nn.Module, dict[str, str]]],
    dtype: torch.dtype | None,
    unused: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Give the models their tensors: of each, our names -> theirs. Raises what `check_tensors` does."""
    expected = dict(unused or {})
    for model, names in models:
        ours = model.state_dict()
        assert ours.keys() == names.keys(), f"unnamed: {sorted(ours.keys() ^ names.keys())[:NAMED]}"
        expected |= {names[name]: tuple(tensor.shape) for name, tensor in ours.items()}
    check_tensors(state_dict, expected)
    for model, names in models:
        filled = {
            name: state_dict[names[name]].reshape(tensor.shape).to(dtype)
            for name, tensor in model.state_dict().items()
        }
        model.load_state_dict(filled, strict=True, assign=True)


def check_tensors(state_dict: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError unless names and shapes are these; axes of length 1 do not count."""
    missing = [name for name in expected if name not in state_dict]
    left_over = [name for name in state_dict if name not in expected]
    other = [
        f"{name} {tuple(state_dict[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state_dict and _long(state_dict[name].shape) != _long(shape)
    ]
    mistakes = {"missing": missing, "left over": left_over, "of another shape": other}
    if any(mistakes.values()):
        told = "; ".join(
            f"{len(names)} {what}: {_listed(names)}" for what, names in mistakes.items() if names
        )
        raise CheckpointError(
            f"tensors do not match this kind of checkpoint ({told}); convert it as another kind, or with the "
            "settings it was made with"
        )


def _long(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
