"""What may stand in CLIP's last block in place of a method's own attention, and CLIP's word for a picture as
a whole. Shared by scclip.py and pipeline.py.

Source: ClearCLIP (self), NACLIP (neighbour), MaskCLIP (value), GCLIP at second hand (global), CASS (the class
token mixed in). The block's skip and MLP are left out. Blocks are counted from one.
"""

import pipeline
import torch
import torch.nn.functional as F

KINDS = ("self", "neighbour", "value", "global")
DEVIATION = 5.0                           # NACLIP's, patches


def queries_keys_values(m, number, x):
    """Of block `number` for the tokens that enter it: [heads, n + 1, w] each."""
    name = f"clip.blocks.{number - 1}"
    y = pipeline.norm(m, name + ".norm1", x, m.clip.epsilon)
    return (pipeline.heads_of(t, m.clip.heads) for t in pipeline.linear(m, name + ".qkv", y).chunk(3, 1))


def ordinary_map(m, number, x):
    """Attention of block `number` for the tokens that enter it, averaged over heads: [n + 1, n + 1]."""
    q, k, _ = queries_keys_values(m, number, x)
    return (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1).mean(0)


def closeness(grid, deviation=DEVIATION):
    """exp(-d^2 / (2 deviation^2)) between patches, zero for the class token: [n + 1, n + 1]."""
    rows, cols = grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()], 1).double()
    square = (place[:, None] - place[None]).square().sum(-1)
    out = torch.zeros(rows * cols + 1, rows * cols + 1)
    out[1:, 1:] = torch.exp(-square / (2 * deviation ** 2)).float()
    return out


def attended(m, kind, x, grid, maps=()):
    """out(W v) of the patches `[n, d]`, for all tokens `x [n + 1, d]` that enter the last block. `maps`: what
    the middle blocks looked at."""
    q, k, v = queries_keys_values(m, m.clip.depth, x)
    scale = q.shape[-1] ** -0.5
    if kind == "value":
        y = v
    elif kind == "self":
        y = (q @ q.transpose(1, 2) * scale).softmax(-1) @ v
    elif kind == "neighbour":
        y = (k @ k.transpose(1, 2) * scale + closeness(grid)).softmax(-1) @ v
    else:
        own = (q @ q.transpose(1, 2) * scale).softmax(-1).mean(0)
        y = torch.stack([*maps, own]).mean(0) @ v
    return pipeline.linear(m, f"clip.blocks.{m.clip.depth - 1}.out", y.transpose(0, 1).flatten(1))[1:]


def embedding(m, x):
    """CLIP's unit embedding [e] of what the tokens `x [n + 1, d]`, which enter the last block, are of."""
    x = pipeline.block(m, f"clip.blocks.{m.clip.depth - 1}", m.clip, x, m.activation)
    token = pipeline.norm(m, "clip.norm_post", x[:1], m.clip.epsilon)
    return F.normalize(pipeline.linear(m, "clip.proj", token), dim=1)[0]


class Watch:
    """Keeps the maps of the middle blocks `first` to `last`; for `watch(i, x)`."""

    def __init__(self, m, first, last):
        self.m, self.blocks, self.maps = m, range(first, last + 1), []

    def __call__(self, number, x):
        if number in self.blocks:
            self.maps.append(ordinary_map(self.m, number, x))
