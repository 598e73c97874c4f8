#!/usr/bin/env python3
"""Random-weight CLIP, DINO and SAM checkpoints in the published formats, at any size.

    toys.py CONFIG DIRECTORY [--seed N] [--flavours all|default] [--gzip]

Every tensor is drawn from its own generator, seeded with (seed, network, tensor name), so the values do not
depend on the flavour or on the order of writing. Scales are chosen so that mistakes show: norm weights near
one with noise, no bias at zero, attention logits with a deviation of about two, relative positions that
matter, predicted IoU on both sides of the threshold.
"""

import argparse
import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from templates import TEMPLATES


# ------------------------------------------------------------------ configurations

@dataclass
class Tower:
    width: int
    depth: int
    heads: int
    mlp: int
    patch: int = 16
    grid: int = 14

    @property
    def head_width(self):
        return self.width // self.heads


@dataclass
class Sam(Tower):
    window: int = 14
    globals: tuple = ()
    neck: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    decoder_depth: int = 2
    mask_tokens: int = 4
    mask_channels: int = 16
    iou_hidden: int = 256

    @property
    def side(self):
        return self.patch * self.grid


@dataclass
class Config:
    name: str
    clip: Tower
    text: Tower
    embed: int
    dino: Tower
    sam: Sam
    activation: str = "quickgelu"
    vocabulary: str = "tiny"       # or "full": 48894 merges, 49408 tokens
    context: int = 77
    grain: int = 0                 # significant bits kept in the big matrices; 0 = all of them
    clip_form: str = "openai"      # the default flavour of the CLIP file
    borrow: dict = field(default_factory=dict)    # networks that are another configuration's, byte for byte
    dino_form: str = "dino"        # or DINOv2 under the names of the torch hub (dinov2) or of Hugging Face (dinov2-hf)
    registers: int = 0             # DINOv2's
    dino_gated: bool = False       # DINOv2-g's MLP
    # pipeline settings that suit the size
    window: int = 336
    stride: int = 224
    short_side: int = 448


def _sam_b_like(**over):
    base = dict(width=768, depth=12, heads=12, mlp=3072, patch=16, grid=64, window=14, globals=(2, 5, 8, 11))
    base.update(over)
    return Sam(**base)


CONFIGS = {}


def _add(config):
    CONFIGS[config.name] = config


_add(Config(
    "toy-b", clip=Tower(128, 3, 2, 128, 16, 5), text=Tower(128, 2, 2, 128), embed=72,
    dino=Tower(128, 2, 2, 96, 16, 6),
    sam=Sam(128, 4, 2, 96, 16, 16, window=14, globals=(1, 3), neck=64, decoder_mlp=128, iou_hidden=64),
    grain=1, window=112, stride=64, short_side=160))
_add(Config(
    "toy-h", clip=Tower(160, 2, 2, 96, 14, 16), text=Tower(64, 2, 1, 128), embed=64, activation="gelu",
    dino=Tower(64, 2, 1, 128, 16, 14),
    sam=Sam(160, 2, 2, 64, 16, 16, window=14, globals=(1,), neck=64, decoder_mlp=96, iou_hidden=48),
    grain=1, clip_form="openclip", window=336, stride=224, short_side=336))
_add(Config(
    "toy-l", clip=Tower(128, 2, 2, 64, 14, 8), text=Tower(64, 2, 1, 128), embed=64,
    dino=Tower(64, 2, 1, 128, 16, 14), sam=CONFIGS["toy-b"].sam, borrow={"sam": "toy-b"},
    grain=1, clip_form="huggingface", window=112, stride=56, short_side=168))
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-dino8", dino=Tower(64, 3, 1, 64, 8, 10), borrow={"clip": "toy-b", "sam": "toy-b"}))
# SC-CLIP's: enough blocks for levels; the window is the position table's own grid.
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-sc", clip=Tower(128, 6, 2, 128, 16, 7), stride=56, short_side=170))
_add(dataclasses.replace(
    CONFIGS["toy-l"], name="toy-sc-l", clip=Tower(128, 5, 2, 64, 14, 8), stride=56, short_side=150))
