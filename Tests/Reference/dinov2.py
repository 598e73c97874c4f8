#!/usr/bin/env python3
"""DINOv2 (S, B, L and g, with and without registers) in DINO's place: names, layer scale, positions, toys.

    dinov2.py            compares with transformers' Dinov2Model and Dinov2WithRegistersModel on random
                         weights

Source: DINOv2, arXiv 2304.07193 and 2309.16588. Two sets of names are read: the torch hub's and Hugging
Face's. Layer scale is multiplied into the matrices before it, so that the network is DINO's with more tokens
in front.
"""

import math
import re
from types import SimpleNamespace

import numpy as np
import pipeline
import torch
import weights
from torch import nn

# How a checkpoint resamples its position table (see `position_matrix`), by flavour and registers.
RULES = {("hub", False): "step", ("hub", True): "antialias", ("hf", False): "size", ("hf", True): "antialias"}


# ------------------------------------------------------------------ positions

def position_matrix(source, target, rule):
    """[target, source] of bicubic weights.

    step        the sampling step is source / (target + 0.1), a = -0.75, taps clamped at the border
    size        the step is source / target, else the same
    antialias   step source / target, a = -0.5; the kernel is widened by the step where that is above one;
                taps outside the table are left out and the rest brought to sum one
    """
    if rule == "step":
        return pipeline.bicubic_matrix(source, target)
    step = source / target
    matrix = np.zeros((target, source))
    a = -0.5 if rule == "antialias" else -0.75

    def kernel(x):
        x = abs(x)
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0

    for n in range(target):
        centre = (n + 0.5) * step
        if rule == "size":
            base = math.floor(centre - 0.5)
            for tap in range(base - 1, base + 3):
                matrix[n, min(max(tap, 0), source - 1)] += kernel(tap + 0.5 - centre)
            continue
        wide = max(step, 1.0)
        first, last = max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), source)
        row = [kernel((tap + 0.5 - centre) / wide) for tap in range(first, last)]
        matrix[n, first:last] = np.array(row) / sum(row)
    return matrix


def position_grid(table, height, width, rule):
    """A patch position table [g*g, d] on a height x width grid: unchanged if that is the table's own."""
    side = round(len(table) ** 0.5)
    if (height, width) == (side, side):
        return table
    planes = table.double().numpy().reshape(side, side, -1)
    planes = np.einsum("yi,ijd->yjd", position_matrix(side, height, rule), planes)
    planes = np.einsum("xj,yjd->yxd", position_matrix(side, width, rule), planes)
    return torch.from_numpy(planes.reshape(height * width, -1).astype(np.float32))


# ------------------------------------------------------------------ checkpoints

PREFIXES = ("dinov2_with_registers.", "dinov2.", "teacher.backbone.", "module.", "backbone.")
HF_FIXED = {"embeddings.cls_token": "cls_token", "embeddings.mask_token": "mask_token",
            "embeddings.position_embeddings": "pos_embed", "embeddings.register_tokens": "register_tokens",
            "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
            "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
            "layernorm.weight": "norm.weight", "layernorm.bias": "norm.bias"}
HF_BLOCK = {"norm1": "norm1", "norm2": "norm2", "attention.output.dense": "attn.proj", "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2", "mlp.weights_in": "mlp.w12", "mlp.weights_out": "mlp.w3"}


def plain_names(state):
    """Hub names, whatever the source; and whether the names were Hugging Face's."""
    out = {}
    for name, t in state.items():
        while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
            name = name.removeprefix(prefix)
        out[re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)] = t
    if "embeddings.cls_token" not in out:
        return out, False
    state, out = out, {}
    for name, t in state.items():
        if name in HF_FIXED:
            out[HF_FIXED[name]] = t
        elif match := re.fullmatch(r"encoder\.layer\.(\d+)\.(.*)\.(\w+)", name):
            prefix, stem, leaf = f"blocks.{match[1]}.", match[2], match[3]
            if stem in HF_BLOCK:
                out[f"{prefix}{HF_BLOCK[stem]}.{leaf}"] = t
            elif stem == "attention.attention.query":
                parts = [state[name.replace("query", part)] for part in ("query", "key", "value")]
                out[f"{prefix}attn.qkv.{leaf}"] = torch.cat(parts)
            elif leaf == "lambda1":
                out[f"{prefix}ls{stem[-1]}.gamma"] = t
    return out, True


