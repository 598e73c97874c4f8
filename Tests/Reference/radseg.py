#!/usr/bin/env python3
"""RADSeg once, plainly, in float32: photo and text vectors in, label map and taps out.

    radseg.py --radio c-radio_v3-b_half.pth.tar --vectors words.npz [--stored] [--sam sam_vit_h.pth] PHOTO
              [--labels L.png] [--scores S.npy] [--taps T.taps]
    radseg.py --model M.gguf --vectors words.npz PHOTO ...

Written from the behaviour pinned for this project; it shares no code with the programs it judges. Every stage
that holds an n x n matrix holds it openly. `--stored` computes with the weights as our file holds them
(radio_weights.py).

Choices of ours, where upstream has nothing: a class with several phrases has the best phrase's cosine, taken
before the softmax (two good synonyms would otherwise halve each other and fail the gate); `windows="none"`
rounds the sides to the patch; `round_sides="patch"` is section 1's rule with the patch in the stride's place;
a pixel below `probability_threshold` gets the label one past the last class.
"""

import argparse
import math
from dataclasses import dataclass

import cv2
import numpy as np
import pipeline
import radio_weights
import torch
import torch.nn.functional as F
from PIL import Image
from pipeline import Taps, best_phrase, bilinear, heads_of, linear, norm, patches, round_up

MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)


@dataclass
class Options:
    short_side: int = 448                     # 0: the photo's own size
    long_side: int = 2048
    window: int = 336
    stride: int = 224
    windows: str = "slide"                    # slide; none: the whole image in one pass
    round_sides: str = "stride"               # stride: as the public implementation; patch
    scra_scale: float = 10.0
    scga_scale: float = 10.0
    logit_scale: float = 100.0
    class_gate: float = 0.5                   # a class whose largest probability is below it is left out
    probability_threshold: float = 0.0
    coarse_threshold: float = 0.1
    minimal_area: int = 225
    iou_threshold: float = 0.9
    mask_alpha: float = 0.005
    prompts: tuple = ("point", "box", "mask")
    mask_norm: str = "rows"
    refine: bool = False                      # RADSeg+; the model then holds SAM's neck and decoder


# ------------------------------------------------------------------ 1. one copy of the photo

def resized(photo, o):
    """The 8-bit copy of section 1."""
    h, w = photo.shape[:2]
    if o.short_side == 0:
        return photo
    scale = min(o.long_side / max(h, w), o.short_side / min(h, w))
    size = max(int(w * scale + 0.5), 1), max(int(h * scale + 0.5), 1)
    return photo if size == (w, h) else cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)


