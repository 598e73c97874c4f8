#!/usr/bin/env python3
"""Golden answers of `--absent purify`: what absent.py's FreeCP makes of cases that are there already.

    make_purify.py FIXTURES          FIXTURES is Tests/Fixtures; run behind make_taps.py and make_scclip.py

Writes FIXTURES/golden-scclip/NAME/purify.taps and FIXTURES/golden/NAME/purify.taps, in float32 from the
weights after the INT8 rounding: for the first and the last window
    absent.attention.W   [n, n], the mean over heads and blocks; every k-th row
    absent.walk.W        [n, n], two steps; every k-th row
    absent.scores.W      [n, phrases], Trident alone: cosines of the window, which its scores do not hold
    absent.probability.W, absent.boxed.W, absent.refined.W    [classes, n]
    absent.ratio.W       [1, classes]
and for the photo
    absent.ratios        [1, classes], the largest of all windows
    absent.background.ratios    the same with class 0 as background, which has 0
    absent.redundancy    [1], an edge in the widest gap between ratios
    absent.kept.purify   [1, classes] by that edge

Trident's window is scored as its paper's window paradigm scores it; where another network's patches make
another grid, its features are brought to CLIP's grid first, which attention lies on.
"""

import argparse
import gzip
import os
import shutil
import tempfile

import absent
import make_scclip
import make_taps
import numpy as np
import pipeline
import scclip
import torch
import toys
import weights
from make_taps import CLASSES
from PIL import Image
from taps import write_taps

CALIBRATED = ("square", "rules", "large")
TRIDENT = ("toy-b", "toy-dino8", "toy-dinov2", "toy-b-no-dino", "toy-l")
TAP_BYTES = 900


def settings(folder):
    """case.txt; `dino` stands twice, its first line is the checkpoint."""
    out = {}
    with open(os.path.join(folder, "case.txt")) as lines:
        for line in lines:
            key, value = line.rstrip("\n").split(" ", 1)
            out.setdefault(key, value)
    return out


def unpacked(directory, name, scratch):
    target = os.path.join(scratch, name.removesuffix(".gz").replace("/", "-"))
    with gzip.open(os.path.join(directory, name)) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out)
    return target


def calibrated_windows(directory, case, scratch, photo):
    """Per window: scores [Q, rows, cols] and mean attention."""
    text, (_, name, _, changes) = settings(os.path.join(directory, case)), next(
        c for c in make_scclip.CASES if c[0] == case)
    m = weights.quantized(scclip.from_checkpoint(
        unpacked(directory, text["clip"], scratch), os.path.join(directory, text["vocab"]),
        text["activation"]))
    o = make_scclip.settings(toys.CONFIGS[name], changes)
    vectors = pipeline.text_vectors(m, [p for c in CLASSES for p in c], o.templates, pipeline.Taps())
    image = scclip.photo_copy(photo, o, m.clip.patch, pipeline.Taps())
    for _, _, window in scclip.windows_of(image, o):
        walk = absent.Walk(m)
        z, grid = scclip.window_features(m, window, o, watch=walk)
        yield (z @ vectors.T).T.reshape(-1, *grid), walk.matrix


def trident_windows(directory, case, scratch, photo):
    text, (name, _, _, changes) = settings(os.path.join(directory, case)), next(
        c for c in make_taps.CASES if c[1] == case)
    files = [unpacked(directory, text[kind], scratch) for kind in ("clip", "dino", "sam")]
    m = weights.quantized(weights.from_checkpoints(
        *files, os.path.join(directory, text["vocab"]), text["activation"]))
    o = make_taps.options(toys.CONFIGS[name], changes)
    vectors = pipeline.text_vectors(m, [p for c in CLASSES for p in c], o.templates, pipeline.Taps())
    image = pipeline.clip_copy(photo, o, m.clip.patch, pipeline.Taps())
    origins, maps, _ = pipeline.window_features(m, image, o, pipeline.Taps())
    for (y, x), features in zip(origins, maps):
        walk = absent.Walk(m)
        _, grid = pipeline.clip_last_input(
            m, image[:, y:y + o.window, x:x + o.window], None, pipeline.Taps(), walk)
        rows = pipeline.bilinear(features, *grid).flatten(1).T
        yield pipeline.similarities(m, rows, vectors).T.reshape(-1, *grid), walk.matrix


def answers(windows, keeps_scores):
    windows, taps, steps = list(windows), {}, {}
    found = [absent.purify(scores, attention, CLASSES, 0) for scores, attention in windows]
    behind = [absent.purify(scores, attention, CLASSES, 0, background=True) for scores, attention in windows]
    for n in sorted({0, len(windows) - 1}):
        scores, attention = windows[n]
        taps[f"absent.attention.{n}"] = attention
        taps[f"absent.walk.{n}"] = absent.walk_matrix(attention)
        if keeps_scores:
            taps[f"absent.scores.{n}"] = scores.flatten(1).T
        for name in ("probability", "boxed"):
            taps[f"absent.{name}.{n}"] = getattr(found[n], name)
        taps[f"absent.refined.{n}"] = found[n].activation.flatten(1)
        taps[f"absent.ratio.{n}"] = found[n].ratio[None]
    ratios = torch.stack([f.ratio for f in found]).amax(0)
    ordered = ratios.sort().values
    gap = int((ordered[1:] - ordered[:-1]).argmax())
    edge = (ordered[gap] + ordered[gap + 1]) / 2
    taps["absent.ratios"] = ratios[None]
    taps["absent.background.ratios"] = torch.cat(
        [torch.zeros(1), torch.stack([f.ratio for f in behind]).amax(0)])[None]
    taps["absent.redundancy"] = edge[None]
    taps["absent.kept.purify"] = (ratios > edge).to(torch.int32)[None]
    for name in taps:
        if name.startswith(("absent.attention", "absent.walk", "absent.scores")):
            steps[name] = make_taps.rows_step(name, np.asarray(taps[name]), TAP_BYTES)
    return taps, steps


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixtures")
    a = parser.parse_args()
    torch.set_num_threads(1)
    for kind, cases, windows in [("golden-scclip", CALIBRATED, calibrated_windows),
                                 ("golden", TRIDENT, trident_windows)]:
        directory = os.path.join(a.fixtures, kind)
        for case in cases:
            scratch = tempfile.mkdtemp()
            photo = np.asarray(Image.open(os.path.join(
                directory, settings(os.path.join(directory, case))["photo"])).convert("RGB"))
            taps, steps = answers(windows(directory, case, scratch, photo), kind == "golden")
            shutil.rmtree(scratch)
            path = os.path.join(directory, case, "purify.taps")
            write_taps(path, taps, steps)
            print(f"{kind}/{case}: ratios {[round(float(r), 4) for r in taps['absent.ratios'][0]]}, edge "
                  f"{float(taps['absent.redundancy']):.4f}, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
