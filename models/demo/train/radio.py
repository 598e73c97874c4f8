"""A small network in C-RADIO's layout, as RADSeg reads it (docs/parity-radseg.md): plain blocks with layer
scale, a prefix of eight tokens, self-correlating attention in the last block, a head onto the text space of
the demo's CLIP."""
import math
from argparse import Namespace

import torch
import torch.nn as nn
import torch.nn.functional as F
from nets import CLIP_MEAN, CLIP_STD, HEAD, Block, resampled

PREFIX, GRID, SCALE = 8, 21, 10.  # tokens in front; side of the position table; of both self-correlations


def correlated(unit, offset=None):
    """Softmax over similarities above zero [.., n, n] of unit rows; offset, of each photo: taken off first"""
    s = unit @ unit.transpose(-1, -2)
    s = SCALE * (s if offset is None else s - offset)
    own = torch.eye(s.shape[-1], dtype=torch.bool)
    return s.masked_fill((s < 0) & ~own, -math.inf).softmax(-1)


class ScaledBlock(Block):
    """A block with layer scale; the last one relates each head's outputs to themselves (SCRA)."""
    def __init__(self, width, last):
        super().__init__(width)
        self.ls1, self.ls2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.last = last

    def attention(self, x):
        if not self.last: return self.attn(x)
        q, k, v = self.attn.split(x)
        merge = lambda y: self.attn.proj(y.transpose(1, 2).reshape(x.shape))
        first = merge(F.scaled_dot_product_attention(q, k, v))
        unit = F.normalize(first.float().unflatten(-1, (-1, HEAD)).transpose(1, 2), dim=-1)
        return merge(correlated(unit) @ v.float())

    def forward(self, x, mask=None):
        x = x + self.ls1 * self.attention(self.norm1(x))
        return x + self.ls2 * self.mlp(self.norm2(x))


class Adaptor(nn.Module):
    """An MLP head of version 2."""
    def __init__(self, inputs, hidden, outputs, inner):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, hidden)) for _ in range(inner))
        self.final = nn.Sequential(nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, x):
        x = self.fc1(x)
        for block in self.blocks: x = x + block(x)
        return self.final(x)


class Radio(nn.Module):
    def __init__(self, width=192, depth=6, hidden=256, inner=2, embed=128):
        super().__init__()
        self.embedder = nn.Conv2d(3, width, 16, 16, bias=False)
        self.pos = nn.Parameter(torch.randn(GRID, GRID, width) * .02)
        self.token = nn.Parameter(torch.randn(PREFIX, width) * .5)
        self.blocks = nn.ModuleList(ScaledBlock(width, i == depth - 1) for i in range(depth))
        self.head = Adaptor(width, hidden, embed, inner)

    def positions(self, h, w, rng=None):
        """A table [h, w, d]: the stored one resampled and cut, or some part of it where training asks for
        variety."""
        m = max(h, w) if rng is None else max(h, w, GRID)
        table = self.pos
        if m != GRID:
            table = F.interpolate(table.permute(2, 0, 1)[None], (m, m), mode="bilinear")[0].permute(1, 2, 0)
        y, x = (0, 0) if rng is None else (int(rng.integers(m - n + 1)) for n in (h, w))
        return table[y:y + h, x:x + w]

    def features(self, photo, rng=None, keep=None):
        """[b, n, d] of the patches; keep [b, kept]: only these"""
        x = self.embedder(photo).permute(0, 2, 3, 1)
        b, h, w, d = x.shape
        x = (x + self.positions(h, w, rng)).reshape(b, h * w, d)
        if keep is not None: x = x.gather(1, keep[..., None].expand(-1, -1, d))
        x = torch.cat([self.token.expand(b, -1, -1), x], 1)
        for block in self.blocks: x = block(x)
        return x[:, PREFIX:]

    @staticmethod
    def aggregate(g):
        """Self-correlating global aggregation (SCGA), of each photo by itself."""
        g = g.float(); unit = F.normalize(g, dim=-1)
        mean = unit.sum(1).square().sum(-1) / g.shape[1] ** 2
        return correlated(unit, mean[:, None, None]) @ g

    def read(self, g): return F.normalize(self.head(g).float(), dim=-1)


