#!/usr/bin/env python3
"""The whole method once, plainly, in float32: photo and phrases in, label map and taps out.

    pipeline.py --clip C --dino D --sam S --vocab V [--activation A] --class "cat; kitten" --class sofa PHOTO
    pipeline.py --model M.gguf --class ... PHOTO [--labels L.png] [--scores S.npy] [--taps T.taps]

Written from the paper and the behaviour pinned for this project; it shares no code with the programs it judges.
Every stage that holds an n x n matrix holds it openly, one head at a time.
"""

import argparse
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import dinov2
import last_attention
import weights
from templates import TEMPLATES
from tokenizer import Tokenizer

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass
class Options:
    short_side: int = 448
    long_side: int = 2048
    window: int = 336
    stride: int = 224
    logit_scale: float = 40.0
    beta: float = 1.2
    gamma: float = 3.0
    cos_factor: float = 1.2
    refine_negative_cosine: bool = True       # False: a negative threshold becomes 0.6
    probability_threshold: float = 0.0
    coarse_threshold: float = 0.2
    minimal_area: int = 225
    iou_threshold: float = 0.8
    mask_alpha: float = 0.005
    prompts: tuple = ("point", "box", "mask")
    mask_norm: str = "rows"                   # rows: as the public implementation; channels: as SAM defines it
    affinity: str = "trident"                 # trident, attention, cosine, none
    paradigm: str = "splice"                  # splice, window
    dino: bool = True                         # False: CLIP's own last-block values stand in for DINO
    halves: bool = False                      # Cityscapes: two SAM halves
    refine: bool = True
    clip_attention: str = "published"         # or one of last_attention.KINDS, in place of DINO's features
    global_first: int = 7                     # GCLIP's middle blocks, of twelve
    global_last: int = 8
    class_mix: float = 0.0                    # weight of the class token's scores
    templates: tuple = tuple(TEMPLATES)


class Taps(dict):
    def put(self, name, value):
        self[name] = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


# ------------------------------------------------------------------ resampling

