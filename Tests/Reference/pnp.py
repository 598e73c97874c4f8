#!/usr/bin/env python3
"""PnP-OVSS once, plainly, in float32: photo and class names in, label map and taps out.

    pnp.py --blip model_base_retrieval_coco.pth --vocab vocab.txt --class cat --class sofa PHOTO
           [--present cat,sofa] [--background] [--refine crf|none] [--stored] [--labels L.png] [--taps T.taps]

Written from the behaviour pinned for this project (blip.py has the network). Choices of ours: spaces in names
stay; pixels are always normalised; equal salience goes to the smaller index; a constant channel becomes 0; a
background channel stands in front where class 0 is one; more than 25 classes, or 64 tokens, go in groups.
"""

import argparse
import pathlib
import sys
from dataclasses import dataclass

import blip
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from taps import write_taps

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Fixtures" / "refine"))


@dataclass
class Options:
    side: int = 336
    rounds: int = 4
    blanked: int = 10              # patches a round
    layer: int = 8
    head: int = 10
    threshold: float = 0.15
    blur: float = 0.05
    group_classes: int = 25
    group_tokens: int = 64


class Taps(dict):
    def put(self, name, value):
        self[name] = value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)


# ------------------------------------------------------------------ words

class Words:
    """The pieces of plain ASCII names: the greedy longest prefix."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.pieces = [line.rstrip("\n") for line in file]
        self.pieces += [mark for mark in ("[DEC]", "[ENC]") if mark not in self.pieces]
        self.number = {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text):
        out = []
        for word in text.lower().split():
            pieces, start = [], 0
            while start < len(word):
                found = next((end for end in range(len(word), start, -1)
                              if ("##" if start else "") + word[start:end] in self.number), None)
                if found is None:
                    pieces = [self.number["[UNK]"]]
                    break
                pieces.append(self.number[("##" if start else "") + word[start:found]])
                start = found
            out += pieces
        return out

    def caption(self, names, start="[ENC]"):
        """Token numbers, and the rows of each name's pieces."""
        tokens = [self.number[start]] + self.encode("A picture of")
        rows = []
        for name in names:
            pieces = self.encode(name)
            rows.append(range(len(tokens), len(tokens) + len(pieces)))
            tokens += pieces
        return tokens + [self.number["[SEP]"]], rows


def groups(words, names, o):
    """Runs of names that go into one caption each."""
    out, used = [[]], 5
    for index, name in enumerate(names):
        count = len(words.encode(name))
        if out[-1] and (len(out[-1]) == o.group_classes or used + count > o.group_tokens):
            out.append([])
            used = 5
        out[-1].append(index)
        used += count
    return out


# ------------------------------------------------------------------ the photo

def cubic(x):
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    return np.where(x < 1, near, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


def resample_axis(pixels, size):
    """Pillow's bicubic along axis 0, on bytes: weights of 22 bits, sums rounded to bytes."""
    source = len(pixels)
    scale = source / size
    wide = max(scale, 1)
    out = np.empty((size,) + pixels.shape[1:], np.uint8)
    for cell in range(size):
        centre = (cell + 0.5) * scale
        first, last = max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), source)
        weights = cubic((np.arange(first, last) - centre + 0.5) / wide)
        weights = weights / weights.sum()
        fixed = np.trunc(weights * (1 << 22) + np.where(weights < 0, -0.5, 0.5)).astype(np.int64)
        sums = (1 << 21) + np.tensordot(fixed, pixels[first:last].astype(np.int64), 1)
        out[cell] = np.clip(sums >> 22, 0, 255)
    return out


def squeezed(photo, side):
    """The photo as a square: rows first, then columns."""
    across = photo if photo.shape[1] == side else resample_axis(photo.swapaxes(0, 1), side).swapaxes(0, 1)
    return across if photo.shape[0] == side else resample_axis(across, side)


def normalised(pixels):
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
    return (x - torch.tensor(blip.MEAN).view(3, 1, 1)) / torch.tensor(blip.STD).view(3, 1, 1)


def without(image, patches, patch):
    image = image.clone()
    grid = image.shape[1] // patch
    for index in patches:
        y, x = index // grid * patch, index % grid * patch
        image[:, y:y + patch, x:x + patch] = 0
    return image


# ------------------------------------------------------------------ the method

def attention_map(m, words, names, image_tokens, o, taps, at):
    """M [T, cells] of one caption, and the rows of its names."""
    tokens, rows = words.caption(names)
    tape = blip.Tape()
    logits = blip.match_logits(m, blip.text_states(m, tokens, image_tokens, tape))
    g = blip.closed_gradient(m, tape, o.layer, o.head)
    p = tape["P", o.layer - 1][o.head - 1]
    for name, value in (("logits", logits[None]), ("P", p), ("G", g)):
        taps.put(f"pnp.{name}.{at}", value)
    return p[:, 1:] * g[:, 1:].clamp(min=0), rows