def is_dinov2(state):
    return any(name.endswith((".ls1.gamma", "layer_scale1.lambda1")) for name in state)


def add(model, state, rule=None):
    """DINOv2 as `model.dino`; `rule` overrides how positions are resampled."""
    state, huggingface = plain_names(state)
    t = model.tensors
    for name, value in state.items():
        match = re.match(r"blocks\.(\d+)\.(.*)\.(weight|bias)$", name)
        if not match:
            continue
        stem, value = match[2], value.float()
        scale = {"attn.proj": "ls1", "mlp.fc2": "ls2", "mlp.w3": "ls2"}.get(stem)
        if scale:
            gamma = state[f"blocks.{match[1]}.{scale}.gamma"].float()
            value = value * (gamma[:, None] if value.ndim == 2 else gamma)
        ours = {"norm1": "norm1", "norm2": "norm2", "attn.qkv": "qkv", "attn.proj": "out",
                "mlp.fc1": "mlp_in", "mlp.fc2": "mlp_out", "mlp.w12": "mlp_in", "mlp.w3": "mlp_out"}[stem]
        t[f"dino.blocks.{match[1]}.{ours}.{match[3]}"] = value
    conv = state["patch_embed.proj.weight"].float()
    t["dino.patch.weight"], t["dino.patch.bias"] = conv.flatten(1), state["patch_embed.proj.bias"].float()
    t["dino.class_embedding"] = state["cls_token"].float().flatten()
    t["dino.position"] = state["pos_embed"].float()[0]
    found = "register_tokens" in state
    registers = state["register_tokens"].float()[0] if found else torch.zeros(0, len(conv))
    if len(registers):
        t["dino.registers"] = registers
    for leaf in ("weight", "bias"):
        t[f"dino.norm_post.{leaf}"] = state[f"norm.{leaf}"].float()
    model.dino = SimpleNamespace(
        width=conv.shape[0], patch=conv.shape[-1], grid=round((len(t["dino.position"]) - 1) ** 0.5),
        epsilon=1e-6, depth=weights._depth(t, r"dino\.blocks\.(\d+)\."), heads=conv.shape[0] // 64,
        registers=len(registers), mlp="swiglu" if "blocks.0.mlp.w12.weight" in state else "gelu",
        position_rule=rule or RULES["hf" if huggingface else "hub", len(registers) > 0])


# ------------------------------------------------------------------ toys

def toy_tensors(config, seed):
    """Random weights under the hub's names."""
    import toys
    v = toys.Values(seed, "dinov2", config.grain)
    t = config.dino
    v.normal("cls_token", 1, 1, t.width, std=0.5)
    v.normal("pos_embed", 1, t.grid * t.grid + 1, t.width, std=0.3)
    v.normal("mask_token", 1, t.width, std=0.5)
    if config.registers:
        v.normal("register_tokens", 1, config.registers, t.width, std=0.5)
    v.normal("patch_embed.proj.weight", t.width, 3, t.patch, t.patch, std=2 * (3 * t.patch ** 2) ** -0.5)
    v.normal("patch_embed.proj.bias", t.width, std=0.2)
    for n in range(t.depth):
        p = f"blocks.{n}."
        v.norm(p + "norm1", t.width)
        v.qkv(p + "attn.qkv.weight", p + "attn.qkv.bias", t.width)
        v.linear(p + "attn.proj", t.width, t.width, 0.7)
        v.normal(p + "ls1.gamma", t.width, std=0.3, mean=0.7)
        v.norm(p + "norm2", t.width)
        if config.dino_gated:
            v.linear(p + "mlp.w12", 2 * t.mlp, t.width, 1.4)
            v.linear(p + "mlp.w3", t.width, t.mlp)
        else:
            v.linear(p + "mlp.fc1", t.mlp, t.width)
            v.linear(p + "mlp.fc2", t.width, t.mlp, 0.7)
        v.normal(p + "ls2.gamma", t.width, std=0.3, mean=0.7)
    v.norm("norm", t.width)
    return v.tensors


