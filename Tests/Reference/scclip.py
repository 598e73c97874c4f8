#!/usr/bin/env python3
"""SC-CLIP once, plainly, in float32: CLIP alone, photo and phrases in, label map and taps out.

    scclip.py --clip C --vocab V [--activation A] [--preset voc21] --class "cat; kitten" --class sofa PHOTO
    scclip.py --model M.gguf --class ... PHOTO [--labels L.png] [--scores S.npy] [--taps T.taps]

Source: SC-CLIP, arXiv 2411.15869, and what its public code does where both differ. It shares no code with the
programs it judges, nor with the public code. Blocks are counted from one, as in the paper: `F[i]` is the
output of block `i`. Shapes: a window has n = rows x cols patches, CLIP's width is d, Q phrases make C
classes, text vectors [Q, e].
"""

import argparse
import math
from dataclasses import dataclass, replace

import absent
import cv2
import last_attention
import numpy as np
import pipeline
import torch
import torch.nn.functional as F
import weights
from PIL import Image
from pipeline import Taps, bilinear, linear, norm
from templates import TEMPLATES

# CLIP's constants times 255, rounded to three places as the evaluation framework is given them.
MEAN, DEVIATION = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)


@dataclass
class Options:
    short_side: int = 336
    long_side: int = 2048
    window: int = 224
    stride: int = 112
    logit_scale: float = 40.0
    probability_threshold: float = 0.0
    area_threshold: float = -1.0              # below 0: the area rule is off
    low: int = 4                              # F[low] smooths at the end
    mid: int = 9                              # F[mid] says what resembles what
    level_first: int = 4                      # R is the sum of F[level_first] ... F[level_last]
    level_last: int = 10
    class_weight: float = 0.3
    neighbours: int = 30
    contamination: float = 0.05
    cut: float = 0.4                          # cosines below count as 0 in `mix`
    gamma: float = 3.0
    # lof; norm: the ten largest, as the first public version had it; none
    outliers: str = "lof"
    form: str = "literal"                     # literal; short: one out_proj and one mix at the end
    clip_attention: str = "published"         # or one of last_attention.KINDS
    global_first: int = 7                     # GCLIP's middle blocks, of twelve
    global_last: int = 8
    class_mix: float = 0.0                    # weight of the class token's scores
    class_mix_of: str = "photo"               # photo, window
    templates: tuple = tuple(TEMPLATES)


# Levels by number of blocks: the published ones for B/16 and L/14.
LEVELS = {12: dict(low=4, mid=9, level_first=4, level_last=10, class_weight=0.3),
          24: dict(low=7, mid=17, level_first=9, level_last=19, class_weight=0.1)}

# Published settings of B/16, and where those of L/14 differ.
PRESETS = {
    "voc21": dict(logit_scale=50.0, probability_threshold=0.15, area_threshold=0.1),
    "voc20": {},
    "context60": dict(probability_threshold=0.15),
    "context59": {},
    "stuff": {},
    "ade": {},
    "object": dict(logit_scale=55.0, probability_threshold=0.35),
    "city": dict(short_side=560)}
PRESETS_L = {"voc21": dict(logit_scale=40.0, probability_threshold=0.2),
             "object": dict(logit_scale=40.0, probability_threshold=0.25)}


def preset(name, depth=12):
    """Options of a benchmark for a CLIP of `depth` blocks (12: B/16, 24: L/14)."""
    large = PRESETS_L.get(name, {}) if depth == 24 else {}
    return Options(**{**PRESETS[name], **large, **LEVELS[depth]})


# ------------------------------------------------------------------ 1. photo and windows

def photo_copy(photo, o, patch, taps):
    """The normalised copy [3, h, w]. Its sides are not rounded to the patch; each is at least one patch."""
    h, w = photo.shape[:2]
    scale = min(o.long_side / max(h, w), o.short_side / min(h, w))
    size = max(int(w * scale + 0.5), patch), max(int(h * scale + 0.5), patch)
    small = photo if size == (w, h) else cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)
    taps.put("image.clip_u8", small)
    x = torch.from_numpy(small.copy()).permute(2, 0, 1).float()
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    taps.put("image.clip_input", x)
    return x


