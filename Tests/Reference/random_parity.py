#!/usr/bin/env python3
"""Both programs against the reference on configurations drawn at random: sizes of the three networks, checkpoint flavours,
photos, classes and options.

    random_parity.py [--count 20] [--seed 1] [--bin .build/release] [--keep FOLDER]

A line a case: largest difference of class scores, share of equal labels, in float32, and what INT8 keeps of both. In float32
scores must agree within 1e-3 and labels on 99.9 % of the pixels whose two best probabilities are 1e-3 apart; the script ends
with 1 where they do not. An affinity or a predicted overlap within 1e-5 of the value it is cut at may fall on either side:
such cases are said to be on a cut and do not count.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

import pipeline
import toys
import weights
from photos import synthetic

WORDS = ["sky", "wall", "water", "cat", "kitten", "sofa", "green grass", "tree", "Köln", "it's", "a dog's bed", "T-shirt", "R&D",
         "Zürich", "日本", "fish & chips", "42"]


def draw_config(r, name):
    """A trio: head widths as the families have them, everything else free."""
    patch, width = r.choice([14, 16, 16, 32]), 64 * r.choice([1, 2, 3])
    window = patch * r.choice([6, 7, 9])
    dino_patch = r.choice([p for p in (8, 16, patch) if window % p == 0 and p <= patch] or [patch])
    sam_patch, sam_heads, sam_grid = r.choice([8, 16]), r.choice([1, 2, 4]), r.choice([8, 13, 20])
    sam_depth = r.choice([2, 3, 4])
    sam = toys.Sam(
        16 * sam_heads * r.choice([2, 4, 5]), sam_depth, sam_heads, 32 * r.choice([2, 3, 5]), sam_patch, sam_grid,
        window=r.choice([w for w in (4, 7, 14) if w < sam_grid]), globals=tuple(sorted(set(r.sample(range(sam_depth), r.choice([1, 2]))) | {sam_depth - 1})),
        neck=r.choice([32, 64]), decoder_mlp=r.choice([64, 160]), iou_hidden=r.choice([32, 48]))
    form, activation = r.choice([("openai", "quickgelu"), ("openclip", "gelu"), ("openclip", "quickgelu"),
                                 ("huggingface", "gelu"), ("openclip-legacy", "gelu")])
    return toys.Config(
        name, clip=toys.Tower(width, r.choice([1, 2, 3]), width // 64, 32 * r.choice([2, 5, 8]), patch, r.choice([5, 7, 10])),
        text=toys.Tower(64 * r.choice([1, 2]), r.choice([1, 2]), 0, 128), embed=r.choice([32, 72, 100]),
        dino=toys.Tower(64 * r.choice([1, 2]), r.choice([1, 2, 3]), 0, 96, dino_patch, r.choice([5, 6, 9])), sam=sam,
        activation=activation, grain=1, clip_form=form, window=window, stride=patch * r.choice([3, 4, 5]),
        short_side=window + patch * r.choice([0, 1, 3, 6]))


def with_heads(config):
    for tower in (config.text, config.dino):
        tower.heads = tower.width // 64
    return config


def draw_options(r, config):
    return pipeline.Options(
        short_side=config.short_side, window=config.window, stride=config.stride, minimal_area=r.choice([10, 40, 225]),
        logit_scale=r.choice([20.0, 40.0, 100.0]), beta=r.choice([1.2, 1.0, 0.5]), gamma=r.choice([3.0, 1.0]),
        cos_factor=r.choice([1.2, 3.0, 0.5]), probability_threshold=r.choice([0.0, 0.0, 0.3]),
        coarse_threshold=r.choice([0.2, 0.05, 0.5]), iou_threshold=r.choice([0.8, 0.5]),
        affinity=r.choice(["trident"] * 4 + ["attention", "cosine", "none"]), paradigm=r.choice(["splice"] * 4 + ["window"]),
        dino=r.random() < 0.85, refine=r.random() < 0.75)


def flags(o):
    named = {n: getattr(o, n) for n in ("short_side", "window", "stride", "minimal_area", "logit_scale", "beta", "gamma", "cos_factor",
                                        "probability_threshold", "coarse_threshold", "iou_threshold", "affinity", "paradigm")}
    result = [part for name, value in named.items() for part in ("--" + name.replace("_", "-"), str(value))]
    return result + ([] if o.dino else ["--no-dino"]) + ([] if o.refine else ["--refine", "none"])


def on_a_cut(taps):
    margins = [float(v.min()) for n, v in taps.items() if n.endswith(".margin")]
    if "refine.iou" in taps:
        margins.append(float(np.abs(taps["refine.iou"] - taps["refine.iou_threshold"]).min(initial=1)))
    return min(margins, default=1) < 1e-5


def run(a, folder, number):
    r = random.Random(1000 * a.seed + number)
    config = with_heads(draw_config(r, f"random-{number}"))
    o = draw_options(r, config)
    # The thinnest: a patch of SAM's grid, or the reference has nothing to aggregate.
    long = r.randint(100, 300)
    size = r.choice([(r.randint(20, 400), r.randint(20, 400)), (1 + 2 * long // config.sam.grid, long), (97, 131)])
    words = iter(r.sample(WORDS, len(WORDS)))
    classes = [[next(words) for _ in range(r.choice([1, 1, 2]))] for _ in range(r.choice([1, 2, 3, 5, 8]))]
    paths = toys.make(config, str(folder), seed=1000 * a.seed + number)
    model = folder / "model.gguf"
    command = [a.bin / "trident-quantize", "--quiet", "--overwrite", "--output", model]
    for kind in ("clip", "dino", "sam", "vocab"):
        command += ["--" + kind, paths[kind]]
    if config.clip_form != "openai":
        command += ["--activation", config.activation]
    subprocess.run(command, check=True)
    photo = synthetic(*size, seed=number)
    Image.fromarray(photo).save(folder / "photo.png")
    (folder / "classes.txt").write_text("".join("; ".join(c) + "\n" for c in classes))
    reference, taps = pipeline.segment(weights.from_gguf(str(model)), photo, classes, o)
    taps["refine.iou_threshold"] = o.iou_threshold
    p = np.sort(taps["scores.probabilities"], 0)
    clear = p[-1] - p[-2] > 1e-3 if len(p) > 1 else np.ones(p.shape[1:], bool)
    found = {}
    for precision in ("float32", "int8"):
        subprocess.run([a.bin / "trident", "segment", "-m", model, "--classes", folder / "classes.txt", "--no-cache", "--quiet",
                        "--precision", precision, "--output", folder / "labels.png", "--scores", folder / "scores.npy", "--overwrite",
                        *flags(o), folder / "photo.png"], check=True)
        labels = np.asarray(Image.open(folder / "labels.png"))
        difference = float(np.abs(np.load(folder / "scores.npy") - taps["scores.classes"]).max())
        found[precision] = difference, float((labels == reference)[clear].mean()) if clear.any() else 1.0
    cut = on_a_cut(taps)
    good = cut or (found["float32"][0] < 1e-3 and found["float32"][1] >= 0.999)
    print(f"{number:3} {'ok' if good else 'BAD'}{' (on a cut)' if cut else ''} photo {size[1]}x{size[0]}, {len(classes)} classes, "
          f"clip {config.clip_form} {config.clip.width}/{config.clip.patch}, dino {config.dino.width}/{config.dino.patch}, "
          f"sam {config.sam.width}/{config.sam.patch} {config.sam.grid}: float32 {found['float32'][0]:.1e} {found['float32'][1]:.2%}, "
          f"int8 {found['int8'][0]:.1e} {found['int8'][1]:.2%}; {' '.join(flags(o))}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path(".build/release"))
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files of every case here")
    a = parser.parse_args()
    torch.set_num_threads(1)
    bad = []
    for number in range(a.first, a.first + a.count):
        folder = a.keep / f"{a.seed}-{number}" if a.keep else pathlib.Path(tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if not run(a, folder, number):
                bad.append(number)
        except subprocess.CalledProcessError as error:
            print(f"{number:3} BAD: {error}", flush=True)
            bad.append(number)
        finally:
            if not a.keep:
                shutil.rmtree(folder)
    print(f"{a.count - len(bad)} of {a.count} agree" + (f"; not {bad}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
