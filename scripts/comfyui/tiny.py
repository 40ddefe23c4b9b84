"""Tiny Wan, SkyReels V2, LTX-Video and HunyuanVideo with random weights: for diffusers, and the same weights under the
names of the released files, which ComfyUI's loaders read. The mappings are ours, written from both state dicts."""

import re

import torch
from diffusers import (
    AutoencoderKLWan,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)

WAN_NAMES = [  # diffusers -> released, in this order
    (r"^condition_embedder\.time_embedder\.linear_(\d)", lambda m: f"time_embedding.{2 * int(m[1]) - 2}"),
    (r"^condition_embedder\.text_embedder\.linear_(\d)", lambda m: f"text_embedding.{2 * int(m[1]) - 2}"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.norm1", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2", "img_emb.proj.4"),
    (r"^scale_shift_table", "head.modulation"),
    (r"^proj_out", "head.head"),
    (r"\.scale_shift_table", ".modulation"),
    (r"\.norm2\.", ".norm3."),  # the one with weights, before the text
    (r"\.ffn\.net\.0\.proj", ".ffn.0"),
    (r"\.ffn\.net\.2", ".ffn.2"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.add_(k|v)_proj", r".\1_img"),
    (r"\.norm_added_k", ".norm_k_img"),
    (r"\.to_out\.0", ".o"),
    (r"\.to_(q|k|v)", r".\1"),
    (r"(vace_blocks\.\d+)\.proj_in", r"\1.before_proj"),
    (r"(vace_blocks\.\d+)\.proj_out", r"\1.after_proj"),
]
LTX_NAMES = [
    (r"^proj_in", "patchify_proj"),
    (r"^time_embed\.", "adaln_single."),
    (r"norm_q", "q_norm"),
    (r"norm_k", "k_norm"),
]
RESNET = [
    (r"norm1\.gamma", "residual.0.gamma"),
    (r"conv1", "residual.2"),
    (r"norm2\.gamma", "residual.3.gamma"),
    (r"conv2", "residual.6"),
    (r"conv_shortcut", "shortcut"),
]


def renamed(state, names):
    found = {}
    for key, tensor in state.items():
        for pattern, put in names:
            key = re.sub(pattern, put, key)
        found[key] = tensor.contiguous()
    return found


def wan_vae_names(state):
    """diffusers' AutoencoderKLWan (not the residual one of 2.2) -> Wan2.1_VAE.pth."""
    found = {}
    for key, tensor in state.items():
        for coder in ("encoder", "decoder"):
            key = key.replace(f"{coder}.conv_in", f"{coder}.conv1").replace(
                f"{coder}.conv_out", f"{coder}.head.2"
            )
            key = key.replace(f"{coder}.norm_out.", f"{coder}.head.0.")
            key = re.sub(
                r"^(\w+)\.mid_block\.resnets\.(\d)\.", lambda m: f"{m[1]}.middle.{2 * int(m[2])}.", key
            )
            key = key.replace(f"{coder}.mid_block.attentions.0", f"{coder}.middle.1")
        key = key.replace("encoder.down_blocks", "encoder.downsamples")
        key = re.sub(
            r"decoder\.up_blocks\.(\d)\.resnets\.(\d)",
            lambda m: f"decoder.upsamples.{4 * int(m[1]) + int(m[2])}",
            key,
        )
        key = re.sub(
            r"decoder\.up_blocks\.(\d)\.upsamplers\.0",
            lambda m: f"decoder.upsamples.{4 * int(m[1]) + 3}",
            key,
        )
        key = re.sub(r"^quant_conv", "conv1", key)
        key = re.sub(r"^post_quant_conv", "conv2", key)
        inside = "samples." in key or ".middle." in key
        if inside and not re.search(r"\.(resample|time_conv|to_qkv|proj|norm)\.", key):
            for pattern, put in RESNET:
                key = re.sub(rf"\.{pattern}", f".{put}", key)
        found[key] = tensor.contiguous()
    return found


def randomised(module, seed, scale=1.0):
    """Weights large enough that every layer matters, small enough that nothing overflows."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim > 1:
                fan = p[0].numel()
                p.copy_(torch.randn_like(p) * scale / max(fan, 1) ** 0.5)
            elif name.endswith("bias"):
                p.copy_(torch.randn_like(p) * 0.1)
            else:
                p.copy_(1 + torch.randn_like(p) * 0.1)
    return module.eval().requires_grad_(False)


def wan(seed=0, layers=4, kind=WanTransformer3DModel, channels=16, out=16, **more):
    """2 heads of 128, since ComfyUI takes the number of heads from the width."""
    model = kind(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=128, in_channels=channels, out_channels=out,
        text_dim=4096, freq_dim=256, ffn_dim=128, num_layers=layers, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=1024, **more,
    )  # fmt: skip
    return randomised(model, seed)


def wan5b(seed=8):
    """Wan 2.2's smallest: 48 latent channels."""
    return wan(seed, channels=48, out=48)


def skyreels(seed=9):
    """SkyReels V2, whose names are Wan's."""
    return wan(seed, kind=SkyReelsV2Transformer3DModel)


def vace(seed=4):
    return wan(seed, kind=WanVACETransformer3DModel, vace_layers=[0, 2], vace_in_channels=96)


def fun_state(seed=5):
    """Wan 2.2 Fun Control under released names: a control video and a picture before the video, which diffusers lacks."""
    state = renamed(wan(seed, channels=52).state_dict(), WAN_NAMES)
    weight, bias = torch.randn(256, 16, 2, 2) / 8, torch.randn(256) * 0.1
    return state | {"ref_conv.weight": weight, "ref_conv.bias": bias}


def wan_vae(seed=1, width=8):
    return randomised(AutoencoderKLWan(base_dim=width, z_dim=16), seed)


def ltx(seed=2, layers=4):
    """32 heads of 8, since ComfyUI takes 32 heads."""
    model = LTXVideoTransformer3DModel(
        in_channels=128, out_channels=128, num_attention_heads=32, attention_head_dim=8, cross_attention_dim=256,
        num_layers=layers, caption_channels=4096,
    )  # fmt: skip
    return randomised(model, seed)


HUNYUAN_NAMES = [
    (r"^x_embedder\.proj", "img_in.proj"),
    (r"^image_embedder\.norm_in", "vision_in.proj.0"),
    (r"^image_embedder\.linear_1", "vision_in.proj.1"),
    (r"^image_embedder\.linear_2", "vision_in.proj.3"),
    (r"^image_embedder\.norm_out", "vision_in.proj.4"),
    (r"^time_(text_)?embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
    (r"^time_(text_)?embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
    (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
    (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
    (r"^time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_q", r"single_blocks.\1.q_norm"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_k", r"single_blocks.\1.k_norm"),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear", r"single_blocks.\1.modulation.lin"),
    (r"^single_transformer_blocks\.(\d+)\.proj_out", r"single_blocks.\1.linear2"),
    (r"^single_transformer_blocks\.(\d+)\.attn\.qkv", r"single_blocks.\1.linear1"),
    (r"^context_embedder_2\.norm", "byt5_in.layernorm"),
    (r"^context_embedder_2\.linear_(\d)", lambda m: f"byt5_in.fc{m[1]}"),
    (r"^cond_type_embed", "cond_type_embedding"),
    (r"^context_embedder\.proj_in", "txt_in.input_embedder"),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_1", "txt_in.t_embedder.in_layer"),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_2", "txt_in.t_embedder.out_layer"),
    (r"^context_embedder\.time_text_embed\.text_embedder\.linear_1", "txt_in.c_embedder.in_layer"),
    (r"^context_embedder\.time_text_embed\.text_embedder\.linear_2", "txt_in.c_embedder.out_layer"),
    (r"^context_embedder\.token_refiner\.refiner_blocks", "txt_in.individual_token_refiner.blocks"),
    (r"(blocks\.\d+)\.attn\.qkv", r"\1.self_attn.qkv"),
    (r"(txt_in\..*)\.attn\.to_out\.0", r"\1.self_attn.proj"),
    (r"(txt_in\..*)\.ff\.net\.0\.proj", r"\1.mlp.0"),
    (r"(txt_in\..*)\.ff\.net\.2", r"\1.mlp.2"),
    (r"(txt_in\..*)\.norm_out\.linear", r"\1.adaLN_modulation.1"),
    (r"^transformer_blocks", "double_blocks"),
    (r"norm1\.linear", "img_mod.lin"),
    (r"norm1_context\.linear", "txt_mod.lin"),
    (r"(double_blocks\.\d+)\.self_attn\.qkv_added", r"\1.txt_attn.qkv"),
    (r"(double_blocks\.\d+)\.self_attn\.qkv", r"\1.img_attn.qkv"),
    (r"attn\.norm_q", "img_attn_q_norm"),
    (r"attn\.norm_k", "img_attn_k_norm"),
    (r"attn\.norm_added_q", "txt_attn_q_norm"),
    (r"attn\.norm_added_k", "txt_attn_k_norm"),
    (r"attn\.to_out\.0", "img_attn.proj"),
    (r"attn\.to_add_out", "txt_attn.proj"),
    (r"ff\.net\.0\.proj", "img_mlp.0"),
    (r"ff\.net\.2", "img_mlp.2"),
    (r"ff_context\.net\.0\.proj", "txt_mlp.0"),
    (r"ff_context\.net\.2", "txt_mlp.2"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^proj_out", "final_layer.linear"),
]


def hunyuan_names(state):
    """Queries, keys and values lie in one tensor; the last layer's scale and shift lie the other way round."""
    joined = {}
    for key, tensor in state.items():
        if found := re.search(r"\.(to_q|add_q_proj)\.", key):
            first = found[1]
            names = (
                ["to_q", "to_k", "to_v"] if first == "to_q" else ["add_q_proj", "add_k_proj", "add_v_proj"]
            )
            parts = [state[key.replace(first, name)] for name in names]
            if key.startswith("single_"):  # the other half of the block's first layer
                parts.append(state[key.replace("attn.to_q", "proj_mlp")])
            joined[key.replace(first, "qkv" if first == "to_q" else "qkv_added")] = torch.cat(parts)
        elif not re.search(r"\.(to_[kv]|add_[kv]_proj|proj_mlp)\.", key):
            joined[key] = tensor
    for part in ("weight", "bias"):
        scale, shift = joined[f"norm_out.linear.{part}"].chunk(2)
        joined[f"norm_out.linear.{part}"] = torch.cat([shift, scale])
    return renamed(joined, HUNYUAN_NAMES)


def hunyuan(seed=3, layers=4):
    """2 heads of 128, as ComfyUI takes heads from the width."""
    model = HunyuanVideo15Transformer3DModel(
        in_channels=65, out_channels=32, num_attention_heads=2, attention_head_dim=128, num_layers=layers,
        num_refiner_layers=2, text_embed_dim=3584, text_embed_2_dim=1472, image_embed_dim=1152,
    )  # fmt: skip
    return randomised(model, seed)


def hunyuanvideo(seed=10):
    """HunyuanVideo 1.0: 2 blocks with two streams, 4 with one."""
    model = HunyuanVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=128, num_layers=2,
        num_single_layers=4, num_refiner_layers=2, text_embed_dim=4096, pooled_projection_dim=768,
        guidance_embeds=True,
    )  # fmt: skip
    return randomised(model, seed)