def windows_of(image, o):
    """(y, x, window) in rows; the last row and column lie at the far edges; a short side gives short
    windows."""
    h, w = image.shape[1:]
    return [(y, x, image[:, y:y + o.window, x:x + o.window])
            for y, x in pipeline.window_origins(h, w, o.window, o.stride)]


# ------------------------------------------------------------------ 2. blocks

def block_outputs(m, window, watch=None, tap=lambda name, value: None):
    """[F[0], F[1], ... F[L-1]], each [n + 1, d], class token first, and the grid (rows, cols).

    F[0] is what enters block 1. `watch(i, x)` sees what enters block i, for those who need its attention.
    """
    c = m.clip
    rows, cols = window.shape[1] // c.patch, window.shape[2] // c.patch
    seen = window[:, :rows * c.patch, :cols * c.patch]
    x = linear(m, "clip.patch", pipeline.patches(seen, c.patch))
    x = x + pipeline.position_grid(m["clip.position"][1:], rows, cols)
    x = torch.cat([(m["clip.class_embedding"] + m["clip.position"][0])[None], x])
    tap("clip.embed", x)
    outputs = [norm(m, "clip.norm_pre", x, c.epsilon)]
    for i in range(1, c.depth):
        if watch:
            watch(i, outputs[-1])
        outputs.append(pipeline.block(m, f"clip.blocks.{i - 1}", c, outputs[-1], m.activation))
        tap(f"clip.blocks.{i - 1}", outputs[-1])
    return outputs, (rows, cols)


# ------------------------------------------------------------------ 3. outliers

def outlier_factor(x, neighbours):
    """`lof [n]`: squared distance to the k-th neighbour, times the mean of its inverse over the k neighbours.

    Distances come from differences: tokens lie close together and are long, so a Gram matrix would cancel.
    """
    distance = torch.stack([(x - row).square().sum(1) for row in x])
    nearest = distance.topk(neighbours + 1, largest=False)
    reach = nearest.values[:, -1].clamp(min=1e-12)
    return reach * (1 / reach)[nearest.indices[:, 1:]].mean(1)


def find_outliers(x, o, tap):
    """Sorted indices of the outliers among the patches `x [n, d]`; none where there are no more than k (ours:
    the public code stops, and the k-th neighbour would be the farthest patch, which pairs of patches
    share)."""
    none = torch.zeros(0, dtype=torch.long)
    if o.outliers == "none" or (o.outliers == "lof" and len(x) <= o.neighbours):
        return none
    if o.outliers == "norm":
        return x.norm(dim=1).topk(min(10, len(x))).indices.sort().values
    factor = outlier_factor(x, o.neighbours)
    tap("scclip.lof", factor[None])
    ordered = factor.sort().values
    place = (1 - o.contamination) * (len(x) - 1)
    below = int(place)
    above = min(below + 1, len(x) - 1)
    threshold = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    # How far the two factors beside the threshold lie apart, relative to them.
    tap("scclip.outlier_margin", ((ordered[above] - ordered[below]) / ordered[above])[None])
    if ordered[0] == ordered[-1]:
        return none
    return (factor > threshold).nonzero().flatten()


# ------------------------------------------------------------------ 4. replacement and similarity

def repair(y, outliers, grid):
    """`y [n, d]` with each outlier replaced by the mean of its neighbours on the grid that are none."""
    rows, cols = grid
    bad = torch.zeros(rows, cols, dtype=torch.bool)
    bad.view(-1)[outliers] = True
    out = y.clone()
    for at in outliers.tolist():
        r, c = divmod(at, cols)
        good = [p * cols + q for p in range(max(r - 1, 0), min(r + 2, rows))
                for q in range(max(c - 1, 0), min(c + 2, cols)) if not bad[p, q]]
        if good:
            out[at] = y[good].mean(0)
    return out


def cosines(y):
    unit = y / y.norm(dim=1, keepdim=True)
    return unit @ unit.T


def mix(cosine, y, cut):
    """Rows of `y` averaged by cosine; cosines below `cut` count as 0."""
    weight = torch.where(cosine < cut, 0.0, cosine)
    return (weight / (1e-6 + weight.sum(1, keepdim=True))) @ y


# ------------------------------------------------------------------ 5. the last block, twice

