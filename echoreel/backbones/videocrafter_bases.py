"""VideoCrafter 2 (text to video) and VideoCrafter 1 (image to video) as bases: one U-Net, one family."""

from dataclasses import replace

from echoreel.backbones.unets import BLOCKS, LVDM
from echoreel.backbones.videocrafter import VideoCrafterUNet

VIDEOCRAFTER = replace(
    LVDM,
    name="VideoCrafter",
    denoiser=VideoCrafterUNet,
    pipelines=("VideoCrafterPipeline", "VideoCrafterImagePipeline"),
    sites=r"transformer_in|((down|up)_blocks\.\d+|mid_block)\.temp_attentions\.\d+",
    width="proj_in",
    layout="(b t) c h w",
    output=0,
    checkpoints=BLOCKS,
)
