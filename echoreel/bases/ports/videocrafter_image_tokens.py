"""How VideoCrafter 1 shows its U-Net an image: CLIP's features of it, made into a few context tokens.

The projection is a resampler (Alayrac et al. 2022, arXiv 2204.14198, figure 5; its fine-grained form in Ye et
al. 2023, arXiv 2308.06721): learned queries read the features and each other.
"""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange, repeat
from torch import Tensor, nn

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class QueriesRead(nn.Module):
    """Queries read features and each other."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_features = nn.LayerNorm(width)
        self.norm_queries = nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, queries_BQD: Tensor, features_BND: Tensor) -> Tensor:
        """Queries (B, Q, D) and features (B, N, D): what is found (B, Q, D)."""
        queries_BQD = self.norm_queries(queries_BQD)
        read = torch.cat([self.norm_features(features_BND), queries_BQD], dim=1)

        def heads(x: Tensor) -> Tensor:
            return rearrange(x, "b n (h d) -> b h n d", h=self.heads)

        keys, values = self.key_value(read).chunk(2, dim=-1)
        found = F.scaled_dot_product_attention(heads(self.query(queries_BQD)), heads(keys), heads(values))
        out: Tensor = self.out(rearrange(found, "b h q d -> b q (h d)"))
        return out


class ProjectionLayer(nn.Module):
    """Attention, then a feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.attention = QueriesRead(width, heads, head_width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width, bias=False),
            nn.GELU(),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, queries_BQD: Tensor, features_BND: Tensor) -> Tensor:
        """Queries (B, Q, D) and features (B, N, D): queries (B, Q, D)."""
        queries_BQD = queries_BQD + self.attention(queries_BQD, features_BND)
        out: Tensor = queries_BQD + self.feed(queries_BQD)
        return out


class ImageProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """CLIP's features of an image -> context tokens; the defaults are those of VideoCrafter 1."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        feature_width: int = 1280,
        width: int = 1024,
        depth: int = 4,
        heads: int = 12,
        head_width: int = 64,
        tokens: int = 16,
        out_width: int = 1024,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queries = nn.Parameter(torch.randn(1, tokens, width) * width**-0.5)
        self.proj_in = nn.Linear(feature_width, width)
        self.layers = nn.ModuleList(ProjectionLayer(width, heads, head_width) for _ in range(depth))
        self.proj_out = nn.Linear(width, out_width)
        self.norm_out = nn.LayerNorm(out_width)

    def forward(self, features_BND: Tensor) -> Tensor:
        """Features (B, N, D) of all patches: tokens (B, Q, D')."""
        queries = repeat(self.queries, "1 q d -> b q d", b=features_BND.shape[0])
        features_BND = self.proj_in(features_BND)
        for layer in self.layers:
            queries = layer(queries, features_BND)
        out: Tensor = self.norm_out(self.proj_out(queries))
        return out


def for_clip(images_BCHW: Tensor, size: int) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1], stretched to a square and normalised as CLIP takes them.

    Stretched and not cropped, as the released code does, whose smoothing before making smaller differs a
    little from torch's.
    """
    images = F.interpolate(images_BCHW, (size, size), mode="bicubic", antialias=True)
    mean, std = (rearrange(images.new_tensor(x), "c -> c 1 1") for x in (CLIP_MEAN, CLIP_STD))
    return ((images + 1) / 2 - mean) / std