# DINOv2 beside CLIP's patch of 16 (8 x 8 and 7 x 7 in a window of 112), and of 14.
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-dinov2", dino=Tower(128, 3, 2, 96, 14, 11), dino_form="dinov2",
    borrow={"clip": "toy-b", "sam": "toy-b"}))
_add(dataclasses.replace(
    CONFIGS["toy-l"], name="toy-dinov2-reg", dino=Tower(64, 3, 1, 128, 14, 11), dino_form="dinov2-hf", registers=4,
    borrow={"clip": "toy-l", "sam": "toy-b"}))
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-dinov2-hf", dino=Tower(64, 2, 1, 96, 14, 11), dino_form="dinov2-hf",
    borrow={"clip": "toy-b", "sam": "toy-b"}))
# As the giant: registers, a gated MLP whose width is no multiple of 16, the hub's names.
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-dinov2-g", dino=Tower(128, 2, 2, 88, 14, 11), dino_form="dinov2", registers=4,
    dino_gated=True, borrow={"clip": "toy-b", "sam": "toy-b"}))
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-b-1024",
    sam=dataclasses.replace(CONFIGS["toy-b"].sam, grid=64), grain=0))
_add(dataclasses.replace(
    CONFIGS["toy-b"], name="toy-b-metaclip", activation="quickgelu", clip_form="openclip"))
_add(Config(
    "b", clip=Tower(768, 12, 12, 3072, 16, 14), text=Tower(512, 12, 8, 2048), embed=512,
    dino=Tower(768, 12, 12, 3072, 16, 14), sam=_sam_b_like(), vocabulary="full"))
_add(Config(
    "l", clip=Tower(1024, 24, 16, 4096, 14, 16), text=Tower(768, 12, 12, 3072), embed=768,
    dino=Tower(768, 12, 12, 3072, 16, 14),
    sam=_sam_b_like(width=1024, depth=24, heads=16, mlp=4096, globals=(5, 11, 17, 23)), vocabulary="full"))
_add(Config(
    "h", clip=Tower(1280, 32, 16, 5120, 14, 16), text=Tower(1024, 24, 16, 4096), embed=1024, activation="gelu",
    dino=Tower(768, 12, 12, 3072, 16, 14), clip_form="openclip",
    sam=_sam_b_like(width=1280, depth=32, heads=16, mlp=5120, globals=(7, 15, 23, 31)), vocabulary="full"))
_add(dataclasses.replace(                      # every width of h, few blocks
    CONFIGS["h"], name="h-shallow", clip=Tower(1280, 3, 16, 5120, 14, 16), text=Tower(1024, 2, 16, 4096),
    dino=Tower(768, 3, 12, 3072, 16, 14), sam=_sam_b_like(width=1280, depth=4, heads=16, mlp=5120, globals=(1, 3))))


# ------------------------------------------------------------------ values

class Values:
    def __init__(self, seed, network, grain):
        self.seed, self.network, self.grain = seed, network, grain
        self.tensors = {}

    def normal(self, name, *shape, std=1.0, mean=0.0, keep=False):
        digest = hashlib.sha256(f"{self.seed}/{self.network}/{name}".encode()).digest()
        values = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little"))) \
            .standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        if mean:
            values += np.float32(mean)
        if self.grain and not keep and values.size >= 2048:
            mantissa, exponent = np.frexp(values)
            step = np.float32(2 ** self.grain)
            values = np.ldexp(np.round(mantissa * step) / step, exponent).astype(np.float32)
            values[np.abs(values) < 0.45 * std] = 0
            # The largest of each row stands alone: no other value is exactly half of it, so that no quantized weight
            # sits on a rounding tie.
            rows = values.reshape(len(values), -1)
            peak = np.abs(rows).argmax(1)
            rows[np.arange(len(rows)), peak] *= np.float32(1.03125)
        self.tensors[name] = torch.from_numpy(np.ascontiguousarray(values))

    def linear(self, name, out, inp, gain=1.0, bias=0.2, bias_mean=0.0):
        self.normal(name + ".weight", out, inp, std=gain * inp ** -0.5)
        if bias is not None:
            self.normal(name + ".bias", out, std=bias, mean=bias_mean)

    def norm(self, name, width):
        self.normal(name + ".weight", width, std=0.15, mean=1.0)
        self.normal(name + ".bias", width, std=0.15)

    def qkv(self, weight, bias, width, gain=1.4):
        self.normal(weight, 3 * width, width, std=width ** -0.5)
        scale = torch.ones(3 * width, 1)
        scale[: 2 * width] = gain if not self.grain else 1.5
        self.tensors[weight] = self.tensors[weight] * scale
        self.normal(bias, 3 * width, std=0.2)


