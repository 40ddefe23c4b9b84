"""SkyReels V2: kin of Wan 2.1; its diffusion-forcing models know a noise level for each frame."""

from typing import Any

from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel
from torch import Tensor

from echoreel.bases.base import Longer
from echoreel.bases.wan import Wan

FULL_RATE = 1  # in its table of frame rates: 24 a second


class SkyReelsV2(Wan):
    name = "SkyReels V2"
    denoiser_type = SkyReelsV2Transformer3DModel
    fps = 24.0

    @property
    def one_at_a_time(self) -> bool:
        """Where it is told frame rates, its denoiser takes those of a batch for frames."""
        return self.needs_image or bool(self.denoiser.config.inject_sample_info)

    @property
    def longer(self) -> Longer | None:
        """Its diffusion-forcing pipeline for text goes on by itself."""
        forces = isinstance(self.pipe, SkyReelsV2DiffusionForcingPipeline)
        return "diffusion forcing" if forces else super().longer

    def progress(self, timestep: Tensor) -> Tensor:
        """Diffusion forcing tells the timestep of each frame."""
        return timestep

    def always(self, rows: int) -> dict[str, Any]:
        """In training all frames are at one noise level, so that no model needs to be told one for each."""
        return {"fps": [FULL_RATE] * rows} if self.denoiser.config.inject_sample_info else {}