def bilinear(planes, height, width):
    """[c, h, w] resampled with half-pixel centres, no antialiasing."""
    if planes.shape[-2:] == (height, width):
        return planes
    return F.interpolate(planes[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def bicubic_matrix(source, target):
    """Rows of four taps (A = -0.75, clamped at the border); the step is source / (target + 0.1)."""
    step = source / (target + 0.1)
    matrix = np.zeros((target, source))
    a = -0.75
    near = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1
    far = lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    for n in range(target):
        position = (n + 0.5) * step - 0.5
        base = math.floor(position)
        t = position - base
        for tap, weight in zip(range(base - 1, base + 3), (far(t + 1), near(t), near(1 - t), far(2 - t))):
            matrix[n, min(max(tap, 0), source - 1)] += weight
    return matrix


def position_grid(table, height, width):
    """A patch position table [g*g, d] on a height x width grid: unchanged if that is the table's own grid."""
    side = round(len(table) ** 0.5)
    if (height, width) == (side, side):
        return table
    planes = table.double().numpy().reshape(side, side, -1)
    planes = np.einsum("yi,ijd->yjd", bicubic_matrix(side, height), planes)
    planes = np.einsum("xj,yjd->yxd", bicubic_matrix(side, width), planes)
    return torch.from_numpy(planes.reshape(height * width, -1).astype(np.float32))


def round_up(n, multiple):
    return -(-n // multiple) * multiple


# ------------------------------------------------------------------ 1. two copies of the photo

def clip_copy(photo, o, patch, taps):
    h, w = photo.shape[:2]
    scale = min(o.long_side / max(h, w), o.short_side / min(h, w))
    size = max(int(w * scale + 0.5), 1), max(int(h * scale + 0.5), 1)
    small = photo if size == (w, h) else cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)
    taps.put("image.clip_u8", small)
    x = torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 255
    x = (x - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    h, w = x.shape[1:]
    if h % patch or w % patch or min(h, w) < o.window:
        long = max(h, w)
        target = round_up(long, patch)
        h, w = (max(round_up(int(n * target / long), patch), o.window) for n in (h, w))
        x = bilinear(x, h, w)
    taps.put("image.clip_input", x)
    return x


def sam_size(h, w, side):
    scale = side * 1.0 / max(h, w)
    return max(int(h * scale + 0.5), 1), max(int(w * scale + 0.5), 1)


def sam_copy(photo, side):
    """8-bit, long side `side`, antialiased: rows first, as Pillow did it when the results were published."""
    h, w = sam_size(*photo.shape[:2], side)
    return np.asarray(Image.fromarray(photo).resize((w, photo.shape[0]), Image.BILINEAR).resize((w, h), Image.BILINEAR))


def round_photo(photo, patch):
    h, w = photo.shape[:2]
    size = round_up(w, patch), round_up(h, patch)
    return photo if size == (w, h) else cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)


# ------------------------------------------------------------------ 2. windows

def window_origins(h, w, window, stride):
    rows = max(h - window + stride - 1, 0) // stride + 1
    columns = max(w - window + stride - 1, 0) // stride + 1
    return [(max(min(r * stride, h - window), 0), max(min(c * stride, w - window), 0))
            for r in range(rows) for c in range(columns)]


# ------------------------------------------------------------------ transformer parts

def linear(m, name, x):
    return F.linear(x, m[name + ".weight"], m.get(name + ".bias"))


def norm(m, name, x, epsilon):
    return F.layer_norm(x, x.shape[-1:], m[name + ".weight"], m[name + ".bias"], epsilon)


def activate(x, kind):
    if kind == "swiglu":
        first, second = x.chunk(2, -1)
        return F.silu(first) * second
    return x * torch.sigmoid(1.702 * x) if kind == "quickgelu" else F.gelu(x)


def heads_of(x, heads):
    """[n, heads * w] -> [heads, n, w]"""
    return x.reshape(len(x), heads, -1).transpose(0, 1)


def block(m, name, c, x, kind, mask=None):
    """One pre-norm transformer block on [n, width]."""
    q, k, v = (heads_of(t, c.heads) for t in linear(m, name + ".qkv", norm(m, name + ".norm1", x, c.epsilon)).chunk(3, 1))
    logits = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = logits + mask
    y = (logits.softmax(-1) @ v).transpose(0, 1).reshape(x.shape)
    x = x + linear(m, name + ".out", y)
    hidden = activate(linear(m, name + ".mlp_in", norm(m, name + ".norm2", x, c.epsilon)), kind)
    return x + linear(m, name + ".mlp_out", hidden)


def patches(image, size):
    """[3, h, w] -> [n, 3 * size * size], each row in order (channel, y, x)."""
    c, h, w = image.shape
    return image.reshape(c, h // size, size, w // size, size).permute(1, 3, 0, 2, 4).reshape(-1, c * size * size)


# ------------------------------------------------------------------ 3. DINO

def dino_features(m, window, index, taps):
    c = m.dino
    h, w = window.shape[1] // c.patch, window.shape[2] // c.patch
    x = linear(m, "dino.patch", patches(window, c.patch))
    registers = m.get("dino.registers")               # DINOv2's; they have no position
    if hasattr(c, "position_rule"):
        x = x + dinov2.position_grid(m["dino.position"][1:], h, w, c.position_rule)
    else:
        x = x + position_grid(m["dino.position"][1:], h, w)
    front = [(m["dino.class_embedding"] + m["dino.position"][0])[None]]
    front += [registers] if registers is not None else []
    x = torch.cat(front + [x])
    if index is not None:
        taps.put(f"dino.embed.{index}", x)
    for n in range(c.depth):
        x = block(m, f"dino.blocks.{n}", c, x, getattr(c, "mlp", "gelu"))
        if index is not None:
            taps.put(f"dino.blocks.{n}.{index}", x)
    x = norm(m, "dino.norm_post", x, c.epsilon)[len(x) - h * w:]
    if index is not None:
        taps.put(f"dino.features.{index}", x)
    return x, (h, w)


# ------------------------------------------------------------------ 4. CLIP, DINO as proxy attention

def clip_last_input(m, window, index, taps, watch=None):
    """Tokens that enter the last block, class token first. `watch(i, x)` sees what enters block i, from
    one."""
    c = m.clip
    h, w = window.shape[1] // c.patch, window.shape[2] // c.patch
    x = linear(m, "clip.patch", patches(window, c.patch))
    x = x + position_grid(m["clip.position"][1:], h, w)
    x = torch.cat([(m["clip.class_embedding"] + m["clip.position"][0])[None], x])
    if index is not None:
        taps.put(f"clip.embed.{index}", x)
    x = norm(m, "clip.norm_pre", x, c.epsilon)
    for n in range(c.depth - 1):
        if watch:
            watch(n + 1, x)
        x = block(m, f"clip.blocks.{n}", c, x, m.activation)
        if index is not None:
            taps.put(f"clip.blocks.{n}.{index}", x)
    return x, (h, w)


def clip_values(m, x):
    """The last block's values [n, width]."""
    c = m.clip
    name = f"clip.blocks.{c.depth - 1}"
    y = norm(m, name + ".norm1", x, c.epsilon)
    return F.linear(y, m[name + ".qkv.weight"][2 * c.width:], m[name + ".qkv.bias"][2 * c.width:])


def proxy_weights(features, mean, o, margin):
    """Softmax rows of the thresholded similarity; a row with nothing left keeps itself."""
    f = F.normalize(features, dim=1)
    s = (f @ f.T - mean * o.beta) * o.gamma
    margin[0] = min(margin[0], float(s.abs().min()))
    s = s.masked_fill(s < 0, -math.inf)
    empty = torch.isinf(s).all(1).nonzero().flatten()
    s[empty, empty] = 0
    return s.softmax(1)


def window_features(m, image, o, taps):
    """Out-projected features of every window on CLIP's window grid (or a multiple of it)."""
    c = m.clip
    origins = window_origins(*image.shape[1:], o.window, o.stride)
    taps.put("windows.origins", np.array(origins, np.int32))
    if o.clip_attention != "published":
        return origins, attended_windows(m, image, origins, o, taps), 1
    undo = [torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD, DINO_MEAN, DINO_STD)]
    sources, values = [], []
    grid = source_grid = None
    for index, (y, x) in enumerate(origins):
        window = image[:, y:y + o.window, x:x + o.window]
        tap = index if index in (0, len(origins) - 1) else None
        inputs, grid = clip_last_input(m, window, tap, taps)
        v = clip_values(m, inputs[1:])
        if tap is not None:
            taps.put(f"clip.values.{tap}", v)
        values.append(v)
        if o.dino:
            source, source_grid = dino_features(m, ((window * undo[1] + undo[0]) - undo[2]) / undo[3], tap, taps)
        else:
            source, source_grid = v, grid
        sources.append(source)

    # the mean similarity over all windows: |sum of unit features|^2 / n^2
    mean = sum((F.normalize(s, dim=1).double().sum(0) ** 2).sum() / len(s) ** 2 for s in sources) / len(sources)
    mean = mean.float()
    taps.put("proxy.mean", mean.reshape(1))

    ratio = source_grid[1] // grid[1]
    resample = source_grid[1] % grid[1] != 0
    if resample:
        ratio = max(int(round(source_grid[0] / grid[0])), 1)
    maps, margin = [], [math.inf]
    last = f"clip.blocks.{c.depth - 1}.out"
    for index, (source, v) in enumerate(zip(sources, values)):
        tap = index in (0, len(origins) - 1)
        v = bilinear(v.T.reshape(-1, *grid), *source_grid).flatten(1).T
        a = proxy_weights(source, mean, o, margin)
        y = linear(m, last, a @ v)
        if tap:
            taps.put(f"proxy.rows.{index}", a[:: max(len(a) // 8, 1)])
            taps.put(f"proxy.output.{index}", y)
        y = y.T.reshape(-1, *source_grid)
        maps.append(bilinear(y, grid[0] * ratio, grid[1] * ratio) if resample else y)
    # How near the nearest entry is to the cut: below about 1e-5 a flip is a matter of rounding.
    taps.put("proxy.margin", np.array(margin, np.float32))
    return origins, maps, ratio


def attended_windows(m, image, origins, o, taps):
    """The same with another attention in the last block: no DINO."""
    maps = []
    for index, (y, x) in enumerate(origins):
        tap = index if index in (0, len(origins) - 1) else None
        looked = last_attention.Watch(m, o.global_first, o.global_last)
        inputs, grid = clip_last_input(m, image[:, y:y + o.window, x:x + o.window], tap, taps, looked)
        rows = last_attention.attended(m, o.clip_attention, inputs, grid, looked.maps)
        if tap is not None:
            taps.put(f"clip.attended.{tap}", rows)
        maps.append(rows.T.reshape(-1, *grid))
    return maps


# ------------------------------------------------------------------ 5. splice

def splice(maps, origins, height, width, patch, ratio):
    """Overlaps averaged on the whole image's grid: [d, height, width] in units of patch / ratio."""
    total = torch.zeros(len(maps[0]), height * ratio, width * ratio)
    count = torch.zeros(height * ratio, width * ratio)
    for (y, x), part in zip(origins, maps):
        y, x = y // patch * ratio, x // patch * ratio
        total[:, y:y + part.shape[1], x:x + part.shape[2]] += part
        count[y:y + part.shape[1], x:x + part.shape[2]] += 1
    return total / count


# ------------------------------------------------------------------ 6. SAM encoder

def relative_positions(q, rel_h, rel_w, side):
    """Additions to the logits [n, n] of one head: unscaled queries against rows and columns of relative position."""
    offsets = torch.arange(side)[:, None] - torch.arange(side)[None, :] + side - 1
    grid = q.reshape(side, side, -1)
    by_row = torch.einsum("yxc,ykc->yxk", grid, rel_h[offsets])
    by_column = torch.einsum("yxc,xkc->yxk", grid, rel_w[offsets])
    return (by_row[:, :, :, None] + by_column[:, :, None, :]).reshape(len(q), len(q))


def head_attention(q, k, rel_h, rel_w, side):
    logits = (q * q.shape[-1] ** -0.5) @ k.T + relative_positions(q, rel_h, rel_w, side)
    return logits.softmax(-1)


def sam_attention(m, name, x, c, side):
    """Attention of one square of tokens [side * side, width]; also q, k, v [heads, n, w]."""
    q, k, v = (heads_of(t, c.heads) for t in linear(m, name + ".qkv", x).chunk(3, 1))
    rel_h, rel_w = m[name + ".rel_h"], m[name + ".rel_w"]
    y = torch.stack([head_attention(q[h], k[h], rel_h, rel_w, side) @ v[h] for h in range(c.heads)])
    return linear(m, name + ".out", y.transpose(0, 1).reshape(x.shape)), (q, k, v)


def sam_block(m, n, x, c):
    """x [grid, grid, width]"""
    name = f"sam.blocks.{n}"
    y = norm(m, name + ".norm1", x, c.epsilon)
    last = None
    if n in c.global_blocks:
        y, last = sam_attention(m, name, y.flatten(0, 1), c, c.grid)
        y = y.reshape(x.shape)
    else:
        pad = round_up(c.grid, c.window) - c.grid
        y = F.pad(y, (0, 0, 0, pad, 0, pad))
        out = torch.empty_like(y)
        for top in range(0, len(y), c.window):
            for left in range(0, len(y), c.window):
                part = y[top:top + c.window, left:left + c.window].reshape(-1, c.width)
                part, _ = sam_attention(m, name, part, c, c.window)
                out[top:top + c.window, left:left + c.window] = part.reshape(c.window, c.window, -1)
        y = out[:c.grid, :c.grid]
    x = x + y
    hidden = activate(linear(m, name + ".mlp_in", norm(m, name + ".norm2", x, c.epsilon)), "gelu")
    return x + linear(m, name + ".mlp_out", hidden), last


def sam_encode(m, rounded, taps, prefix="sam"):
    """Neck features [neck, grid, grid] and the last block's q, k, v, of an 8-bit photo of any size."""
    c = m.sam
    small = sam_copy(rounded, c.side)
    taps.put(f"image.{prefix}_u8", small)
    h, w = small.shape[:2]
    x = torch.from_numpy(small.copy()).permute(2, 0, 1).float()
    x = (x - torch.tensor(SAM_MEAN).view(3, 1, 1)) / torch.tensor(SAM_STD).view(3, 1, 1)
    x = F.pad(x, (0, c.side - w, 0, c.side - h))
    x = linear(m, "sam.patch", patches(x, c.patch))
    x = x + m["sam.position"]
    taps.put(f"{prefix}.embed", x)
    x = x.reshape(c.grid, c.grid, c.width)
    for n in range(c.depth):
        x, last = sam_block(m, n, x, c)
        taps.put(f"{prefix}.blocks.{n}", x.flatten(0, 1))
    y = channel_norm(linear(m, "sam.neck.conv1", x).permute(2, 0, 1), m, "sam.neck.norm1")
    kernel = m["sam.neck.conv2.weight"].reshape(c.neck, 3, 3, c.neck).permute(0, 3, 1, 2)
    y = channel_norm(F.conv2d(y[None], kernel, padding=1)[0], m, "sam.neck.norm2")
    taps.put(f"{prefix}.neck", y.flatten(1).T)
    for part, t in zip("qkv", last):
        taps.put(f"{prefix}.{part}", t)
    return y, last, (h, w)


def channel_norm(planes, m, name):
    """LayerNorm over the channels of [..., c, h, w] at each position, eps 1e-6."""
    moved = planes.movedim(-3, -1)
    return F.layer_norm(moved, moved.shape[-1:], m[name + ".weight"], m[name + ".bias"], 1e-6).movedim(-1, -3)


# ------------------------------------------------------------------ 7. affinity and aggregation

def affinity(m, last, valid_h, valid_w, o, taps, prefix="affinity"):
    """The weights [n, n] over the valid grid, rows summing to one; None for the variant without."""
    if o.affinity == "none":
        return None
    c = m.sam
    name = f"sam.blocks.{c.depth - 1}"
    q, k, v = last
    keep = (torch.arange(valid_h)[:, None] * c.grid + torch.arange(valid_w)).flatten()
    unit = F.normalize(v[:, keep], dim=-1)
    total = unit.sum(1)
    threshold = o.cos_factor * torch.einsum("hnc,hc->hn", unit, total).mean(0) / len(keep)
    if not o.refine_negative_cosine:
        threshold = torch.where(threshold < 0, 0.6, threshold)
    threshold = threshold.clamp(max=0.9)
    taps.put(f"{prefix}.threshold", threshold)
    a = torch.zeros(len(keep), len(keep))
    margin = math.inf
    for h in range(c.heads):
        cosine = unit[h] @ unit[h].T
        margin = min(margin, float((cosine - threshold[:, None]).abs().min()))
        if o.affinity != "cosine":
            attention = head_attention(q[h], k[h], m[name + ".rel_h"], m[name + ".rel_w"], c.grid)[keep][:, keep]
        if o.affinity == "trident":
            a += torch.where(cosine > threshold[:, None], attention, 0)
        elif o.affinity == "attention":
            a += attention
        elif o.affinity == "cosine":
            a += cosine.masked_fill(cosine < threshold[:, None], -math.inf).softmax(1)
    taps.put(f"{prefix}.margin", np.array([margin], np.float32))
    a /= c.heads
    empty = (a.sum(1) == 0).nonzero().flatten()
    a[empty, empty] = 1
    a = a / a.sum(1, keepdim=True)
    taps.put(f"{prefix}.strip", a[:16])
    return a


def aggregate(m, canvas, last, valid, o, taps, suffix=""):
    g = bilinear(canvas, *valid).flatten(1).T
    taps.put("splice.grid" + suffix, g)
    a = affinity(m, last, *valid, o, taps, "affinity" + suffix)
    return g if a is None else a @ g


# ------------------------------------------------------------------ 8. scores

def text_vectors(m, phrases, templates, taps):
    c = m.text
    tokenizer = Tokenizer(m.merges, c.context)
    mask = torch.full((c.context, c.context), -math.inf).triu(1)
    out, tokens = [], []
    for q, phrase in enumerate(phrases):
        vectors = []
        for t, template in enumerate(templates):
            ids = tokenizer(template.replace("{}", phrase))
            tokens.append(ids + [0] * (c.context - len(ids)))
            x = m["text.token"][ids] + m["text.position"][:len(ids)]
            for n in range(c.depth):
                x = block(m, f"text.blocks.{n}", c, x, m.activation, mask[:len(ids), :len(ids)])
                if q == 0 and t == 0:
                    taps.put(f"text.blocks.{n}", x)
            x = norm(m, "text.norm_post", x[-1], c.epsilon)
            vectors.append(F.normalize(linear(m, "text.proj", x), dim=0))
            if q == 0 and t == 0:
                taps.put("text.prompt", vectors[0])
        out.append(F.normalize(torch.stack(vectors).mean(0), dim=0))
    taps.put("text.tokens", np.array(tokens, np.int32))
    taps.put("text.vectors", torch.stack(out))
    return torch.stack(out)


def best_phrase(values, classes):
    """Maximum over each class's phrases along axis 0."""
    out, start = [], 0
    for names in classes:
        out.append(values[start:start + len(names)].max(0).values)
        start += len(names)
    return torch.stack(out)


def similarities(m, features, vectors):
    z = linear(m, "clip.proj", norm(m, "clip.norm_post", features, m.clip.epsilon))
    return F.normalize(z, dim=1) @ vectors.T


# ------------------------------------------------------------------ 9. refinement with SAM

def fourier(points, m):
    """points [..., 2] in 0 ... 1, x first"""
    angles = 2 * math.pi * ((2 * points - 1) @ m["sam.prompt.gaussian"])
    return torch.cat([angles.sin(), angles.cos()], -1)


def mask_prompt_norm(x, m, name, axis):
    """The norm between the mask convolutions, on [c, h, w], eps 1e-6.

    SAM normalises over the channels. The public implementation hands the mask over without a batch axis, so its
    norm's axis 1 is the height: statistics per channel and column, over the rows. Weight and bias stay per channel.
    """
    axis = {"rows": 1, "channels": 0}[axis]
    x = x - x.mean(axis, keepdim=True)
    x = x / (x.square().mean(axis, keepdim=True) + 1e-6).sqrt()
    return x * m[name + ".weight"][:, None, None] + m[name + ".bias"][:, None, None]


def encode_prompt(m, point, box, mask, o):
    """Sparse tokens [3 or fewer, d] and the dense map [d, grid, grid] of one region."""
    table = m["sam.prompt.points"]
    shifted = lambda places: fourier((torch.tensor(places, dtype=torch.float32) + 0.5) / m.sam.side, m)
    sparse = torch.zeros(0, table.shape[1])
    if "point" in o.prompts:
        sparse = shifted([point]) + table[1:2]
        if "box" not in o.prompts:            # the place of a box is then padded
            sparse = torch.cat([sparse, m["sam.prompt.not_a_point"][None]])
    if "box" in o.prompts:
        sparse = torch.cat([sparse, shifted([box[:2], box[2:]]) + table[2:4]])
    if "mask" not in o.prompts:
        return sparse, m["sam.prompt.no_mask"][:, None, None].expand(-1, m.sam.grid, m.sam.grid)
    x = mask[None, None]
    for conv, after in (("0", "1"), ("3", "4")):
        x = F.conv2d(x, m[f"sam.prompt.mask.{conv}.weight"], m[f"sam.prompt.mask.{conv}.bias"], stride=2)
        x = F.gelu(mask_prompt_norm(x[0], m, f"sam.prompt.mask.{after}", o.mask_norm))[None]
    return sparse, F.conv2d(x, m["sam.prompt.mask.6.weight"], m["sam.prompt.mask.6.bias"])[0]


def cross_attention(m, name, q, k, v, heads):
    q, k, v = (heads_of(linear(m, f"{name}.{part}", t), heads) for part, t in zip("qkv", (q, k, v)))
    a = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    return linear(m, name + ".out", (a @ v).transpose(0, 1).flatten(1))


def perceptron(m, name, x):
    layers = 0
    while m.get(f"{name}.{layers}.weight") is not None:
        layers += 1
    for n in range(layers):
        x = linear(m, f"{name}.{n}", x)
        if n < layers - 1:
            x = x.relu()
    return x


def upscale(x, m, name):
    """Transposed 2 x 2 convolution, stride 2, on [h, w, c]."""
    h, w, _ = x.shape
    y = linear(m, name, x).reshape(h, w, 2, 2, -1)
    return y.permute(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, -1)


def decode_mask(m, embedding, sparse, dense):
    """Low-resolution logits [4 grid, 4 grid] of mask token 0 and its predicted IoU."""
    c, p = m.sam, "sam.decoder."
    attend = lambda name, q, k, v: cross_attention(m, p + name, q, k, v, c.decoder_heads)
    layer_norm = lambda name, x: norm(m, p + name, x, 1e-5)
    centres = (torch.arange(c.grid) + 0.5) / c.grid
    place = fourier(torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1), m).flatten(0, 1)
    start = torch.cat([m[p + "iou_token"], m[p + "mask_tokens"], sparse])
    tokens, pixels = start, (embedding + dense).flatten(1).T
    for n in range(c.decoder_depth):
        q = tokens if n == 0 else tokens + start
        y = attend(f"layers.{n}.self_attn", q, q, tokens)
        tokens = layer_norm(f"layers.{n}.norm1", y if n == 0 else tokens + y)
        y = attend(f"layers.{n}.cross_token", tokens + start, pixels + place, pixels)
        tokens = layer_norm(f"layers.{n}.norm2", tokens + y)
        y = linear(m, f"{p}layers.{n}.mlp_out", linear(m, f"{p}layers.{n}.mlp_in", tokens).relu())
        tokens = layer_norm(f"layers.{n}.norm3", tokens + y)
        y = attend(f"layers.{n}.cross_image", pixels + place, tokens + start, tokens)
        pixels = layer_norm(f"layers.{n}.norm4", pixels + y)
    y = attend("final", tokens + start, pixels + place, pixels)
    tokens = layer_norm("final.norm", tokens + y)
    x = upscale(pixels.reshape(c.grid, c.grid, -1), m, p + "upscale.0")
    x = F.gelu(F.layer_norm(x, x.shape[-1:], m[p + "upscale.1.weight"], m[p + "upscale.1.bias"], 1e-6))
    x = F.gelu(upscale(x, m, p + "upscale.3"))
    return x @ perceptron(m, p + "hyper", tokens[1]), perceptron(m, p + "iou", tokens[0])[0]


def find_regions(mask):
    """8-connected regions of a boolean map, in the order of their first pixels."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    flat = labels.ravel()
    order = sorted(range(1, count), key=lambda n: int(np.argmax(flat == n)))
    return [labels == n for n in order]


def refine(m, embedding, input_size, rounded_size, labels, probabilities, o, taps):
    """labels [H, W] and probabilities [C, H, W] at the photo's size; returns refined labels and scores."""
    c = m.sam
    classes, height, width = probabilities.shape
    half = height // 2, width // 2
    if 0 in half:
        return labels, probabilities
    low = 4 * c.grid
    small_labels = F.interpolate(labels[None, None].float(), size=half, mode="nearest")[0, 0].long()
    small = bilinear(probabilities, *half)
    if o.coarse_threshold > 0:
        small_labels[small.max(0).values < o.coarse_threshold] = classes
    to_sam = sam_size(*half, c.side)
    step = to_sam[1] / half[1], to_sam[0] / half[0]
    mask_size = sam_size(height, width, low)

    rows, ious, failed, refined = [], [], [], torch.zeros_like(probabilities)
    succeeded, nearest = 0, 1.0
    for k in range(classes):
        if small[k].max() < o.coarse_threshold:
            continue
        regions = [r for r in find_regions((small_labels == k).numpy()) if r.sum() >= o.minimal_area]
        if not regions:
            continue
        prompt = torch.zeros(low, low)
        prompt[:mask_size[0], :mask_size[1]] = bilinear(small[k][None], *mask_size)[0]
        prompt = torch.where(prompt > o.coarse_threshold, o.mask_alpha * prompt, 0.0)
        taps.put(f"refine.mask_prompt.{k}", prompt)
        chosen = []
        for region in regions:
            inside = small[k] * torch.from_numpy(region)
            at = int(inside.argmax())
            y, x = divmod(at, half[1])
            best = inside.flatten().topk(2).values
            nearest = min(nearest, float(best[0] - best[1]))
            ys, xs = np.nonzero(region)
            box = xs.min(), ys.min(), xs.max(), ys.max()
            to_pixels = lambda px, py: (float(np.float32(px) * np.float32(step[0])), float(np.float32(py) * np.float32(step[1])))
            corners = to_pixels(*box[:2]) + to_pixels(*box[2:])
            sparse, dense = encode_prompt(m, to_pixels(x, y), corners, prompt, o)
            logits, iou = decode_mask(m, embedding, sparse, dense)
            taps.put(f"refine.logits.{len(rows)}", logits)
            taps.put(f"refine.sparse.{len(rows)}", sparse)
            taps.put(f"refine.dense.{k}", dense.flatten(1).T)
            rows.append([k, x, y, *map(int, box), int(region.sum()), *to_pixels(x, y), *corners])
            ious.append(float(iou))
            if iou > o.iou_threshold:
                chosen.append(logits)
            else:
                failed.append(torch.from_numpy(region))
        if not chosen:
            continue
        succeeded += len(chosen)
        full = torch.stack(chosen)
        full = bilinear(full, c.side, c.side)[:, :input_size[0], :input_size[1]]
        full = bilinear(bilinear(full, *rounded_size), height, width)
        union = (full > 0).any(0)
        refined[k] = (full.sigmoid() * probabilities[k]).max(0).values * union
    taps.put("refine.regions", np.array(rows, np.float32).reshape(len(rows), 14))
    taps.put("refine.margin", np.array([nearest], np.float32))       # between the two best places for a point
    taps.put("refine.iou", np.array(ious, np.float32))
    if succeeded == 0:
        return labels, probabilities
    result = torch.where(refined.sum(0) == 0, labels, refined.argmax(0))
    if failed:
        area = F.interpolate(torch.stack(failed)[None].float(), size=(height, width), mode="nearest")[0].sum(0) != 0
        put_back = area * probabilities
        refined = torch.where(put_back > refined, put_back, refined)
        # Compared after the put-back, as the public implementation does it: see docs/parity.md.
        result = torch.where(put_back.max(0).values > refined.max(0).values, labels, result)
    return result, refined


# ------------------------------------------------------------------ everything

@torch.no_grad()
def segment(m, photo, classes, o, vectors=None):
    """photo [h, w, 3] 8-bit RGB; classes: a list of lists of phrases. Returns labels [h, w] and taps."""
    taps = Taps()
    c, s = m.clip, m.sam
    if vectors is None:
        vectors = text_vectors(m, [p for names in classes for p in names], o.templates, taps)
    taps.put("image.photo", photo)

    rounded = round_photo(photo, c.patch)
    taps.put("image.sam_rounded_u8", rounded)
    if o.halves:
        middle = rounded.shape[1] // 2
        parts = [np.ascontiguousarray(rounded[:, :middle]), np.ascontiguousarray(rounded[:, middle:])]
        encoded = [sam_encode(m, part, taps, f"sam{n}") for n, part in enumerate(parts)]
    else:
        encoded = [sam_encode(m, rounded, taps)]
    # A photo thinner than a patch of SAM's grid fails in the public code; it gets a row or column of its own here.
    valid = [(max(h // s.patch, 1), max(w // s.patch, 1)) for _, _, (h, w) in encoded]

    image = clip_copy(photo, o, c.patch, taps)
    h, w = image.shape[1] // c.patch, image.shape[2] // c.patch
    origins, maps, ratio = window_features(m, image, o, taps)
    mixed = lambda scores: scores
    if o.class_mix > 0:
        picture = last_attention.embedding(m, clip_last_input(m, image, None, taps)[0]) @ vectors.T
        taps.put("clip.image_scores", picture[None])
        mixed = lambda scores: (1 - o.class_mix) * scores + o.class_mix * picture[:, None, None]

    size = photo.shape[:2]
    if o.paradigm == "window":
        per_window = []
        for part in maps:
            scores = similarities(m, part.flatten(1).T, vectors).T.reshape(-1, *part.shape[1:])
            per_window.append(scores)
        canvas = splice(per_window, origins, h, w, c.patch, ratio)
        canvas = mixed(canvas)
        scores = bilinear(canvas, *valid[0])
        taps.put("splice.scores", canvas)
        full = bilinear(canvas, *size)
    else:
        canvas = splice(maps, origins, h, w, c.patch, ratio)
        taps.put("splice.canvas", canvas.flatten(1).T)
        if o.halves:
            middle = canvas.shape[2] // 2
            sides = [aggregate(m, part, e[1], v, o, taps, f".{n}") for n, (part, e, v) in enumerate(
                zip((canvas[:, :, :middle], canvas[:, :, middle:]), encoded, valid))]
            joined = torch.cat([x.reshape(*v, -1) for x, v in zip(sides, valid)], 1)
        else:
            joined = aggregate(m, canvas, encoded[0][1], valid[0], o, taps).reshape(*valid[0], -1)
        taps.put("affinity.features", joined.flatten(0, 1))
        scores = similarities(m, joined.flatten(0, 1), vectors).T.reshape(-1, *joined.shape[:2])
        scores = mixed(scores)
        full = bilinear(scores, *size)
    taps.put("scores.phrases", scores)
    taps.put("scores.classes", best_phrase(scores, classes))

    probabilities = best_phrase((full * o.logit_scale).softmax(0), classes)
    best, labels = probabilities.max(0)
    labels[best < o.probability_threshold] = 0
    taps.put("scores.probabilities", probabilities)
    taps.put("labels.coarse", labels.to(torch.int32))
    if o.refine:
        if o.halves:
            embedding, _, input_size = sam_encode(m, rounded, taps)
        else:
            embedding, _, input_size = encoded[0]
        labels, refined = refine(m, embedding, input_size, rounded.shape[:2], labels, probabilities, o, taps)
        taps.put("refine.scores", refined)
    taps.put("labels.final", labels.to(torch.int32))
    return labels.numpy(), taps


def add_model_arguments(parser):
    parser.add_argument("--model", help="our GGUF file: the same INT8 weights, computed in float32")
    parser.add_argument("--clip")
    parser.add_argument("--dino")
    parser.add_argument("--sam")
    parser.add_argument("--vocab")
    parser.add_argument("--activation", default="quickgelu", choices=["quickgelu", "gelu"])


def load_model(a):
    if a.model:
        return weights.from_gguf(a.model)
    return weights.from_checkpoints(a.clip, a.dino, a.sam, a.vocab, a.activation)


def add_option_arguments(parser):
    d = Options()
    for name in ("short_side", "window", "stride", "logit_scale", "beta", "gamma", "cos_factor", "probability_threshold",
                 "coarse_threshold", "minimal_area", "iou_threshold", "mask_alpha"):
        value = getattr(d, name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    parser.add_argument("--affinity", default="trident", choices=["trident", "attention", "cosine", "none"])
    parser.add_argument("--paradigm", default="splice", choices=["splice", "window"])
    parser.add_argument("--no-dino", dest="no_dino", action="store_true")
    parser.add_argument("--no-refine", dest="refine", action="store_false")
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--replace-negative-cosine", dest="refine_negative_cosine", action="store_false")


def options_from(a):
    names = set(Options.__dataclass_fields__) & set(vars(a))
    return Options(**{n: getattr(a, n) for n in names - {"dino"}}, dino=not a.no_dino)


def add_result_arguments(parser):
    parser.add_argument("--labels")
    parser.add_argument("--scores")
    parser.add_argument("--taps")
    parser.add_argument("photo")


def write_results(a, labels, taps, class_count):
    """What `add_result_arguments` asked for, and how many pixels each class has."""
    if a.labels:
        Image.fromarray(labels.astype(np.uint8)).save(a.labels)
    if a.scores:
        np.save(a.scores, taps["scores.classes"].astype(np.float32))
    if a.taps:
        from taps import write_taps
        write_taps(a.taps, taps)
    print("pixels by class:", np.bincount(labels.ravel(), minlength=class_count).tolist())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_model_arguments(parser)
    add_option_arguments(parser)
    parser.add_argument("--class", dest="classes", action="append", required=True)
    add_result_arguments(parser)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    photo = np.asarray(Image.open(a.photo).convert("RGB"))
    classes = [[p.strip() for p in line.split(";")] for line in a.classes]
    labels, taps = segment(load_model(a), photo, classes, options_from(a))
    write_results(a, labels, taps, len(classes))


if __name__ == "__main__":
    main()