def huggingface_names(tensors, prefix=""):
    """The same weights under Hugging Face's names: query, key and value apart."""
    fixed = {hub: hf for hf, hub in HF_FIXED.items()}
    block = {hub: hf for hf, hub in HF_BLOCK.items()}
    out = {}
    for name, t in tensors.items():
        if name in fixed:
            out[prefix + fixed[name]] = t
            continue
        match = re.fullmatch(r"blocks\.(\d+)\.(.*)\.(\w+)", name)
        layer, stem, leaf = f"{prefix}encoder.layer.{match[1]}.", match[2], match[3]
        if stem == "attn.qkv":
            for part, piece in zip(("query", "key", "value"), t.chunk(3)):
                out[f"{layer}attention.attention.{part}.{leaf}"] = piece.contiguous()
        elif stem in ("ls1", "ls2"):
            out[f"{layer}layer_scale{stem[-1]}.lambda1"] = t
        else:
            out[f"{layer}{block[stem]}.{leaf}"] = t
    return out


# ------------------------------------------------------------------ against transformers

def compare(registers, grid, width, depth, size, seed, gated=False):
    """Largest difference of the final features from transformers', and their size."""
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
    torch.manual_seed(seed)
    common = dict(hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 64,
                  image_size=14 * grid, patch_size=14, layerscale_value=1.0, use_swiglu_ffn=gated)
    theirs = (Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**common, num_register_tokens=registers))
              if registers
              else Dinov2Model(Dinov2Config(**common))).eval()
    for name, p in theirs.named_parameters():                  # no zeros, no ones, nothing small
        spread = 0.3 if p.ndim < 2 or "embeddings" in name else p[0].numel() ** -0.5
        scale = ("norm" in name and name.endswith("weight")) or "lambda" in name or "layer_scale" in name
        mean = 1.0 if scale else 0.0
        nn.init.normal_(p, mean, spread)
    import os
    import tempfile

    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as folder:              # the names a published file has
        theirs.save_pretrained(folder)
        state = load_file(os.path.join(folder, "model.safetensors"))
    m = weights.Model()
    add(m, state)
    image = torch.randn(3, *size)
    with torch.no_grad():
        wanted = theirs(pixel_values=image[None]).last_hidden_state[0, 1 + registers:]
        ours, _ = pipeline.dino_features(m, image, None, None)
    return float((ours - wanted).abs().max()), float(wanted.abs().max()), m.dino.position_rule


def compare_positions(seed):
    """Largest difference of the three rules from torch's own resampling."""
    torch.manual_seed(seed)
    table = torch.randn(37 * 37, 16)
    planes = table.T.reshape(1, 16, 37, 37)
    worst = {}
    for h, w in [(24, 24), (16, 24), (8, 8), (37, 24), (40, 50), (1, 3)]:
        how = {"step": dict(scale_factor=((h + 0.1) / 37, (w + 0.1) / 37)), "size": dict(size=(h, w)),
               "antialias": dict(size=(h, w), antialias=True)}
        for rule, options in how.items():
            wanted = nn.functional.interpolate(planes, mode="bicubic", **options)[0].flatten(1).T
            ours = position_grid(table, h, w, rule)
            worst[rule] = max(worst.get(rule, 0), float((ours - wanted).abs().max()))
    return worst


def main():
    torch.set_num_threads(1)
    print("positions, largest difference from torch:",
          {k: f"{v:.1e}" for k, v in compare_positions(1).items()})
    for registers in (0, 4):
        for grid, width, depth, size in [(37, 64, 3, (336, 336)), (37, 384, 12, (224, 336)),
                                         (8, 128, 4, (112, 112)), (16, 192, 3, (112, 448)),
                                         (10, 64, 2, (322, 154))]:
            difference, scale, rule = compare(registers, grid, width, depth, size, 10 * grid + depth)
            print(f"registers {registers}, table {grid}, width {width}, {depth} blocks, {size[0]}x{size[1]}, "
                  f"{rule}: largest difference {difference:.1e} of {scale:.2f}")
        difference, scale, rule = compare(registers, 16, 192, 4, (224, 224), 7, gated=True)
        print(f"registers {registers}, SwiGLU, width 192, 4 blocks, 224x224, {rule}: largest difference "
              f"{difference:.1e} of {scale:.2f}")


if __name__ == "__main__":
    main()