def clip_tensors(config, seed):
    """CLIP with the names OpenAI and open_clip use."""
    v = Values(seed, "clip", config.grain)
    t, c = config.clip, config.text

    def blocks(prefix, tower, residual, attention):
        for n in range(tower.depth):
            p = f"{prefix}resblocks.{n}."
            v.qkv(p + "attn.in_proj_weight", p + "attn.in_proj_bias", tower.width)
            v.linear(p + "attn.out_proj", tower.width, tower.width, attention)
            v.norm(p + "ln_1", tower.width)
            v.linear(p + "mlp.c_fc", tower.mlp, tower.width)
            v.linear(p + "mlp.c_proj", tower.width, tower.mlp, residual)
            v.norm(p + "ln_2", tower.width)

    v.normal("visual.class_embedding", t.width, std=0.5)
    v.normal("visual.positional_embedding", t.grid * t.grid + 1, t.width, std=0.3)
    v.normal("visual.proj", t.width, config.embed, std=t.width ** -0.5, keep=True)
    v.normal("visual.conv1.weight", t.width, 3, t.patch, t.patch, std=2 * (3 * t.patch ** 2) ** -0.5)
    v.norm("visual.ln_pre", t.width)
    blocks("visual.transformer.", t, 0.5, 0.5)
    v.norm("visual.ln_post", t.width)
    v.normal("positional_embedding", config.context, c.width, std=0.1)
    v.normal("text_projection", c.width, config.embed, std=c.width ** -0.5, keep=True)
    v.tensors["logit_scale"] = torch.tensor(4.6052)
    # The end-of-text token starts small and the attention writes much, so that vectors depend on the words.
    blocks("transformer.", c, 0.5, 1.5)
    v.normal("token_embedding.weight", vocabulary_size(config), c.width, std=1.0)
    v.tensors["token_embedding.weight"][-2:] *= 0.125
    v.norm("ln_final", c.width)
    return v.tensors


def dino_tensors(config, seed):
    if config.dino_form != "dino":
        import dinov2
        return dinov2.toy_tensors(config, seed)
    v = Values(seed, "dino", config.grain)
    t = config.dino
    v.normal("cls_token", 1, 1, t.width, std=0.5)
    v.normal("pos_embed", 1, t.grid * t.grid + 1, t.width, std=0.3)
    v.normal("patch_embed.proj.weight", t.width, 3, t.patch, t.patch, std=2 * (3 * t.patch ** 2) ** -0.5)
    v.normal("patch_embed.proj.bias", t.width, std=0.2)
    for n in range(t.depth):
        p = f"blocks.{n}."
        v.norm(p + "norm1", t.width)
        v.qkv(p + "attn.qkv.weight", p + "attn.qkv.bias", t.width)
        v.linear(p + "attn.proj", t.width, t.width, 0.5)
        v.norm(p + "norm2", t.width)
        v.linear(p + "mlp.fc1", t.mlp, t.width)
        v.linear(p + "mlp.fc2", t.width, t.mlp, 0.5)
    v.norm("norm", t.width)
    return v.tensors


