#!/usr/bin/env python3
"""What our INT8 scheme does to a genuinely trained network on real photos: DINOv2, layer by layer, beside
float32.

    trained_int8.py CHECKPOINT [--photos 10] [--window 336] [--parts] [--mends]

CHECKPOINT: a DINOv2 file, such as Scripts/dinov2_from_onnx.py writes. Photos are scikit-image's. The scheme
is simulated in float32 as docs/quantization.md describes it: a scale a row of weights, a scale a token before
every matrix, and in attention a scale a query, a scale a key (their mean taken off), a scale a column of
values, weights as bytes. Cosines are by token (patches only), with the float network's output of the same
block; the run goes through the whole network in INT8, so errors add up. `--parts` rounds one operation alone;
`--mends` tries what could be done about it.
"""

import argparse
import os

import cv2
import numpy as np
import pipeline
import torch
import torch.nn.functional as F
import weights

PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png",
          "coins.png", "retina.jpg", "hubble_deep_field.jpg", "ihc.png", "brick.png", "grass.png"]
PARTS = ("weights", "patch", "qkv", "scores", "bytes", "values", "out", "mlp_in", "mlp_out")
EVERYTHING = frozenset(PARTS)


def rows8(x):
    """Each row on its own grid of 255 steps."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    return (x / scale).round() * scale


def rows16(x):
    scale = x.abs().amax(-1, keepdim=True) / 32767
    scale = torch.where(scale == 0, 1.0, scale)
    return (x / scale).round() * scale


def split8(x, most=8):
    """Rows in 8 bits, but for the `most` largest entries of each, which are kept apart in float."""
    apart = torch.zeros_like(x, dtype=torch.bool).scatter(-1, x.abs().topk(most, -1).indices, True)
    return torch.where(apart, x, rows8(torch.where(apart, 0.0, x)))


class Network:
    """DINOv2 with some operations in INT8. `rounding` says how the rows before each matrix are rounded."""

    def __init__(self, m, parts=EVERYTHING, rounding=None, balance=None):
        self.m, self.parts, self.rounding = m, parts, rounding or {}
        self.balance = balance or {}
        self.seen = None                                    # where calibration collects maxima
        self.matrices = {}
        for name, t in m.tensors.items():
            if name.startswith("dino.") and name.endswith(".weight") and t.ndim == 2:
                stem = name.removesuffix(".weight")
                share = self.balance.get(stem)
                t = t if share is None else t * share
                self.matrices[stem] = rows8(t) if "weights" in parts else t

    def linear(self, stem, x):
        part = stem.rsplit(".", 1)[1]
        share = self.balance.get(stem)
        if self.seen is not None:
            self.seen[stem] = torch.maximum(self.seen.get(stem, torch.zeros(x.shape[1])), x.abs().amax(0))
        x = x if share is None else x / share
        if part in self.parts:
            x = self.rounding.get(stem, self.rounding.get(part, rows8))(x)
        return F.linear(x, self.matrices[stem], self.m.get(stem + ".bias"))

    def attention(self, q, k, v):
        """[heads, n, width] each."""
        if "scores" in self.parts:
            q, k = rows8(q), rows8(k - k.mean(1, keepdim=True))
        y = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        if "values" in self.parts:
            v = rows8(v.transpose(1, 2)).transpose(1, 2)
        if "bytes" not in self.parts:
            return y.softmax(-1) @ v
        bytes_ = torch.zeros_like(y)
        best = y.amax(-1, keepdim=True)
        for first in range(0, y.shape[-1], 256):
            part = y[..., first:first + 256]
            top = part.amax(-1, keepdim=True)
            bytes_[..., first:first + 256] = (127 * (part - top).exp()).round() * (top - best).exp()
        total = bytes_.sum(-1, keepdim=True)
        return bytes_ @ v / total

    def __call__(self, window):
        """Outputs of every block and of the final norm, patches only."""
        m, c = self.m, self.m.dino
        h, w = window.shape[1] // c.patch, window.shape[2] // c.patch
        x = self.linear("dino.patch", pipeline.patches(window, c.patch))
        x = x + pipeline.dinov2.position_grid(m["dino.position"][1:], h, w, c.position_rule)
        x = torch.cat([(m["dino.class_embedding"] + m["dino.position"][0])[None]]
                      + ([m["dino.registers"]] if c.registers else []) + [x])
        out = []
        for n in range(c.depth):
            name = f"dino.blocks.{n}"
            qkv = self.linear(name + ".qkv", pipeline.norm(m, name + ".norm1", x, c.epsilon))
            y = self.attention(*(pipeline.heads_of(t, c.heads) for t in qkv.chunk(3, 1)))
            x = x + self.linear(name + ".out", y.transpose(0, 1).flatten(1))
            hidden = F.gelu(self.linear(name + ".mlp_in", pipeline.norm(m, name + ".norm2", x, c.epsilon)))
            x = x + self.linear(name + ".mlp_out", hidden)
            out.append(x[-h * w:])
        out.append(pipeline.norm(m, "dino.norm_post", x, c.epsilon)[-h * w:])
        return out


def windows(count, side):
    """One window of each photo: its middle, the short side brought to `side`."""
    import skimage
    folder = os.path.join(os.path.dirname(skimage.__file__), "data")
    for name in PHOTOS[:count]:
        photo = cv2.imread(os.path.join(folder, name), cv2.IMREAD_COLOR)[:, :, ::-1]
        h, w = photo.shape[:2]
        scale = side / min(h, w)
        photo = cv2.resize(np.ascontiguousarray(photo), (round(w * scale), round(h * scale)),
                           interpolation=cv2.INTER_LINEAR)
        y, x = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        t = torch.from_numpy(photo[y:y + side, x:x + side].copy()).permute(2, 0, 1).float() / 255
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (pipeline.DINO_MEAN, pipeline.DINO_STD))
        yield name, (t - mean) / deviation


def cosines(a, b):
    return F.cosine_similarity(a, b, dim=1)


def line(values):
    values = torch.cat(values)
    return f"{values.mean():.5f} | {values.quantile(0.01):.5f} | {values.min():.5f}"


def calibrated(m, photos):
    """Shares of the columns behind every norm, as `trident-quantize --calibrate` finds them, from float
    runs."""
    plain = Network(m, frozenset())
    plain.seen = {}
    for _, window in photos:
        plain(window)
    balance = {}
    for stem, most in plain.seen.items():
        if stem.endswith((".qkv", ".mlp_in")):
            log = 0.5 * (most.log2() - m[stem + ".weight"].abs().amax(0).log2())
            balance[stem] = (log - log.mean()).round().clamp(-4, 4).exp2()
    return balance


def compare(title, network, photos, wanted, every=False):
    """Prints a table line; with `every`, one for each block."""
    found = [[cosines(a, b) for a, b in zip(network(window), truth)]
             for (_, window), truth in zip(photos, wanted)]
    stages = range(len(found[0])) if every else [len(found[0]) - 1]
    for n in stages:
        where = f", block {n + 1}" if n < len(found[0]) - 1 else ", features" if every else ""
        print(f"| {title}{where} | {line([f[n] for f in found])} |", flush=True)
    return [f[-1] for f in found]


def spread(m, photos):
    """Largest over root mean square of the rows before each kind of matrix, per block: what costs INT8 its
    steps."""
    plain, found = Network(m, frozenset()), {}

    def watch(stem, x):
        found.setdefault(stem, []).append(x.abs().amax(1) / x.square().mean(1).sqrt())
        return F.linear(x, plain.matrices[stem], m.get(stem + ".bias"))

    plain.linear = watch
    for _, window in photos:
        plain(window)
    print("\n| block | qkv | out | mlp_in | mlp_out |\n|---|---|---|---|---|")
    for n in range(m.dino.depth):
        cells = []
        for part in ("qkv", "out", "mlp_in", "mlp_out"):
            x = torch.cat(found[f"dino.blocks.{n}.{part}"])
            cells.append(f"{x.mean():.1f}, {x.max():.1f}")
        print(f"| {n + 1} | {' | '.join(cells)} |")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--window", type=int, default=336)
    parser.add_argument("--calibration", type=int, default=4, help="the first photos are looked at, the "
                        "others judged")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--mends", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    m = weights.Model()
    weights.add_dino(m, weights.read_dino(a.checkpoint))
    photos = list(windows(a.photos, a.window))
    wanted = [Network(m, frozenset())(window) for _, window in photos]
    print("| cosine with float32, by token | mean | 1st percentile | worst |\n|---|---|---|---|")
    final = compare("INT8", Network(m), photos, wanted, every=True)
    for (name, _), values in zip(photos, final):
        print(f"| INT8, {name.split('.')[0]} | {line([values])} |")
    balance = calibrated(m, photos[:a.calibration])
    rest = photos[a.calibration:], wanted[a.calibration:]
    compare("INT8, photos not calibrated on", Network(m), *rest)
    compare("INT8, calibrated", Network(m, balance=balance), *rest, every=True)
    if a.parts:
        for part in PARTS:
            compare(f"only {part}", Network(m, frozenset([part])), photos, wanted)
        first = {f"dino.blocks.{n}.mlp_in": lambda x: x for n in range(1, m.dino.depth)}
        compare("only mlp_in of block 1", Network(m, frozenset(["mlp_in"]), first), photos, wanted)
        for part in PARTS:
            compare(f"all but {part}", Network(m, EVERYTHING - {part}), photos, wanted)
        spread(m, photos)
    if a.mends:
        for part in ("qkv", "out", "mlp_in", "mlp_out"):
            compare(f"{part} in 16 bits", Network(m, rounding={part: rows16}), photos, wanted)
            compare(f"{part}, 8 entries a row apart", Network(m, rounding={part: split8}), photos, wanted)


if __name__ == "__main__":
    main()
