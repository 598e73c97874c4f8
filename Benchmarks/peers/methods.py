"""RADSeg and SC-CLIP as batched PyTorch modules, as networks.py has Trident: one graph from windows to grid
scores.

Same weights and same arithmetic as `Tests/Reference/radseg.py` and `scclip.py`, but windows in one batch and
all heads at once. What the references tell by place (repaired outliers) is told by masks here, so that the
graph has no loop over tokens.
"""

import networks
import numpy as np
import pipeline
import radio_weights
import radseg
import scclip
import torch
import torch.nn.functional as F
import weights
from networks import linear, norm
from torch import nn

NOTHING = float("-inf")


def unit_vectors(count, width):
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


# ------------------------------------------------------------------ RADSeg

class Adaptor(nn.Module):
    """A head of version 1 or 2."""

    def __init__(self, m, name):
        super().__init__()
        self.first, self.last = linear(m, name + ".in"), linear(m, name + ".out")
        self.version, epsilon = m.radio.head_version, m.radio.head_epsilon
        self.norm = norm(m, name + ".norm", epsilon)
        self.blocks = nn.ModuleList()
        while m.get(f"{name}.blocks.{len(self.blocks)}.out.weight") is not None:
            block = f"{name}.blocks.{len(self.blocks)}"
            before = norm(m, block + ".norm", epsilon)
            self.blocks.append(nn.Sequential(before, nn.GELU(), linear(m, block + ".out")))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        x = self.norm(x)
        return self.last(x.relu() if self.version == "v1" else F.gelu(x))