def adopt_clip(model, path):
    """Starts from the demo CLIP's image tower. C-RADIO has no norm behind its patches: the deviation that the
    norm divides by becomes one constant."""
    s = torch.load(path, weights_only=True); own = model.state_dict()
    conv, gain, shift = s["visual.conv1.weight"], s["visual.ln_pre.weight"], s["visual.ln_pre.bias"]
    first, table = resampled(s["visual.positional_embedding"], GRID)
    centre = lambda x, axis: x - x.mean(axis, keepdim=True)
    gain = gain / 3.7                                     # the median deviation over the tokens of scenes
    own["embedder.weight"].copy_(centre(conv, 0) * gain[:, None, None, None])
    own["pos"].copy_(centre(table, -1) * gain + shift)
    own["token"][0].copy_(F.layer_norm(s["visual.class_embedding"] + first[0], first.shape[-1:])
                          * gain * 3.7 + shift)
    for i in range(len(model.blocks)):
        old, new = f"visual.transformer.resblocks.{i}.", f"blocks.{i}."
        for a, b in (("norm1.", "ln_1."), ("norm2.", "ln_2."), ("attn.qkv.", "attn.in_proj_"),
                     ("attn.proj.", "attn.out_proj."), ("mlp.fc1.", "mlp.c_fc."),
                     ("mlp.fc2.", "mlp.c_proj.")):
            for leaf in ("weight", "bias"): own[new + a + leaf].copy_(s[old + b + leaf])


def checkpoint(state, tower):
    """What `torch.save` writes as a `.pth.tar`; tower: whose words the head leads to."""
    out = {}
    for k, v in state.items():
        v = v.detach().clone().contiguous()
        if k == "embedder.weight": k, v = "patch_generator.embedder.weight", v.flatten(1)
        if k == "pos": k, v = "patch_generator.pos_embed", v.flatten(0, 1)[None].half()
        if k == "token": k = "patch_generator.cls_token.token"
        if k.endswith((".ls1", ".ls2")): k += ".gamma"
        head, _, rest = k.partition(".")
        where = {"head": "_heads.0.", "sam_head": "_feature_projections.1."}.get(head)
        out[where + rest if where else "base_model." + k] = v
    for name, values in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
        out["input_conditioner.norm_" + name] = torch.tensor(values).view(3, 1, 1)
    width, depth = state["token"].shape[1], 1 + max(int(k.split(".")[1]) for k in state if k[:7] == "blocks.")
    teachers = [{"name": "siglip2", "type": "siglip2", "model": tower, "use_summary": True},
                {"name": "sam", "type": "sam", "model": "demo", "use_summary": False}]
    args = Namespace(model="vit_base_patch16_v2_224", cpe_max_size=16 * GRID, mlp_version="v2",
                     model_kwargs=dict(embed_dim=width, depth=depth, num_heads=width // HEAD, mlp_ratio=4.0),
                     teachers=teachers)
    return {"arch": "vit_base_patch16_v2_224", "epoch": 0, "state_dict": out, "args": args}


def load_checkpoint(path):
    """The network of a checkpoint that `checkpoint` wrote, to go on with."""
    import argparse
    with torch.serialization.safe_globals([argparse.Namespace]): found = torch.load(path, weights_only=True)
    model, state = Radio(), {}
    for k, v in found["state_dict"].items():
        k = k.removeprefix("base_model.").removeprefix("patch_generator.").removesuffix(".gamma")
        k = k.replace("_heads.0.", "head.").replace("_feature_projections.1.", "sam_head.")
        k = {"pos_embed": "pos", "cls_token.token": "token"}.get(k, k)
        state[k] = v
    if any(k.startswith("sam_head.") for k in state):
        hidden, width = state["sam_head.fc1.weight"].shape
        inner = sum(k.startswith("sam_head.blocks.") and k.endswith(".2.weight") for k in state)
        model.sam_head = Adaptor(width, hidden, len(state["sam_head.final.2.bias"]), inner)
    own = model.state_dict()
    model.load_state_dict({k: state[k].view(v.shape).float() for k, v in own.items()})
    return model, found["args"].teachers[0]["model"]
