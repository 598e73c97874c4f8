"""The method's networks as batched PyTorch modules, the form other runtimes are given.

Same weights and same arithmetic as `Tests/Reference/pipeline.py` (each run prints how far the scores agree),
but windows in one batch, attention of all heads at once, and everything up to the scores of the grid in one
graph, so that a runtime may fuse what it likes. The mask decoder is a second graph, called once a region.
"""

import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../Tests/Reference"))
import pipeline


def linear(m, name, rows=slice(None)):
    weight, bias = m[name + ".weight"][rows], m.get(name + ".bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias[rows].clone()
    return layer


def norm(m, name, epsilon):
    layer = nn.LayerNorm(len(m[name + ".weight"]), eps=epsilon)
    layer.weight.data, layer.bias.data = m[name + ".weight"].clone(), m[name + ".bias"].clone()
    return layer


class Attention(nn.Module):
    """x [batch, tokens, width]; with `side`, tokens are a square and relative positions are added.

    `fused`: one call of the runtime's attention; otherwise logits, softmax and mix as separate products.
    """

    def __init__(self, m, name, c, fused, side=None):
        super().__init__()
        self.heads, self.fused, self.side = c.heads, fused, side
        self.qkv, self.out = linear(m, name + ".qkv"), linear(m, name + ".out")
        if side:
            offsets = torch.arange(side)[:, None] - torch.arange(side)[None, :] + side - 1
            self.register_buffer("rel_h", m[name + ".rel_h"][offsets])
            self.register_buffer("rel_w", m[name + ".rel_w"][offsets])

    def split(self, x):
        b, n, _ = x.shape
        return self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def positions(self, q):
        b, heads, n, w = q.shape
        grid = q.reshape(b * heads, self.side, self.side, w)
        rows = torch.einsum("byxc,ykc->byxk", grid, self.rel_h)
        columns = torch.einsum("byxc,xkc->byxk", grid, self.rel_w)
        return (rows[..., :, None] + columns[..., None, :]).reshape(b, heads, n, n)

    def mix(self, q, k, v):
        bias = self.positions(q) if self.side else None
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return (logits if bias is None else logits + bias).softmax(-1) @ v

    def forward(self, x):
        y = self.mix(*self.split(x))
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, m, name, c, kind, fused, side=None):
        super().__init__()
        self.kind = kind
        self.norm1, self.norm2 = norm(m, name + ".norm1", c.epsilon), norm(m, name + ".norm2", c.epsilon)
        self.attention = Attention(m, name, c, fused, side)
        self.mlp_in, self.mlp_out = linear(m, name + ".mlp_in"), linear(m, name + ".mlp_out")

    def mlp(self, x):
        return x + self.mlp_out(pipeline.activate(self.mlp_in(self.norm2(x)), self.kind))

    def forward(self, x):
        return self.mlp(x + self.attention(self.norm1(x)))