class RADSeg(nn.Module):
    """Windows [windows, 3, side, side] and text [Q, e] to cosines of the canvas [Q, n]."""

    def __init__(self, m, o, sides, fused):
        super().__init__()
        c, self.o = m.radio, o
        self.heads, self.prefix, self.cells = c.heads, c.prefix, o.window // c.patch
        self.patch = nn.Conv2d(3, c.width, c.patch, c.patch, bias=False)
        self.patch.weight.data = m["radio.patch.weight"].reshape(-1, 3, c.patch, c.patch).clone()
        self.register_buffer("position", radseg.position_grid(m, self.cells, self.cells)[None].clone())
        self.register_buffer("start", m["radio.prefix"][None].clone())
        self.blocks = nn.ModuleList(networks.Block(m, f"radio.blocks.{n}", c, "gelu", fused)
                                    for n in range(c.depth))
        self.register_buffer("scale", m["radio.scale.last"].clone())
        post = m.get("radio.norm_post.weight") is not None
        self.norm_post = norm(m, "radio.norm_post", c.epsilon) if post else nn.Identity()
        normalizer = m.get("radio.normalizer.mean")
        if normalizer is not None:
            self.register_buffer("mean", normalizer.clone())
            self.normalizer = linear(m, "radio.normalizer.tx")
        self.normalized, self.head = normalizer is not None, Adaptor(m, "radio.head")
        self.origins = [(y // c.patch, x // c.patch)
                        for y, x in pipeline.window_origins(*sides, o.window, o.stride)]
        self.grid = sides[0] // c.patch, sides[1] // c.patch

    def recursive(self, attention, x):
        q, k, v = attention.split(x)
        merge = lambda y: attention.out(y.transpose(1, 2).reshape(x.shape))
        first = merge(attention.mix(q, k, v)).reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
        unit = F.normalize(first, dim=-1)
        similarity = self.o.scra_scale * (unit @ unit.transpose(-2, -1))
        return merge(torch.where(similarity < 0, NOTHING, similarity).softmax(-1) @ v)

    def features(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        x = last.mlp(x + self.scale * self.recursive(last.attention, last.norm1(x)))
        x = self.norm_post(x)[:, self.prefix:]
        return self.normalizer(x - self.mean) if self.normalized else x

    def forward(self, windows, text):
        total, count = 0, 0
        for part, (y, x) in zip(self.features(windows), self.origins):
            part = part.T.reshape(1, -1, self.cells, self.cells)
            room = (x, self.grid[1] - x - self.cells, y, self.grid[0] - y - self.cells)
            total, count = total + F.pad(part, room), count + F.pad(torch.ones_like(part[:, :1]), room)
        g = (total / count)[0].flatten(1).T
        unit = F.normalize(g, dim=-1)
        mean = unit.sum(0).square().sum() / len(g) ** 2
        similarity = self.o.scga_scale * (unit @ unit.T - mean)
        g = torch.where(similarity < 0, NOTHING, similarity).softmax(-1) @ g
        return text @ F.normalize(self.head(g), dim=-1).T


class RADSegJob:
    """What a peer of RADSeg is given, and what it is compared with."""

    def __init__(self, path, photo):
        self.m, self.o, self.photo = radio_weights.from_gguf(path), radseg.Options(), photo
        small = radseg.normalized(radseg.resized(photo, self.o))
        self.sides = radseg.rounded_sides(*small.shape[1:], self.o.stride, self.o.window)
        self.image = pipeline.bilinear(small, *self.sides)

    def inputs(self, phrases):
        windows = [self.image[:, y:y + self.o.window, x:x + self.o.window]
                   for y, x in pipeline.window_origins(*self.sides, self.o.window, self.o.stride)]
        return torch.stack(windows), unit_vectors(phrases, self.m.radio.embed_dim)

    def module(self, fused):
        return RADSeg(self.m, self.o, self.sides, fused).eval()

    def reference(self, text):
        _, taps = radseg.segment(self.m, self.photo, [[str(n)] for n in range(len(text))], self.o, text)
        return taps["scores.phrases"]


# ------------------------------------------------------------------ SC-CLIP

def cosines(x):
    unit = F.normalize(x, dim=-1)
    return unit @ unit.transpose(-2, -1)


class SCCLIP(nn.Module):
    """Windows [windows, 3, side, side] and text [Q, e] to cosines [Q, windows x n]."""

    def __init__(self, m, o, fused):
        super().__init__()
        c, self.o, last = m.clip, o, f"clip.blocks.{m.clip.depth - 1}."
        self.heads, self.cells, self.fused = c.heads, o.window // c.patch, fused
        self.tower = networks.Tower(m, "clip", c.depth - 1, m.activation, fused, o.window)
        self.norm1, self.out = norm(m, last + "norm1", c.epsilon), linear(m, last + "out")
        self.keys_values = linear(m, last + "qkv", slice(c.width, None))
        self.norm_post, self.proj = norm(m, "clip.norm_post", c.epsilon), linear(m, "clip.proj")

    def outliers(self, x):
        """1 at outliers, else 0: [windows, n]. Distances stay when the mean is taken off, and lose less."""
        x = x - x.mean(1, keepdim=True)
        size = x.square().sum(-1)
        distance = (size[:, :, None] + size[:, None] - 2 * x @ x.transpose(1, 2)).clamp(min=0)
        nearest, places = distance.topk(self.o.neighbours + 1, dim=-1, largest=False)
        reach = nearest[..., -1].clamp(min=1e-12)
        around = (1 / reach)[:, None].expand_as(distance).gather(2, places[..., 1:])
        factor = reach * around.mean(-1)
        place = (1 - self.o.contamination) * (x.shape[1] - 1)
        below, ordered = int(place), factor.sort(-1).values
        edge = ordered[:, below] + (ordered[:, below + 1] - ordered[:, below]) * (place - below)
        return (factor > edge[:, None]).to(x.dtype)

    def repair(self, x, bad):
        """Outliers become the mean of their neighbours that are none."""
        grid = lambda t: t.transpose(1, 2).reshape(len(x), -1, self.cells, self.cells)
        mean = lambda t: F.avg_pool2d(grid(t), 3, 1, 1)      # of nine, what lies outside counts as 0
        good = 1 - bad[..., None]
        around = (mean(x * good) / mean(good).clamp(min=0.01)).flatten(2).transpose(1, 2)
        enough = mean(good).flatten(2).transpose(1, 2) > 0.01
        return torch.where((good == 0) & enough, around, x)

    def mix(self, cosine, x):
        weight = torch.where(cosine < self.o.cut, 0.0, cosine)
        return (weight / (1e-6 + weight.sum(-1, keepdim=True))) @ x

    def attended(self, x, rows):
        b, n, width = x.shape
        both = self.keys_values(self.norm1(x)).reshape(b, n, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        k, v = both.unbind(0)
        if self.fused:
            own = F.scaled_dot_product_attention(k, k, v)
        else:
            own = ((k * k.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        return (0.5 * (rows[:, None] @ v) + 0.5 * own).transpose(1, 2).reshape(b, n, width)

    def forward(self, windows, text):
        x = self.tower.enter(windows)
        low = middle = total = 0
        for number, block in enumerate(self.tower.blocks, 1):
            x = block(x)
            low = x if number == self.o.low else low
            middle = x if number == self.o.mid else middle
            if self.o.level_first <= number <= self.o.level_last:
                total = total + x
        patches, bad = x[:, 1:], self.outliers(x[:, 1:])
        similarity = cosines(self.repair(middle[:, 1:], bad))
        e = (similarity - similarity.mean((1, 2), keepdim=True)) * self.o.gamma
        rows = torch.where(e < 0, NOTHING, e).softmax(-1)
        mixed = self.mix(similarity, self.repair(patches, bad))
        # One out-projection and one mix serve both halves; the projection's bias counts twice.
        y = self.out(self.attended(mixed, rows) + self.attended(total[:, 1:], rows)) + self.out.bias
        z = self.mix(cosines(low[:, 1:]), y) + self.o.class_weight * (x[:, :1] + total[:, :1])
        z = F.normalize(self.proj(self.norm_post(z)), dim=-1)
        return text @ z.flatten(0, 1).T


class SCCLIPJob:
    """What a peer of SC-CLIP is given, and what it is compared with."""

    def __init__(self, path, photo):
        self.m, self.photo = weights.from_gguf(path), photo
        self.o = scclip.Options(**scclip.LEVELS[self.m.clip.depth])

    def inputs(self, phrases):
        copy = scclip.photo_copy(self.photo, self.o, self.m.clip.patch, pipeline.Taps())
        windows = [window for _, _, window in scclip.windows_of(copy, self.o)]
        return torch.stack(windows), unit_vectors(phrases, len(self.m["clip.proj.weight"]))

    def module(self, fused):
        return SCCLIP(self.m, self.o, fused).eval()

    def reference(self, text):
        _, taps = scclip.segment(self.m, self.photo, [[str(n)] for n in range(len(text))], self.o, text,
                                 every_window=True)
        count = len(taps["windows.origins"])
        return np.concatenate([taps[f"scores.{n}"] for n in range(count)]).T


JOBS = {"radseg": RADSegJob, "sc-clip": SCCLIPJob}