def normalized(pixels):
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float()
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def rounded_sides(h, w, multiple, least):
    """Both sides as multiples of `multiple`, at least `least` where anything changes at all."""
    if h % multiple == 0 and w % multiple == 0:
        return h, w
    long = max(h, w)
    target = round_up(long, multiple)
    return tuple(max(round_up(n * target // long, multiple), least) for n in (h, w))


# ------------------------------------------------------------------ 3. and 4. the network

def position_grid(m, height, width):
    """The table resampled to a square of the longer side, cut to height x width; the table itself on its own
    grid."""
    c = m.radio
    if (height, width) == (c.grid, c.grid):
        return m["radio.position"]
    planes = m["radio.position"].T.reshape(-1, c.grid, c.grid)
    side = max(height, width)
    return bilinear(planes, side, side)[:, :height, :width].flatten(1).T


def scra_attention(m, name, c, x, scale, put):
    """Self-correlating recursive attention of section 4 on normed tokens [N, width], without the residual."""
    q, k, v = (heads_of(t, c.heads) for t in linear(m, name + ".qkv", x).chunk(3, 1))
    first = torch.stack([(q[h] @ k[h].T * q.shape[-1] ** -0.5).softmax(1) @ v[h] for h in range(c.heads)])
    first = linear(m, name + ".out", first.transpose(0, 1).reshape(x.shape))
    put("scra.first", first)
    unit = F.normalize(heads_of(first, c.heads), dim=-1)
    out = []
    for h in range(c.heads):
        similarity = scale * (unit[h] @ unit[h].T)
        put("scra.margin", similarity.abs().min().reshape(1))
        out.append(similarity.masked_fill(similarity < 0, -math.inf).softmax(1) @ v[h])
    y = linear(m, name + ".out", torch.stack(out).transpose(0, 1).reshape(x.shape))
    put("scra.output", y)
    return y


def features(m, image, o, put):
    """Patch features [n, width] of a normalised image whose sides are multiples of the patch."""
    c = m.radio
    h, w = image.shape[1] // c.patch, image.shape[2] // c.patch
    x = linear(m, "radio.patch", patches(image, c.patch)) + position_grid(m, h, w)
    x = torch.cat([m["radio.prefix"], x])
    put("radio.embed", x)
    for n in range(c.depth - 1):
        x = pipeline.block(m, f"radio.blocks.{n}", c, x, "gelu")
        put(f"radio.blocks.{n}", x)
    name = f"radio.blocks.{c.depth - 1}"
    y = scra_attention(m, name, c, norm(m, name + ".norm1", x, c.epsilon), o.scra_scale, put)
    x = x + m["radio.scale.last"] * y
    hidden = F.gelu(linear(m, name + ".mlp_in", norm(m, name + ".norm2", x, c.epsilon)))
    x = x + linear(m, name + ".mlp_out", hidden)
    put(name, x)
    if m.get("radio.norm_post.weight") is not None:
        x = norm(m, "radio.norm_post", x, c.epsilon)
    x = x[c.prefix:]
    if m.get("radio.normalizer.mean") is not None:
        x = linear(m, "radio.normalizer.tx", x - m["radio.normalizer.mean"])
    put("radio.features", x)
    return x


# ------------------------------------------------------------------ 5. and 6. splice and aggregation

def recorder(taps, place, kept=True):
    """Puts stages under their name and place; of the distances to SCRA's cut the least, kept or not."""
    def put(name, value):
        if name == "scra.margin":
            taps.put(name, np.minimum(value.numpy(), taps.get(name, np.inf)))
        elif kept:
            taps.put(f"{name}.{place}", value)
    return put


def window_features(m, image, o, taps):
    """Features of all windows on the image's grid, overlaps averaged: [n, width]."""
    c = m.radio
    height, width = image.shape[1:]
    tall, wide = (height, width) if o.windows == "none" else (min(o.window, height), min(o.window, width))
    if o.windows == "none":
        origins = [(0, 0)]
    else:
        origins = pipeline.window_origins(height, width, o.window, o.stride)
    taps.put("windows.origins", np.array(origins, np.int32))
    maps = []
    for index, (y, x) in enumerate(origins):
        put = recorder(taps, index, index in (0, len(origins) - 1))
        part = features(m, image[:, y:y + tall, x:x + wide], o, put)
        maps.append(part.T.reshape(-1, tall // c.patch, wide // c.patch))
    canvas = pipeline.splice(maps, origins, height // c.patch, width // c.patch, c.patch, 1)
    return canvas.flatten(1).T


def aggregate(g, scale, taps):
    """Self-correlating global aggregation of [n, width]; a row with nothing left keeps itself."""
    unit = F.normalize(g, dim=1)
    mean = float((unit.double().sum(0) ** 2).sum() / len(g) ** 2)
    taps.put("scga.mean", np.array([mean], np.float32))
    a = scale * (unit @ unit.T - np.float32(mean))
    # How near the nearest entry is to the cut: below about 1e-5 a flip is a matter of rounding.
    taps.put("scga.margin", a.abs().min().reshape(1))
    a = a.masked_fill(a < 0, -math.inf)
    empty = torch.isinf(a).all(1).nonzero().flatten()
    a[empty, empty] = 0
    a = a.softmax(1)
    taps.put("scga.strip", a[:16])
    return a @ g


# ------------------------------------------------------------------ 7. heads

def head(m, name, x, version):
    epsilon = m.radio.head_epsilon
    t = linear(m, name + ".in", x)
    if version == "v1":
        return linear(m, name + ".out", norm(m, name + ".norm", t, epsilon).relu())
    n = 0
    while m.get(f"{name}.blocks.{n}.out.weight") is not None:
        t = t + linear(m, f"{name}.blocks.{n}.out", F.gelu(norm(m, f"{name}.blocks.{n}.norm", t, epsilon)))
        n += 1
    return linear(m, name + ".out", F.gelu(norm(m, name + ".norm", t, epsilon)))


# ------------------------------------------------------------------ 8. scores

def class_probabilities(z, vectors, classes, grid, size, o, taps):
    """Probabilities [C, H, W] at the photo's size, classes below the gate zeroed, and the labels."""
    cosines = (F.normalize(z, dim=1) @ F.normalize(vectors, dim=1).T).T.reshape(-1, *grid)
    taps.put("scores.phrases", cosines)
    scores = best_phrase(cosines, classes)
    taps.put("scores.classes", scores)
    on_grid = (o.logit_scale * scores).softmax(0)
    taps.put("scores.grid", on_grid)
    probabilities = bilinear(on_grid, *size)
    best = probabilities.flatten(1).max(1).values
    taps.put("scores.best", best)
    probabilities = torch.where((best < o.class_gate)[:, None, None], 0.0, probabilities)
    taps.put("scores.probabilities", probabilities)
    top, labels = probabilities.max(0)
    return probabilities, labels, top


# ------------------------------------------------------------------ 9. refinement with SAM's decoder

def sam_embedding(m, image, o, taps):
    """SAM's image embedding made of RADIO's features [neck, grid, grid], and the size that lies in it, in
    pixels."""
    s = m.sam
    h, w = image.shape[1:]
    long = s.grid * s.patch
    if h >= w:
        size = long, max(w * s.grid // h, 1) * s.patch
    else:
        size = max(h * s.grid // w, 1) * s.patch, long
    image = bilinear(image, *size)
    taps.put("image.sam_input", image)
    x = features(m, image, o, recorder(taps, "sam"))
    x = head(m, "radio.sam_head", x, m.radio.sam_head_version)
    taps.put("sam.features", x)
    rows, columns = size[0] // s.patch, size[1] // s.patch
    x = F.pad(x.reshape(rows, columns, -1), (0, 0, 0, s.grid - columns, 0, s.grid - rows))
    y = pipeline.channel_norm(linear(m, "sam.neck.conv1", x).permute(2, 0, 1), m, "sam.neck.norm1")
    kernel = m["sam.neck.conv2.weight"].reshape(s.neck, 3, 3, s.neck).permute(0, 3, 1, 2)
    y = pipeline.channel_norm(F.conv2d(y[None], kernel, padding=1)[0], m, "sam.neck.norm2")
    taps.put("sam.neck", y.flatten(1).T)
    return y, size


# ------------------------------------------------------------------ everything

@torch.no_grad()
def segment(m, photo, classes, o, vectors):
    """photo [h, w, 3] 8-bit RGB; classes: lists of phrases; vectors [phrases, e]. Returns labels [h, w] and
    taps."""
    taps = Taps()
    c = m.radio
    vectors = torch.as_tensor(vectors)
    taps.put("text.vectors", vectors)
    small = resized(photo, o)
    taps.put("image.radio_u8", small)
    resized_image = normalized(small)
    by_patch = o.windows == "none" or o.round_sides == "patch"
    sides = rounded_sides(*resized_image.shape[1:], c.patch if by_patch else o.stride,
                          c.patch if o.windows == "none" else o.window)
    image = bilinear(resized_image, *sides)
    taps.put("image.radio_input", image)

    g = window_features(m, image, o, taps)
    taps.put("splice.canvas", g)
    g = aggregate(g, o.scga_scale, taps)
    taps.put("scga.features", g)
    z = head(m, "radio.head", g, c.head_version)
    taps.put("head.features", z)

    grid = image.shape[1] // c.patch, image.shape[2] // c.patch
    probabilities, labels, top = class_probabilities(z, vectors, classes, grid, photo.shape[:2], o, taps)
    below = top < o.probability_threshold
    mark = lambda values: torch.where(below, len(classes), values).to(torch.int32)
    taps.put("labels.coarse", mark(labels))
    if o.refine:
        embedding, size = sam_embedding(m, resized_image, o, taps)
        labels, refined = pipeline.refine(m, embedding, size, photo.shape[:2], labels, probabilities, o, taps)
        taps.put("refine.scores", refined)
    taps.put("labels.final", mark(labels))
    return mark(labels).numpy(), taps


def add_option_arguments(parser):
    for name, field in Options.__dataclass_fields__.items():
        flag = "--" + name.replace("_", "-")
        if field.type in (int, float, "int", "float"):
            parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("--windows", default="slide", choices=["slide", "none"])
    parser.add_argument("--round-sides", default="stride", choices=["stride", "patch"])


def options_from(a):
    names = set(Options.__dataclass_fields__) & set(vars(a))
    return Options(**{n: getattr(a, n) for n in names}, refine=bool(a.sam))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", help="our GGUF file: the same INT8 weights, computed in float32")
    parser.add_argument("--radio", help="a checkpoint of NVlabs/RADIO")
    parser.add_argument("--sam", help="a SAM checkpoint: refine with its neck and decoder")
    parser.add_argument("--stored", action="store_true", help="weights as our file holds them")
    parser.add_argument("--vectors", required=True, help=".npz of siglip.py, or a vocabulary of trident text")
    add_option_arguments(parser)
    pipeline.add_result_arguments(parser)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.model:
        model = radio_weights.from_gguf(a.model)
    else:
        model = radio_weights.from_checkpoint(a.radio)
        if a.sam:
            radio_weights.add_sam_parts(model, a.sam)
        model = radio_weights.quantized(model) if a.stored else model
    words = np.load(a.vectors)
    classes = [[str(p) for p, k in zip(words["phrases"], words["class_index"]) if k == n]
               for n in range(words["class_index"].max() + 1)]
    photo = np.asarray(Image.open(a.photo).convert("RGB"))
    labels, taps = segment(model, photo, classes, options_from(a), words["vectors"])
    pipeline.write_results(a, labels, taps, len(classes))


if __name__ == "__main__":
    main()