def sam_tensors(config, seed):
    v = Values(seed, "sam", config.grain)
    t = config.sam
    d = t.neck

    e = "image_encoder."
    v.normal(e + "pos_embed", 1, t.grid, t.grid, t.width, std=0.3)
    v.normal(e + "patch_embed.proj.weight", t.width, 3, t.patch, t.patch, std=1.5 * (3 * t.patch ** 2) ** -0.5)
    v.normal(e + "patch_embed.proj.bias", t.width, std=0.2)
    for n in range(t.depth):
        p = f"{e}blocks.{n}."
        side = t.grid if n in t.globals else t.window
        v.norm(p + "norm1", t.width)
        v.normal(p + "attn.rel_pos_h", 2 * side - 1, t.head_width, std=0.15)
        v.normal(p + "attn.rel_pos_w", 2 * side - 1, t.head_width, std=0.15)
        v.qkv(p + "attn.qkv.weight", p + "attn.qkv.bias", t.width)
        v.linear(p + "attn.proj", t.width, t.width, 0.5)
        v.norm(p + "norm2", t.width)
        v.linear(p + "mlp.lin1", t.mlp, t.width)
        v.linear(p + "mlp.lin2", t.width, t.mlp, 0.5)
    v.normal(e + "neck.0.weight", d, t.width, 1, 1, std=t.width ** -0.5)
    v.norm(e + "neck.1", d)
    v.normal(e + "neck.2.weight", d, d, 3, 3, std=(9 * d) ** -0.5)
    v.norm(e + "neck.3", d)

    p = "prompt_encoder."
    v.normal(p + "pe_layer.positional_encoding_gaussian_matrix", 2, d // 2, std=1.0)
    for n in range(4):
        v.normal(f"{p}point_embeddings.{n}.weight", 1, d, std=0.7)
    v.normal(p + "not_a_point_embed.weight", 1, d, std=0.7)
    m = t.mask_channels
    # The mask prompt is tiny (at most alpha), so the first convolution has a small bias: its norm magnifies.
    v.normal(p + "mask_downscaling.0.weight", m // 4, 1, 2, 2, std=2.0)
    v.normal(p + "mask_downscaling.0.bias", m // 4, std=0.02)
    v.norm(p + "mask_downscaling.1", m // 4)
    v.normal(p + "mask_downscaling.3.weight", m, m // 4, 2, 2, std=m ** -0.5)
    v.normal(p + "mask_downscaling.3.bias", m, std=0.2)
    v.norm(p + "mask_downscaling.4", m)
    v.normal(p + "mask_downscaling.6.weight", d, m, 1, 1, std=m ** -0.5)
    v.normal(p + "mask_downscaling.6.bias", d, std=0.2)
    v.normal(p + "no_mask_embed.weight", 1, d, std=0.5)

    q = "mask_decoder."

    def attention(name, inner):
        for part in ("q_proj", "k_proj"):
            v.linear(name + "." + part, inner, d, 1.2)
        v.linear(name + ".v_proj", inner, d)
        v.linear(name + ".out_proj", d, inner, 0.8)

    for n in range(t.decoder_depth):
        b = f"{q}transformer.layers.{n}."
        attention(b + "self_attn", d)
        v.norm(b + "norm1", d)
        attention(b + "cross_attn_token_to_image", d // 2)
        v.norm(b + "norm2", d)
        v.linear(b + "mlp.lin1", t.decoder_mlp, d)
        v.linear(b + "mlp.lin2", d, t.decoder_mlp, 0.7)
        v.norm(b + "norm3", d)
        v.norm(b + "norm4", d)
        attention(b + "cross_attn_image_to_token", d // 2)
    attention(q + "transformer.final_attn_token_to_image", d // 2)
    v.norm(q + "transformer.norm_final_attn", d)
    v.normal(q + "iou_token.weight", 1, d, std=0.7)
    v.normal(q + "mask_tokens.weight", t.mask_tokens, d, std=0.7)
    v.normal(q + "output_upscaling.0.weight", d, d // 4, 2, 2, std=1.4 * d ** -0.5, keep=True)
    v.normal(q + "output_upscaling.0.bias", d // 4, std=0.2)
    v.norm(q + "output_upscaling.1", d // 4)
    v.normal(q + "output_upscaling.3.weight", d // 4, d // 8, 2, 2, std=2.0 * (d // 4) ** -0.5, keep=True)
    v.normal(q + "output_upscaling.3.bias", d // 8, std=0.2)
    for n in range(t.mask_tokens):
        h = f"{q}output_hypernetworks_mlps.{n}.layers."
        v.linear(h + "0", d, d, 1.4)
        v.linear(h + "1", d, d, 1.4)
        v.linear(h + "2", d // 8, d, 2.0)
    h = q + "iou_prediction_head.layers."
    v.linear(h + "0", t.iou_hidden, d, 1.4)
    v.linear(h + "1", t.iou_hidden, t.iou_hidden, 1.4)
    v.linear(h + "2", t.mask_tokens, t.iou_hidden, 0.4, bias=0.02, bias_mean=0.8)
    return v.tensors


# ------------------------------------------------------------------ byte-pair vocabulary

PHRASES = ["cat", "kitten", "sofa", "wall", "green grass", "sky", "brick building", "water", "road", "tree"]


def byte_alphabet():
    """CLIP's reversible map from bytes to printable characters, in the vocabulary's order."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable}
    table.update({b: chr(256 + n) for n, b in enumerate(rest)})
    return {b: table[b] for b in printable + rest}


def tiny_merges(count=96):
    """Byte-pair merges learned on the templates and PHRASES: most frequent pair first, ties in text order."""
    words = Counter()
    for template in TEMPLATES:
        for phrase in PHRASES:
            for word in re.findall(r"'s|[a-z]+|[0-9]|[^\sa-z0-9]+", template.format(phrase).lower()):
                words[tuple(word[:-1]) + (word[-1] + "</w>",)] += 1
    # Each class word counts as often as all templates together say it, so rare letters get merges too.
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged = Counter()
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] += n
        words = merged
    return merges


def vocabulary_size(config):
    return 49408 if config.vocabulary == "full" else 512 + len(tiny_merges()) + 2


def write_vocabulary(path):
    text = '"tiny byte-pair vocabulary#version: 0.2\n' + "\n".join(" ".join(m) for m in tiny_merges())
    with open(path, "wb") as out:
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as packed:
            packed.write(text.encode("utf-8"))


# ------------------------------------------------------------------ flavours of CLIP

HALF_IN_OPENAI = re.compile(r"(conv1\.weight|in_proj_(weight|bias)|out_proj\.(weight|bias)|c_(fc|proj)\.(weight|bias)"
                            r"|text_projection|visual\.proj)$")


def openai_dtypes(tensors):
    return {name: t.half() if HALF_IN_OPENAI.search(name) else t for name, t in tensors.items()}


class Node(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def torchscript_module(tensors, config):
    root = Node()

    def owner(path):
        node = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, Node())
            node = node._modules[part]
        return node

    for name, tensor in openai_dtypes(tensors).items():
        *path, leaf = name.split(".")
        owner(path).register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    root.register_buffer("input_resolution", torch.tensor(config.clip.grid * config.clip.patch))
    root.register_buffer("context_length", torch.tensor(config.context))
    root.register_buffer("vocab_size", torch.tensor(vocabulary_size(config)))
    return torch.jit.script(root.eval())


def huggingface_names(tensors):
    """The same weights under transformers' CLIPModel names: q, k, v apart, projections transposed."""
    out = {}
    renames = [("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
               ("attn.out_proj", "self_attn.out_proj")]
    fixed = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "logit_scale": "logit_scale",
    }
    for a, b in (("visual.ln_pre", "vision_model.pre_layrnorm"), ("visual.ln_post", "vision_model.post_layernorm"),
                 ("ln_final", "text_model.final_layer_norm")):
        for leaf in ("weight", "bias"):
            fixed[f"{a}.{leaf}"] = f"{b}.{leaf}"
    for name, t in tensors.items():
        if name in fixed:
            out[fixed[name]] = t
        elif name == "visual.proj":
            out["visual_projection.weight"] = t.T.contiguous()
        elif name == "text_projection":
            out["text_projection.weight"] = t.T.contiguous()
        else:
            match = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.*)", name)
            tower = "vision_model" if match[1] else "text_model"
            prefix, rest = f"{tower}.encoder.layers.{match[2]}.", match[3]
            if rest.startswith("attn.in_proj_"):
                for part, piece in zip("qkv", t.chunk(3)):
                    out[f"{prefix}self_attn.{part}_proj.{rest[len('attn.in_proj_'):]}"] = piece.contiguous()
            else:
                for a, b in renames:
                    if rest.startswith(a + "."):
                        rest = b + rest[len(a):]
                        break
                out[prefix + rest] = t
    out["text_model.embeddings.position_ids"] = torch.arange(tensors["positional_embedding"].shape[0])[None]
    out["vision_model.embeddings.position_ids"] = torch.arange(tensors["visual.positional_embedding"].shape[0])[None]
    return out


CLIP_FILES = {"openai": "clip.pt", "openclip": "clip-openclip.pt", "openclip-legacy": "clip-legacy.bin",
              "openclip-training": "clip-training.pt", "safetensors": "clip.safetensors",
              "huggingface": "clip-hf.safetensors"}


def write_clip(config, tensors, flavour, path, half=False):
    from safetensors.torch import save_file
    if half:
        tensors = {n: t.half() if t.ndim else t for n, t in tensors.items()}
    if flavour == "openai":
        torchscript_module(tensors, config).save(path)
    elif flavour == "openclip":
        torch.save(dict(tensors), path)
    elif flavour == "openclip-legacy":
        torch.save(dict(tensors), path, _use_new_zipfile_serialization=False)
    elif flavour == "openclip-training":
        torch.save({"epoch": 32, "name": "run", "state_dict": {"module." + n: t for n, t in tensors.items()},
                    "optimizer": {"state": {}, "param_groups": []}}, path)
    elif flavour == "safetensors":
        save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    elif flavour == "huggingface":
        save_file(huggingface_names(tensors), path, metadata={"format": "pt"})
    else:
        raise ValueError(flavour)


# ------------------------------------------------------------------ flavours of DINO and SAM

def write_dino(tensors, path, flavour="backbone", legacy=False, half=False):
    if half:
        tensors = {n: t.half() for n, t in tensors.items()}
    content = dict(tensors)
    if flavour == "full":
        # As the training script leaves it: the student wrapped for distributed training, the teacher bare.
        head = {"head.mlp.0.weight": torch.full((8, 4), 0.5), "head.mlp.0.bias": torch.zeros(8),
                "head.last_layer.weight_g": torch.ones(16, 1), "head.last_layer.weight_v": torch.zeros(16, 8)}
        student = {"module.backbone." + n: t + 0.25 for n, t in tensors.items()}
        student.update({"module." + n: t for n, t in head.items()})
        teacher = {"backbone." + n: t for n, t in tensors.items()}
        teacher.update(head)
        content = {"student": student, "teacher": teacher, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
                   "epoch": 100, "args": argparse.Namespace(arch="vit_base", patch_size=16, momentum_teacher=0.996),
                   "dino_loss": {"center": torch.zeros(1, 16)}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def write_sam(tensors, path, legacy=False, half=False):
    if half:
        tensors = {n: t.half() for n, t in tensors.items()}
    torch.save(dict(tensors), path, _use_new_zipfile_serialization=not legacy)


def rounded_to_half(tensors):
    """What a half-precision file holds, as float32: the one set of weights behind every flavour."""
    return {n: t.half().float() for n, t in tensors.items()}


def published_vocabulary():
    """The vocabulary file inside the open_clip_torch package."""
    import importlib.util
    root = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    return os.path.join(root, "bpe_simple_vocab_16e6.txt.gz")


@contextlib.contextmanager
def last_norms(*modules):
    """Rows that CLIP's and the text tower's last norms put out, by name, while code of `modules` runs."""
    norms = {"clip.norm_post": [], "text.norm_post": []}
    plain = modules[0].norm

    def watched(m, name, x, epsilon):
        y = plain(m, name, x, epsilon)
        if name in norms:
            norms[name].append(y.reshape(-1, y.shape[-1]))
        return y

    for module in modules: module.norm = watched
    try:
        yield norms
    finally:
        for module in modules: module.norm = plain


@torch.no_grad()
def centre(config, clip, dino, sam, merges):
    """Shift the biases of the two last CLIP norms so that features differ by place and text vectors by class.

    And stretch SAM's IoU prediction. With random weights every patch and every phrase point the same way, and one label would win everywhere.
    """
    import pipeline
    import weights
    from photos import synthetic
    model = weights.Model()
    weights.add_clip(model, clip, config.activation)
    weights.add_dino(model, dino)
    model.merges = merges
    with last_norms(pipeline) as norms:
        vectors = pipeline.text_vectors(model, PHRASES, TEMPLATES[::10], pipeline.Taps())
        o = pipeline.Options(short_side=config.short_side, window=config.window, stride=config.stride)
        photo = synthetic(config.short_side, config.short_side * 4 // 3, seed=99)
        image = pipeline.clip_copy(photo, o, config.clip.patch, pipeline.Taps())
        _, maps, _ = pipeline.window_features(model, image, o, pipeline.Taps())
        for part in maps:
            pipeline.similarities(model, part.flatten(1).T, vectors)
    if "clip" in config.borrow:
        return
    clip["visual.ln_post.bias"] -= 0.95 * torch.cat(norms["clip.norm_post"]).mean(0)
    clip["ln_final.bias"] -= 0.9 * torch.cat(norms["text.norm_post"]).mean(0)

    if "sam" in config.borrow:
        return
    # Once more, whole: spread the predicted IoU around the threshold, so that some regions succeed and some fail.
    model = weights.Model()
    weights.add_clip(model, rounded_to_half(clip), config.activation)
    weights.add_dino(model, dino)
    weights.add_sam(model, sam)
    model.merges = merges
    o.templates, o.minimal_area = tuple(TEMPLATES[::20]), 40
    _, taps = pipeline.segment(model, photo, [[p] for p in PHRASES], o)
    iou = taps["refine.iou"]
    factor = float(np.clip(0.1 / max(iou.std(), 1e-6), 1, 10))
    last = "mask_decoder.iou_prediction_head.layers.2."
    sam[last + "weight"] *= factor
    sam[last + "bias"] = factor * (sam[last + "bias"] - float(iou.mean())) + 0.82


def networks(config, seed):
    """The tensors of the three networks, float32, every value one that float16 holds."""
    makers = {"clip": clip_tensors, "dino": dino_tensors, "sam": sam_tensors}
    made = {name: rounded_to_half(maker(config, seed)) for name, maker in makers.items()}
    if config.vocabulary == "tiny":
        merges = tiny_merges()
    else:
        from tokenizer import read_vocabulary
        merges = read_vocabulary(published_vocabulary())
    for name, other in config.borrow.items():
        made[name] = networks(CONFIGS[other], seed)[name]
    centre(config, made["clip"], made["dino"], made["sam"], merges)
    return {name: rounded_to_half(tensors) for name, tensors in made.items()}


def make(config, directory, seed=1, flavours=None, half=None):
    """Write the checkpoints of `config`; returns the paths of the default flavour."""
    os.makedirs(directory, exist_ok=True)
    toy = config.vocabulary == "tiny"
    half = toy if half is None else half
    made = networks(config, seed)
    clip, dino, sam = made["clip"], made["dino"], made["sam"]
    join = lambda name: os.path.join(directory, name)
    chosen = [config.clip_form] if flavours is None else (list(CLIP_FILES) if flavours == "all" else flavours)
    for flavour in chosen:
        write_clip(config, clip, flavour, join(CLIP_FILES[flavour]), half=half)
    dino_file = join("dino.safetensors" if config.dino_form == "dinov2-hf" else "dino.pth")
    if config.dino_form == "dinov2-hf":
        import dinov2
        from safetensors.torch import save_file
        save_file({n: t.half() if half else t for n, t in dinov2.huggingface_names(dino).items()}, dino_file)
    else:
        write_dino(dino, dino_file, half=half)
    write_sam(sam, join("sam.pth"), half=half)
    if flavours == "all":
        write_dino(dino, join("dino-legacy.pth"), legacy=True)
        write_dino(dino, join("dino-full.pth"), "full")
        write_dino(dino, join("dino-full-legacy.pth"), "full", legacy=True)
        write_sam(sam, join("sam-legacy.pth"), legacy=True)
    paths = {"clip": join(CLIP_FILES[chosen[0]]), "dino": dino_file, "sam": join("sam.pth")}
    if toy:
        paths["vocab"] = join("vocab.txt.gz")
        write_vocabulary(paths["vocab"])
    return paths


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flavours", help="'all' or a comma list of " + ", ".join(CLIP_FILES))
    parser.add_argument("--float32", action="store_true", help="toy files in float32 instead of float16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flavours = arguments.flavours
    if flavours and flavours != "all":
        flavours = flavours.split(",")
    paths = make(CONFIGS[arguments.config], arguments.directory, arguments.seed, flavours,
                 half=False if arguments.float32 else None)
    for kind, path in paths.items():
        print(kind, path, os.path.getsize(path))


if __name__ == "__main__":
    main()
