#!/usr/bin/env python3
"""Which places INT8 hurts: the reference with single-byte activations, one place at a time in bytes or left
in float.

    sensitivity.py --model models/demo/demo.gguf --classes models/demo/scenes/classes.txt PHOTO...
    sensitivity.py --draws 6 [--seed 7] [--bin .build/release]
    sensitivity.py ... [--refine] [--places "neck|decoder"]

A photo, or a case of random_parity.py with random weights, goes through the pipeline in float with the
file's INT8 weights; then again with the rows in front of matrices, and queries, keys, weights and values of
attention, rounded as docs/quantization.md describes. A table line a place: mean difference of scores and
share of other coarse labels where that place alone is in bytes, and where all but it are; work
(multiply-accumulates) of the place, in percent. `fine` is what the product does: everything in bytes, but two
of them in front of the head and in the text tower; `but PLACE` has them too. `--refine`: labels are the
refined ones.
"""

import argparse
import collections
import pathlib
import re
import shutil
import sys
import tempfile

import cv2
import numpy as np
import pipeline
import torch
import torch.nn.functional as F
import weights

PLACES = [
    ("head", r"clip\.proj"), ("text", r"text\..*"), ("patches", r".*\.patch"),
    ("last values, out", r"clip\.last.*"),
    *[(f"{net} {part}", rf"{net.lower()}\.blocks\.\d+\.{part}") for net in ("CLIP", "DINO", "SAM")
      for part in ("qkv", "out", "mlp_in", "mlp_out")],
    ("first mlp_in", r"(clip|dino|sam)\.blocks\.0\.mlp_in"),
    ("SAM's last qkv", r"sam\.last\.qkv"), ("neck", r"sam\.neck.*"),
    ("decoder, tokens", r"sam\.decoder\.(final\.(q|out)|layers\.\d+\."
                        r"(self_attn\..*|cross_token\.(q|out)|cross_image\.(k|v)|mlp_.*))"),
    ("decoder, image", r"sam\.decoder\.(final\.(k|v)|upscale\..*|layers\.\d+\."
                       r"(cross_token\.(k|v)|cross_image\.(q|out)))"),
    ("queries, keys", r"scores"), ("softmax, values", r"mix"),
]


