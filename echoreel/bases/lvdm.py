"""LVDM, the base of the paper: space and time take turns in one block."""

from echoreel.bases.ports.lvdm_unet import LVDMUNet
from echoreel.bases.unet_base import UNetBase


class LVDM(UNetBase):
    name = "LVDM"
    denoiser_type = LVDMUNet
    sites = r"((down|up)\.\d+|middle)\.transformer\.blocks\.\d+\.attentions"
    width = "space.query"
    layout = "b t (h w) c"
    checkpoints = None