class Tower(nn.Module):
    """Windows [windows, 3, side, side] to tokens without the class token: DINO whole, CLIP before its last
    block."""

    def __init__(self, m, net, blocks, kind, fused, side):
        super().__init__()
        c = getattr(m, net)
        grid = side // c.patch
        self.patch = nn.Conv2d(3, c.width, c.patch, c.patch, bias=m.get(net + ".patch.bias") is not None)
        self.patch.weight.data = m[net + ".patch.weight"].reshape(-1, 3, c.patch, c.patch).clone()
        if self.patch.bias is not None:
            self.patch.bias.data = m[net + ".patch.bias"].clone()
        position = m[net + ".position"]
        self.register_buffer("start", (m[net + ".class_embedding"] + position[0])[None, None])
        self.register_buffer("position", pipeline.position_grid(position[1:], grid, grid)[None])
        before = m.get(net + ".norm_pre.weight") is not None
        self.before = norm(m, net + ".norm_pre", c.epsilon) if before else nn.Identity()
        self.blocks = nn.ModuleList(Block(m, f"{net}.blocks.{n}", c, kind, fused) for n in range(blocks))

    def enter(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.before(torch.cat([self.start.expand(len(x), -1, -1), x], 1))

    def forward(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return x[:, 1:]


class ChannelNorm(nn.Module):
    def __init__(self, m, name):
        super().__init__()
        self.norm = norm(m, name, 1e-6)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Sam(nn.Module):
    """Image [1, 3, side, side] to the embedding [1, neck, grid, grid] and the affinity [n, n] of the last
    block."""

    def __init__(self, m, o, fused):
        super().__init__()
        c = self.c = m.sam
        self.o = o
        self.patch = nn.Conv2d(3, c.width, c.patch, c.patch)
        self.patch.weight.data = m["sam.patch.weight"].reshape(-1, 3, c.patch, c.patch).clone()
        self.patch.bias.data = m["sam.patch.bias"].clone()
        self.register_buffer("position", m["sam.position"].reshape(1, c.grid, c.grid, -1))
        self.blocks = nn.ModuleList(
            Block(m, f"sam.blocks.{n}", c, "gelu", fused, c.grid if n in c.global_blocks else c.window)
            for n in range(c.depth))
        self.conv1 = nn.Conv2d(c.width, c.neck, 1, bias=False)
        self.conv1.weight.data = m["sam.neck.conv1.weight"][:, :, None, None].clone()
        self.conv2 = nn.Conv2d(c.neck, c.neck, 3, padding=1, bias=False)
        self.conv2.weight.data = m["sam.neck.conv2.weight"].reshape(c.neck, 3, 3, c.neck).permute(0, 3, 1,
                2).clone()
        self.norm1, self.norm2 = ChannelNorm(m, "sam.neck.norm1"), ChannelNorm(m, "sam.neck.norm2")

    def windowed(self, block, x):
        g, w = self.c.grid, self.c.window
        across = -(-g // w)
        y = F.pad(block.norm1(x), (0, 0, 0, across * w - g, 0, across * w - g))
        y = y.reshape(across, w, across, w, -1).transpose(1, 2).reshape(across * across, w * w, -1)
        y = block.attention(y)
        y = y.reshape(across, across, w, w, -1).transpose(1, 2).reshape(1, across * w, across * w, -1)
        return block.mlp(x + y[:, :g, :g])

    def forward(self, x):
        g = self.c.grid
        x = self.patch(x).permute(0, 2, 3, 1) + self.position
        for n, block in enumerate(self.blocks[:-1]):
            if n in self.c.global_blocks:
                x = block(x.reshape(1, g * g, -1)).reshape(x.shape)
            else:
                x = self.windowed(block, x)
        # The last block one head at a time: its attention is both the block's own and the affinity.
        block, x = self.blocks[-1], x.reshape(1, g * g, -1)
        q, k, v = (t[0] for t in block.attention.split(block.norm1(x)))
        unit = F.normalize(v, dim=-1)
        threshold = self.o.cos_factor * (unit * unit.mean(1, keepdim=True)).sum(-1).mean(0)
        threshold = threshold.clamp(max=0.9)[:, None]
        total, mixed = 0, []
        for h in range(self.c.heads):
            logits = (q[h] * q.shape[-1] ** -0.5) @ k[h].T + block.attention.positions(q[None, h:h + 1])[0, 0]
            attention = logits.softmax(-1)
            mixed.append(attention @ v[h])
            total = total + torch.where(unit[h] @ unit[h].T > threshold, attention, 0.0)
        x = block.mlp(x + block.attention.out(torch.cat(mixed, -1)[None]))
        x = x.reshape(1, g, g, -1).permute(0, 3, 1, 2)
        return self.norm2(self.conv2(self.norm1(self.conv1(x)))), total / total.sum(1, keepdim=True)


class Encoders(nn.Module):
    """Everything up to the scores of the grid, of a photo whose windows and SAM grid have no padding.

    clip, dino [windows, 3, 336, 336]; sam [1, 3, 1024, 1024]; text [phrases, embed] ->
    scores [phrases, grid, grid], embedding [1, neck, grid, grid].
    """

    def __init__(self, m, o, side, fused):
        super().__init__()
        c = m.clip
        self.o, self.heads = o, c.heads
        self.origins = [(y // c.patch, x // c.patch) for y,
                        x in pipeline.window_origins(side, side, o.window, o.stride)]
        self.grid, self.cells = side // c.patch, o.window // c.patch
        self.dino = Tower(m, "dino", m.dino.depth, "gelu", fused, o.window)
        self.dino_norm = norm(m, "dino.norm_post", m.dino.epsilon)
        self.clip = Tower(m, "clip", c.depth - 1, m.activation, fused, o.window)
        last = f"clip.blocks.{c.depth - 1}."
        self.norm1 = norm(m, last + "norm1", c.epsilon)
        self.values = linear(m, last + "qkv", slice(2 * c.width, None))
        self.out = linear(m, last + "out")
        self.norm_post, self.proj = norm(m, "clip.norm_post", c.epsilon), linear(m, "clip.proj")
        self.sam = Sam(m, o, fused)

    def proxy(self, clip, dino):
        """[windows, n, width] features after the proxy attention and the out-projection."""
        unit = F.normalize(self.dino_norm(self.dino(dino)), dim=-1)
        values = self.values(self.norm1(self.clip(clip)))
        similarity = unit @ unit.transpose(1, 2)
        shifted = (similarity - similarity.mean() * self.o.beta) * self.o.gamma
        weights = torch.where(shifted < 0, float("-inf"), shifted).softmax(-1)
        return self.out(weights @ values)

    def splice(self, parts):
        total, count = 0, 0
        for part, (y, x) in zip(parts, self.origins):
            part = part.T.reshape(1, -1, self.cells, self.cells)
            room = (x, self.grid - x - self.cells, y, self.grid - y - self.cells)
            total = total + F.pad(part, room)
            count = count + F.pad(torch.ones_like(part[:, :1]), room)
        side = self.sam.c.grid
        grown = F.interpolate(total / count, size=(side, side), mode="bilinear", align_corners=False)
        return grown[0].flatten(1).T

    def forward(self, clip, dino, sam, text):
        embedding, affinity = self.sam(sam)
        features = affinity @ self.splice(self.proxy(clip, dino))
        z = F.normalize(self.proj(self.norm_post(features)), dim=-1)
        side = self.sam.c.grid
        return (z @ text.T).T.reshape(len(text), side, side), embedding


class Decoder(nn.Module):
    """One region: embedding [1, neck, grid, grid], point [2], box [4], mask prompt [256, 256] -> logits,
    IoU."""

    def __init__(self, m, o):
        super().__init__()
        self.m, self.o = m, o

    def forward(self, embedding, point, box, mask):
        m = self.m
        corners = torch.stack([point, box[:2], box[2:]])
        sparse = pipeline.fourier((corners + 0.5) / m.sam.side, m) + m["sam.prompt.points"][1:4]
        x = mask[None, None]
        for conv, after in (("0", "1"), ("3", "4")):
            x = F.conv2d(x, m[f"sam.prompt.mask.{conv}.weight"], m[f"sam.prompt.mask.{conv}.bias"], stride=2)
            x = F.gelu(pipeline.mask_prompt_norm(x[0], m, f"sam.prompt.mask.{after}", self.o.mask_norm))[None]
        dense = F.conv2d(x, m["sam.prompt.mask.6.weight"], m["sam.prompt.mask.6.bias"])[0]
        return pipeline.decode_mask(m, embedding[0], sparse, dense)


class Text(nn.Module):
    """Token ids [prompts, context] to unit vectors [prompts, embed], every prompt at its full context."""

    def __init__(self, m):
        super().__init__()
        c, t = m.text, m.tensors
        self.token, self.position = nn.Parameter(t["text.token"]), nn.Parameter(t["text.position"])
        self.blocks = nn.ModuleList(Block(m, f"text.blocks.{n}", c, m.activation, False)
                                    for n in range(c.depth))
        self.norm_post, self.proj = norm(m, "text.norm_post", c.epsilon), linear(m, "text.proj")

    def attend(self, attention, x):
        q, k, v = attention.split(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return attention.out(y.transpose(1, 2).reshape(x.shape))

    def forward(self, ids):
        x = self.token[ids] + self.position
        for block in self.blocks:
            x = block.mlp(x + self.attend(block.attention, block.norm1(x)))
        ends = x[torch.arange(len(ids)), ids.argmax(-1)]
        return F.normalize(self.proj(self.norm_post(ends)), dim=-1)