def rows8(x):
    """Each row on its own grid of 255 steps."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    return (x / scale).round() * scale


def fine(x):
    """Two bytes: what the first leaves is rounded like a row of its own."""
    high = rows8(x)
    return high + rows8(x - high)


def softmax_bytes(y, block=256):
    """Softmax rows in bytes, a scale for each block of keys."""
    parts, best = [], y.amax(-1, keepdim=True)
    for part in y.split(block, -1):
        top = part.amax(-1, keepdim=True)
        scale = torch.where(top.isinf(), 0.0, (top - best).exp())
        parts.append((127 * (part - torch.where(top.isinf(), 0.0, top)).exp()).round() * scale)
    out = torch.cat(parts, -1)
    return out / out.sum(-1, keepdim=True)


class Rounding:
    """Stands in for the pipeline's matrices and attentions; `mode(name)`: a place's rounding, or None."""

    def __init__(self):
        self.mode = lambda name: None
        self.macs = collections.Counter()
        self.counts = False
        self.depth = {}

    def known(self, m):
        self.depth = {"clip": m.clip.depth, "sam": m.sam.depth}

    def name(self, name):
        """CLIP's last block and SAM's last projections are places of their own."""
        if name == f"clip.blocks.{self.depth.get('clip', 0) - 1}.out":
            return "clip.last.out"
        return "sam.last.qkv" if name == f"sam.blocks.{self.depth.get('sam', 0) - 1}.qkv" else name

    def count(self, name, macs):
        self.macs[name] += macs if self.counts else 0

    def rows(self, name, x, outputs):
        self.count(name, x.numel() * outputs)
        mode = self.mode(name)
        return x if mode is None else mode(x)

    def linear(self, m, name, x):
        weight = m[name + ".weight"]
        return F.linear(self.rows(self.name(name), x, len(weight)), weight, m.get(name + ".bias"))

    def attend(self, q, k, v, bias=None):
        """[.., n, w] each."""
        self.count("scores", q.numel() * k.shape[-2])
        if self.mode("scores"):
            q, k = rows8(q), rows8(k)
        y = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        y = y if bias is None else y + bias
        if v is None:
            return y.softmax(-1)
        self.count("mix", q.numel() * k.shape[-2])
        if self.mode("mix"):
            return softmax_bytes(y) @ rows8(v.transpose(-1, -2)).transpose(-1, -2)
        return y.softmax(-1) @ v

    def block(self, m, name, c, x, kind, mask=None):
        qkv = pipeline.linear(m, name + ".qkv", pipeline.norm(m, name + ".norm1", x, c.epsilon))
        q, k, v = (pipeline.heads_of(t, c.heads) for t in qkv.chunk(3, 1))
        if mask is None:
            y = self.attend(q, k, v)
        else:                                 # the text tower attends in float
            y = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + mask).softmax(-1) @ v
        x = x + pipeline.linear(m, name + ".out", y.transpose(0, 1).reshape(x.shape))
        hidden = pipeline.activate(
            pipeline.linear(m, name + ".mlp_in", pipeline.norm(m, name + ".norm2", x, c.epsilon)), kind)
        return x + pipeline.linear(m, name + ".mlp_out", hidden)

    def clip_values(self, m, x):
        c = m.clip
        name = f"clip.blocks.{c.depth - 1}"
        y = pipeline.norm(m, name + ".norm1", x, c.epsilon)
        return F.linear(self.rows("clip.last.values", y, c.width), m[name + ".qkv.weight"][2 * c.width:],
                        m[name + ".qkv.bias"][2 * c.width:])

    def head_attention(self, q, k, rel_h, rel_w, side):
        return self.attend(q, k, None, pipeline.relative_positions(q, rel_h, rel_w, side))

    def sam_attention(self, m, name, x, c, side):
        q, k, v = (pipeline.heads_of(t, c.heads) for t in pipeline.linear(m, name + ".qkv", x).chunk(3, 1))
        rel = m[name + ".rel_h"], m[name + ".rel_w"]
        y = torch.stack([self.attend(q[h], k[h], v[h], pipeline.relative_positions(q[h], *rel, side))
                         for h in range(c.heads)])
        return pipeline.linear(m, name + ".out", y.transpose(0, 1).reshape(x.shape)), (q, k, v)

    def conv2d(self, x, weight, *rest, **named):
        """SAM's neck is the only convolution with a padding; its rows are a place's nine pixels together."""
        if named.get("padding") != 1 or self.mode("sam.neck.conv2") is None:
            return self.plain_conv2d(x, weight, *rest, **named)
        rows = F.unfold(x, 3, padding=1)[0].T
        y = self.mode("sam.neck.conv2")(rows) @ weight.flatten(1).T
        return y.T.reshape(1, len(weight), *x.shape[-2:])

    plain_conv2d = staticmethod(F.conv2d)

    def install(self):
        F.conv2d = self.conv2d
        for name in ("linear", "block", "clip_values", "head_attention", "sam_attention"):
            setattr(pipeline, name, getattr(self, name))


def modes(wanted):
    """Name of a table line and the rounding of every name in it."""
    inside = {place: re.compile(pattern + "$").match for place, pattern in PLACES}
    product = lambda name: fine if inside["head"](name) or inside["text"](name) else rows8
    yield "everything", lambda name: rows8
    yield "fine", product
    for place, _ in PLACES:
        if re.search(wanted, place):
            yield "only " + place, lambda name, match=inside[place]: rows8 if match(name) else None
            yield "but " + place, lambda name, match=inside[place]: None if match(name) else product(name)


def measure(m, photo, classes, o, rounding, found, wanted):
    """Adds differences with the float run by table line."""
    rounding.known(m)
    words = {}

    def run(mode):
        rounding.mode = mode
        key = mode("text.blocks.0.qkv")
        if key not in words:                  # words are encoded once for each rounding
            phrases = [p for names in classes for p in names]
            words[key] = pipeline.text_vectors(m, phrases, o.templates, pipeline.Taps())
        labels, taps = pipeline.segment(m, photo, classes, o, words[key])
        return taps["scores.classes"], labels

    rounding.counts = True
    scores, labels = run(lambda name: None)
    rounding.counts = False
    for name, mode in modes(wanted):
        other = run(mode)
        found[name].append((np.abs(other[0] - scores).mean(), (other[1] != labels).mean()))
        print(f"  {name}: {found[name][-1][0]:.1e} {found[name][-1][1]:.2%}", file=sys.stderr, flush=True)


def cases(a):
    """Models, photos, classes and options."""
    if not a.draws:
        m = weights.from_gguf(a.model)
        lines = pathlib.Path(a.classes).read_text().splitlines()
        classes = [[p.strip() for p in line.split(";")] for line in lines if line]
        for path in a.photos:
            photo = np.ascontiguousarray(cv2.imread(path, cv2.IMREAD_COLOR)[:, :, ::-1])
            yield m, photo, classes, pipeline.Options(
                refine=a.refine, templates=tuple(pipeline.TEMPLATES[:a.templates]))
        return
    import random_parity
    number = 0
    while a.draws:
        number += 1
        folder = pathlib.Path(tempfile.mkdtemp())
        try:
            _, _, o, _, (path, *_), classes, _ = random_parity.draw(a, folder, number)
            o.refine, o.templates = a.refine, tuple(pipeline.TEMPLATES[:a.templates])
            if len(classes) == 1 or o.affinity != "trident" or not o.dino:
                continue
            photo = np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])
            yield weights.from_gguf(str(folder / "model.gguf")), photo, classes, o
            a.draws -= 1
        finally:
            shutil.rmtree(folder)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--classes")
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path(".build/release"))
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--places", default="", help="a regular expression")
    parser.add_argument("--templates", type=int, default=len(pipeline.TEMPLATES), help="the first of them")
    parser.add_argument("photos", nargs="*")
    a = parser.parse_args()
    torch.set_num_threads(1)
    rounding, found = Rounding(), collections.defaultdict(list)
    rounding.install()
    for m, photo, classes, o in cases(a):
        print(f"{photo.shape[1]}x{photo.shape[0]}", file=sys.stderr)
        measure(m, photo, classes, o, rounding, found, a.places)
    total = sum(rounding.macs.values())
    mean = {name: np.mean(values, 0) for name, values in found.items()}
    print("| place | alone in bytes: scores | labels | all but it: scores | labels | work |")
    print("|---|---|---|---|---|---|")
    for name in ("everything", "fine"):
        print(f"| {name} | {mean[name][0]:.1e} | {mean[name][1]:.2%} | | | |")
    for place, pattern in PLACES:
        if "only " + place not in mean:
            continue
        share = sum(n for name, n in rounding.macs.items() if re.match(pattern + "$", name)) / total
        one, rest = mean["only " + place], mean["but " + place]
        print(f"| {place} | {one[0]:.1e} | {one[1]:.2%} | {rest[0]:.1e} | {rest[1]:.2%} | {share:.1%} |")


if __name__ == "__main__":
    main()