def class_maps(m, words, names, image, o, taps):
    """Mean salience of every name [K, cells], over all rounds."""
    patch = m["visual_encoder.patch_embed.proj.weight"].shape[-1]
    blanked, total = [], None
    parts = groups(words, names, o)
    for r in range(o.rounds):
        put = lambda name, value, r=r: taps.put(f"{name}.{r}", value)
        tokens = blip.image_tokens(m, without(image, blanked, patch), put)
        maps, salience = [], 0
        for g, part in enumerate(parts):
            found, rows = attention_map(m, words, [names[k] for k in part], tokens, o, taps, f"{r}.{g}")
            salience = salience + found[rows[0][0]:rows[-1][-1] + 1].sum(0)
            found[:, blanked] = 0
            maps += [found[list(row)] for row in rows]
        salience[blanked] = 0
        taps.put(f"pnp.salience.{r}", salience[None])
        if r == 0:
            total = [2 * t if o.rounds > 1 else t for t in maps]
        else:
            total = [a + b for a, b in zip(total, maps)]
        if r + 1 < o.rounds:
            order = torch.sort(-salience, stable=True).indices.tolist()
            blanked = blanked + [cell for cell in order if cell not in blanked][:o.blanked]
    taps.put("pnp.blanked", np.array([blanked], np.int32))
    taps.put("pnp.A", torch.cat(total))
    return torch.stack([rows.mean(0) for rows in total])


def rescaled(c):
    low, high = c.min(), c.max()
    return (c - low) / (high - low) if high > low else torch.zeros_like(c)


def pixel_channels(maps, size, background, o):
    """Raw channels [K (+ 1), h, w], and blurred ones from 0 to 1."""
    grid = int(len(maps[0]) ** 0.5)
    kept = torch.stack([torch.where(rescaled(c) < o.threshold, 0, c) for c in maps]).reshape(-1, grid, grid)
    raw = F.interpolate(kept[None].double(), size, mode="bilinear", align_corners=True)[0]
    if background:
        raw = torch.cat([(raw == 0).all(0, keepdim=True).double(), raw])
    sigma = o.blur * max(size)
    blurred = np.stack([gaussian_filter(c.numpy(), sigma, mode="reflect", truncate=4) for c in raw])
    return raw, torch.stack([rescaled(torch.from_numpy(c)) for c in blurred])


def crf(photo, channels):
    """Labels of the dense field with this method's kernels; for small photos: one kernel is n x n."""
    import make_guided
    logs = channels.log_softmax(0).flatten(1).T.numpy()
    _, q = make_guided.field(photo, logs, make_guided.lattice, smooth=(3, 7), colour=(50, 5, 10))
    return q.argmax(1).reshape(photo.shape[:2])


@torch.no_grad()
def segment(m, words, photo, names, present, background, o):
    """Labels by argmax of raw channels, blurred channels, and taps. `present`: the names' places in `names`,
    class 0 left out where it is the background."""
    taps = Taps()
    pixels = squeezed(photo, o.side)
    taps.put("pnp.pixels", pixels.reshape(-1, pixels.shape[1] * 3))
    maps = class_maps(m, words, [names[k] for k in present], normalised(pixels), o, taps)
    taps.put("pnp.maps", maps)
    raw, blurred = pixel_channels(maps, photo.shape[:2], background, o)
    classes = np.array(([0] if background else []) + list(present))
    taps.put("pnp.raw", raw[:, photo.shape[0] // 3].float())
    taps.put("pnp.blurred", blurred[:, photo.shape[0] // 3].float())
    # Where the two best channels are so near each other that rounding decides.
    order = raw.sort(0).values
    clear = (order[-1] - order[-2]) > 1e-4 * raw.max() if len(raw) > 1 else torch.ones(raw.shape[1:]) > 0
    labels = classes[raw.argmax(0).numpy()]
    return labels, blurred, classes, clear.numpy(), taps


@torch.no_grad()
def presence(m, words, names, photo, o):
    """ITC cosine and ITM probability of every name."""
    tokens = blip.image_tokens(m, normalised(squeezed(photo, o.side)))
    out = []
    for name in names:
        ids, _ = words.caption([name])
        logits = blip.match_logits(m, blip.text_states(m, ids, tokens))
        alone, _ = words.caption([name], start="[CLS]")
        out.append([float(blip.itc(m, tokens, blip.text_states(m, alone))), float(logits.softmax(0)[1])])
    return np.array(out, np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--blip", required=True)
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--class", dest="names", action="append", required=True)
    parser.add_argument("--present", help="names, separated by commas; default: all")
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--refine", choices=["none", "crf"], default="crf")
    parser.add_argument("--stored", action="store_true", help="weights as our file holds them")
    for name, field in Options.__dataclass_fields__.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(field.default), default=field.default)
    parser.add_argument("--labels")
    parser.add_argument("--taps")
    parser.add_argument("photo")
    a = parser.parse_args()
    torch.set_num_threads(1)
    m = blip.read(a.blip)
    m = blip.stored(m) if a.stored else m
    photo = np.asarray(Image.open(a.photo).convert("RGB"))
    wanted = a.present.split(",") if a.present else a.names[1 if a.background else 0:]
    o = Options(**{n: getattr(a, n) for n in Options.__dataclass_fields__})
    labels, blurred, classes, _, taps = segment(m, Words(a.vocab), photo, a.names,
                                                [a.names.index(n) for n in wanted], a.background, o)
    if a.refine == "crf":
        labels = classes[crf(photo, blurred)]
    print(dict(zip(*np.unique(labels, return_counts=True))))
    if a.labels:
        Image.fromarray(labels.astype(np.uint8)).save(a.labels)
    if a.taps:
        write_taps(a.taps, taps)


if __name__ == "__main__":
    main()