def attention_rows(similarity, gamma, tap):
    """softmax of the similarities above their mean [n, n]; a row with none keeps the token itself."""
    e = (similarity - similarity.double().mean().float()) * gamma
    tap("scclip.mean_margin", e.abs().min()[None])
    e = e.masked_fill(e < 0, -math.inf)
    empty = torch.isinf(e).all(1).nonzero().flatten()
    e[empty, empty] = 0
    return e.softmax(1)


def mixed_values(m, y, rows):
    """(W v) of the last block for tokens `y [n, d]`, heads side by side, before out_proj."""
    c = m.clip
    name = f"clip.blocks.{c.depth - 1}"
    qkv = linear(m, name + ".qkv", norm(m, name + ".norm1", y, c.epsilon))
    _, k, v = (pipeline.heads_of(t, c.heads) for t in qkv.chunk(3, 1))
    own = (k @ k.transpose(1, 2) * k.shape[-1] ** -0.5).softmax(-1)
    return ((0.5 * rows + 0.5 * own) @ v).transpose(0, 1).flatten(1)


def window_features(m, window, o, tap=lambda name, value: None, watch=None):
    """Unit features `z [n, e]` of one window, and its grid."""
    if o.clip_attention != "published":
        return plain_features(m, window, o, tap, watch)
    outputs, grid = block_outputs(m, window, watch, tap)
    last, low = outputs[-1], outputs[o.low][1:]
    total = torch.stack(outputs[o.level_first:o.level_last + 1]).sum(0)

    outliers = find_outliers(last[1:], o, tap)
    tap("scclip.outliers", outliers.to(torch.int32)[None])
    repaired = repair(last[1:], outliers, grid)
    middle = repair(outputs[o.mid][1:], outliers, grid)
    tap("scclip.repaired", repaired)
    tap("scclip.repaired_mid", middle)
    similarity = cosines(middle)
    tap("scclip.similarity", similarity)
    mixed = mix(similarity, repaired, o.cut)
    tap("scclip.mixed", mixed)

    rows = attention_rows(similarity, o.gamma, tap)
    smooth = cosines(low)
    tap("scclip.cut_margin", torch.stack([(s - o.cut).abs().min() for s in (similarity, smooth)]).min()[None])
    project = lambda y: linear(m, f"clip.blocks.{m.clip.depth - 1}.out", y)
    if o.form == "short":
        bias = m[f"clip.blocks.{m.clip.depth - 1}.out.bias"]
        y = project(mixed_values(m, mixed, rows) + mixed_values(m, total[1:], rows)) + bias
        z = mix(smooth, y, o.cut) + o.class_weight * (last[0] + total[0])
    else:
        first = project(mixed_values(m, mixed, rows)) + o.class_weight * last[0]
        second = project(mixed_values(m, total[1:], rows)) + o.class_weight * total[0]
        tap("scclip.first", first)
        tap("scclip.second", second)
        z = mix(smooth, first, o.cut) + mix(smooth, second, o.cut)
    tap("scclip.combined", z)
    z = F.normalize(linear(m, "clip.proj", norm(m, "clip.norm_post", z, m.clip.epsilon)), dim=1)
    tap("scclip.features", z)
    return z, grid


def plain_features(m, window, o, tap, watch):
    """The same with another attention in the last block."""
    looked = last_attention.Watch(m, o.global_first, o.global_last)

    def both(number, x):
        looked(number, x)
        if watch:
            watch(number, x)

    outputs, grid = block_outputs(m, window, both, tap)
    y = last_attention.attended(m, o.clip_attention, outputs[-1], grid, looked.maps)
    tap("clip.attended", y)
    z = F.normalize(linear(m, "clip.proj", norm(m, "clip.norm_post", y, m.clip.epsilon)), dim=1)
    tap("scclip.features", z)
    return z, grid


def image_scores(m, image, vectors):
    """Cosines [Q] of the class token of an image [3, h, w], or of a window of it."""
    return last_attention.embedding(m, block_outputs(m, image)[0][-1]) @ vectors.T


# ------------------------------------------------------------------ 6. scores

