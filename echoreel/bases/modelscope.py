"""ModelScope and ZeroScope: a U-Net whose blocks end in temporal transformers."""

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

from echoreel.bases.unet_base import UNetBase


class ModelScope(UNetBase):
    name = "ModelScope"
    denoiser_type = UNet3DConditionModel
    output = 0
