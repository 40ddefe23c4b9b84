"""What of a clip changes over time, and how much errors there count."""

import torch
from torch import Tensor


def changing(clips: Tensor) -> Tensor:
    """What in clips (B, C, T, h, w) differs from their mean over time."""
    return clips - clips.mean(dim=2, keepdim=True)


def motion_weights(clips: Tensor, share: float) -> Tensor:
    """Weights (B, 1, T, h, w) of mean 1 per clip: `share` of them follows the latents' change over time.

    share 0 weighs all places alike; 1 counts only what moves.
    """
    change = torch.diff(clips, dim=2).abs().mean(1, keepdim=True)
    before, after = change[:, :, :1], change[:, :, -1:]
    motion = (torch.cat([before, change], dim=2) + torch.cat([change, after], dim=2)) / 2
    motion = motion + 1e-6  # a still clip is weighed alike everywhere
    return (1 - share) + share * motion / motion.mean(dim=(1, 2, 3, 4), keepdim=True)