def window_average(parts, height, width):
    """`parts`: (y, x, h, w, scores [Q, rows, cols]). Each is stretched over its window; overlaps are
    averaged."""
    total, count = torch.zeros(len(parts[0][4]), height, width), torch.zeros(height, width)
    for y, x, h, w, scores in parts:
        total[:, y:y + h, x:x + w] += bilinear(scores, h, w)
        count[y:y + h, x:x + w] += 1
    return total / count


@torch.no_grad()
def segment(m, photo, classes, o, vectors=None, choose=None, every_window=False):
    """photo [h, w, 3] 8-bit RGB; classes: a list of lists of phrases. Returns labels [h, w] and taps.

    `choose(parts)` may name the classes to keep: a list of booleans (absent.py); the others get probability
    0. Stages of the first and last window are tapped, or of all; margins of all.
    """
    taps = Taps()
    if vectors is None:
        vectors = pipeline.text_vectors(m, [p for names in classes for p in names], o.templates, taps)
    taps.put("image.photo", photo)
    image = photo_copy(photo, o, m.clip.patch, taps)
    windows = windows_of(image, o)
    taps.put("windows.origins", np.array([(y, x) for y, x, _ in windows], np.int32))
    if o.class_mix > 0 and o.class_mix_of == "photo":
        whole = image_scores(m, image, vectors)
        taps.put("clip.image_scores", whole[None])
    parts = []
    for n, (y, x, window) in enumerate(windows):
        tapped = every_window or n in (0, len(windows) - 1)
        kept = lambda name: tapped or name.endswith("_margin")
        tap = lambda name, value: taps.put(f"{name}.{n}", value) if kept(name) else None
        z, grid = window_features(m, window, o, tap)
        scores = z @ vectors.T
        if o.class_mix > 0:
            picture = whole if o.class_mix_of == "photo" else image_scores(m, window, vectors)
            scores = (1 - o.class_mix) * scores + o.class_mix * picture
        tap("scores", scores)
        parts.append((y, x, *window.shape[1:], scores.T.reshape(-1, *grid)))
    canvas = window_average(parts, *image.shape[1:])
    taps.put("scores.copy", canvas)
    taps.put("scores.classes", pipeline.best_phrase(canvas, classes))
    full = bilinear(canvas, *photo.shape[:2])
    probabilities = pipeline.best_phrase((full * o.logit_scale).softmax(0), classes)
    if choose is not None:
        probabilities = absent.dropped(probabilities, choose(parts))
    taps.put("scores.probabilities", probabilities)
    taps.put("labels.coarse", probabilities.argmax(0).to(torch.int32))
    if o.area_threshold >= 0:
        shares = absent.area_shares(probabilities)
        taps.put("scores.shares", shares[None])
        taps.put("scores.area_margin", (shares - o.area_threshold).abs().min()[None])
        probabilities = absent.dropped(probabilities, absent.keep_by_area(probabilities, o.area_threshold))
    best, labels = probabilities.max(0)
    labels[best < o.probability_threshold] = 0
    taps.put("labels.final", labels.to(torch.int32))
    return labels.numpy(), taps


def from_checkpoint(clip, vocab, activation):
    """A model of CLIP alone."""
    m = weights.Model()
    weights.add_clip(m, weights.read_clip(clip), activation)
    m.merges = weights.read_vocabulary(vocab)
    return m


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    pipeline.add_model_arguments(parser)
    parser.add_argument("--preset", choices=PRESETS)
    for name, value in vars(Options()).items():
        if name != "templates":
            parser.add_argument("--" + name.replace("_", "-"), type=type(value))
    parser.add_argument("--class", dest="classes", action="append", required=True)
    pipeline.add_result_arguments(parser)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    m = weights.from_gguf(a.model) if a.model else from_checkpoint(a.clip, a.vocab, a.activation)
    o = preset(a.preset, m.clip.depth) if a.preset else Options(**LEVELS.get(m.clip.depth, {}))
    given = {n: getattr(a, n) for n in vars(o) if getattr(a, n, None) is not None}
    photo = np.asarray(Image.open(a.photo).convert("RGB"))
    classes = [[p.strip() for p in line.split(";")] for line in a.classes]
    labels, taps = segment(m, photo, classes, replace(o, **given))
    pipeline.write_results(a, labels, taps, len(classes))


if __name__ == "__main__":
    main()
