#!/usr/bin/env python3
"""Golden fixtures of SC-CLIP: toy checkpoints, photos, and what scclip.py computes from them.

    make_scclip.py DIRECTORY [--seed 1] [--only self,mix]    DIRECTORY is Tests/Fixtures/golden-scclip

Per case DIRECTORY/NAME/ gets
    case.txt            settings, `key value` lines; classes as `class a; b`; file names relative to DIRECTORY
    photo.png
    coarse.png          labels of the best class, before the area rule and the threshold; 8-bit grey
    final.png           labels after both
    reference.taps      see taps.py; large arrays keep every k-th row
The checkpoint of a configuration lies in the folder of its first case, packed with gzip. Two cases use files
of ../golden. As there, taps come from the weights after the INT8 rounding, in float32, and of several photos
the one is taken whose values are farthest from the edges: a cosine of 0.4, the mean similarity, the outlier
quantile, a class's share at the area threshold, the two best classes alike.
"""

import argparse
import gzip
import os
import shutil
import tempfile

import absent
import numpy as np
import pipeline
import scclip
import torch
import toys
import toys_scclip
import weights
from make_taps import CLASSES, label_margin, rows_step
from photos import synthetic
from PIL import Image
from taps import write_taps

SC = dict(low=2, mid=4, level_first=2, level_last=5, class_weight=0.3)
SC_L = dict(low=1, mid=3, level_first=2, level_last=4, class_weight=0.1)
TRIDENT = dict(low=1, mid=2, level_first=1, level_last=2, class_weight=0.3)

# (case, configuration, photo size, settings). The odd sides leave half patches and uneven overlaps.
CASES = [
    ("square", "toy-sc", (128, 128), SC),
    # windows 93 x 112: 5 x 7 patches
    ("wide", "toy-sc", (90, 211), dict(**SC, short_side=93)),
    # 2 x 7 patches: fewer than neighbours
    ("thin", "toy-sc", (40, 230), dict(**SC, short_side=37)),
    ("tall", "toy-sc", (190, 120), dict(**SC, short_side=130, outliers="lof")),
    ("rules", "toy-sc", (110, 143), dict(**SC, area_threshold=0.47, probability_threshold=0.3,
                                         logit_scale=20.0)),
    ("large", "toy-sc-l", (131, 97), SC_L),
    ("trident", "toy-b", (96, 128), dict(**TRIDENT, window=112, stride=56, short_side=130)),
    # other attention in the last block, and the class token mixed in
    ("self", "toy-sc", (128, 128), dict(**SC, clip_attention="self", class_mix=0.3, class_mix_of="window")),
    ("neighbour", "toy-sc", (90, 211), dict(**SC, clip_attention="neighbour", short_side=93)),
    ("value", "toy-sc", (110, 143), dict(**SC, clip_attention="value", class_mix=0.2)),
    ("global", "toy-sc", (128, 150), dict(**SC, clip_attention="global", global_first=2, global_last=4)),
    ("mix", "toy-sc", (131, 97), dict(**SC, class_mix=0.4)),
]
FULL = {"square", "wide", "large"}                       # cases that keep every stage
KEEP = ("windows.origins", "image.clip_u8", "scores.classes", "scores.shares", "text.vectors")
KEEP_STAGES = ("absent.", "confidence.", "scclip.outliers.", "scclip.lof.", "scclip.features.",
               "scclip.combined.", "scclip.repaired.", "clip.attended.", "clip.image_scores", "scores.0")
REDUNDANCY = 0.1                                         # FreeCP's rp
ABSENT = {"square", "rules", "large"}                    # cases with the taps of absent.py
BORROWED = {"toy-b": dict(clip="../golden/toy-b/clip.pt.gz")}


def margin(taps):
    """The least distance from an edge, each on its own scale; 1e-5 and more is far for float32."""
    return min([float(v.min()) for n, v in taps.items() if n.startswith("sc") and "_margin" in n], default=1)


def slim(case, taps, limit):
    kept, steps = {}, {}
    for name, value in taps.items():
        if name in ("image.photo", "scores.copy") or name.startswith("labels") or value.size == 0:
            continue
        if case not in FULL and not (name in KEEP or name.startswith(KEEP_STAGES) or "_margin" in name):
            continue
        kept[name] = value
        if not name.startswith(("scclip.outliers", "windows", "scclip.lof")):
            steps[name] = rows_step(name, value, limit * (4 if name == "scores.classes" else 1))
    return kept, steps


@torch.no_grad()
def absent_taps(m, photo, o, vectors, photo_taps, taps):
    """What the rules of absent.py make of the case, for the first and last window and the photo as a
    whole."""
    windows = scclip.windows_of(torch.from_numpy(photo_taps["image.clip_input"]), o)
    parts, walks, found = [], [], []
    for n, (y, x, part) in enumerate(windows):
        walk = absent.Walk(m)
        z, grid = scclip.window_features(m, part, o, watch=walk)
        parts.append((y, x, *part.shape[1:], (z @ vectors.T).T.reshape(-1, *grid)))
        walks.append(walk.matrix)
        found.append(absent.purify(parts[-1][4], walk.matrix, CLASSES, REDUNDANCY))
        if n in (0, len(windows) - 1):
            taps.put(f"absent.attention.{n}", walk.matrix)
            taps.put(f"absent.walk.{n}", absent.walk_matrix(walk.matrix))
            taps.put(f"absent.refined.{n}", found[-1].activation.flatten(1))
            taps.put(f"absent.ratio.{n}", found[-1].ratio[None])
    taps.put("absent.maxima", absent.class_maxima(parts, CLASSES)[None])
    taps.put("absent.walked_maxima", absent.class_maxima(parts, CLASSES, walks)[None])
    for name, keep in [("gate", absent.keep_by_gate(parts, CLASSES)),
                       ("relative", absent.keep_relative(parts, CLASSES)),
                       ("purify", absent.keep_by_purity(found))]:
        taps.put(f"absent.kept.{name}", np.array([keep], np.int32))
    taps.put("absent.redundancy_margin", min((f.ratio - REDUNDANCY).abs().min() for f in found)[None])
    neutral = pipeline.text_vectors(m, list(absent.NEUTRAL), o.templates, pipeline.Taps())
    taps.put("absent.neutral", neutral)
    small = torch.from_numpy(photo_taps["scores.copy"])
    alike = scclip.window_average([(y, x, h, w, part) for y, x, h, w, part in (
        (y, x, h, w, (scclip.window_features(m, image, o)[0] @ neutral.T).T.reshape(
            -1, *parts[n][4].shape[1:]))
        for n, ((y, x, image), (_, _, h, w, _)) in enumerate(zip(windows, parts)))], *small.shape[1:])
    taps.put("absent.relevancy", pipeline.best_phrase(absent.relevancy(small, alike), CLASSES))
    sure = absent.confidence(torch.from_numpy(photo_taps["scores.probabilities"]))
    for name in ("best", "margin", "entropy"):
        taps.put(f"confidence.{name}", getattr(sure, name))


def pack(path, folder):
    target = os.path.join(folder, os.path.basename(path) + ".gz")
    with open(path, "rb") as source, open(target, "wb") as out:
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0, filename="") as zipped:
            shutil.copyfileobj(source, zipped)


def models(directory, seed):
    """Model and case.txt's `clip` line by configuration; new checkpoints are written into their first case's
    folder."""
    out = {}
    for case, name, _, changes in CASES:
        if name in out:
            continue
        config = toys.CONFIGS[name]
        scratch = tempfile.mkdtemp()
        if name in BORROWED:
            path = os.path.join(directory, BORROWED[name]["clip"])
            clip = os.path.join(scratch, os.path.basename(path).removesuffix(".gz"))
            with gzip.open(path) as source, open(clip, "wb") as target:
                shutil.copyfileobj(source, target)
            paths = {"clip": clip, "vocab": os.path.join(directory, "../golden/toy-b/vocab.txt.gz")}
            file = BORROWED[name]["clip"]
        else:
            o = settings(config, changes)
            paths = toys_scclip.make(config, scratch, o, seed)
            os.makedirs(os.path.join(directory, case), exist_ok=True)
            pack(paths["clip"], os.path.join(directory, case))
            file = f"{case}/{os.path.basename(paths['clip'])}.gz"
        out[name] = weights.quantized(scclip.from_checkpoint(paths["clip"], paths["vocab"],
                                                             config.activation)), file
        shutil.rmtree(scratch)
    return out


def settings(config, changes):
    return scclip.Options(**{**dict(short_side=config.short_side, window=config.window, stride=config.stride),
                             **changes})


def best_photo(m, case, size, o, count):
    """The synthetic photo farthest from the edges among those with three labels or more."""
    best, vectors = None, None
    for seed in range(1, count + 1):
        photo = synthetic(*size, seed)
        labels, taps = scclip.segment(m, photo, CLASSES, o, vectors)
        if vectors is None:
            kept = {n: v for n, v in taps.items() if n.startswith("text.")}
            vectors = torch.from_numpy(taps["text.vectors"])
        shares = taps.get("scores.shares", np.zeros((1, 0)))[0]
        rules = bool(((shares > 0.01) & (shares <= o.area_threshold)).any()) + bool((labels != 0).any())
        rank = (len(np.unique(labels)) >= 3, rules, min(margin(taps), 1e-5), -label_margin(taps))
        if best is None or rank > best[0]:
            best = rank, seed, photo, labels, pipeline.Taps({**kept, **taps})
    return best[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda v: v.split(","), help="these cases alone")
    parser.add_argument("--photos", type=int, default=12, help="synthetic photos to choose from")
    parser.add_argument("--tap-bytes", type=int, default=900, help="about so many bytes of each large array")
    a = parser.parse_args()
    torch.set_num_threads(1)
    made = models(a.directory, a.seed)
    for case, name, size, changes in CASES:
        if a.only and case not in a.only:
            continue
        config, (m, file) = toys.CONFIGS[name], made[name]
        folder = os.path.join(a.directory, case)
        os.makedirs(folder, exist_ok=True)
        o = settings(config, changes)
        seed, photo, labels, taps = best_photo(m, case, size, o, a.photos)
        Image.fromarray(photo).save(os.path.join(folder, "photo.png"), optimize=True)
        for which in ("coarse", "final"):
            picture = Image.fromarray(taps["labels." + which].astype(np.uint8))
            picture.save(os.path.join(folder, which + ".png"), optimize=True)
        if case in ABSENT:
            absent_taps(m, photo, o, torch.from_numpy(taps["text.vectors"]), dict(taps), taps)
        kept, steps = slim(case, taps, a.tap_bytes)
        write_taps(os.path.join(folder, "reference.taps"), kept, steps)
        lines = ["method sc-clip", f"clip {file}", "vocab ../golden/toy-b/vocab.txt.gz",
                 f"activation {config.activation}", f"photo {case}/photo.png"]
        lines += [f"class {'; '.join(c)}" for c in CLASSES]
        lines += [f"redundancy {REDUNDANCY}"] if case in ABSENT else []
        lines += [f"{n} {v}" for n, v in vars(o).items() if n not in ("templates", "long_side", "form")]
        with open(os.path.join(folder, "case.txt"), "w") as out:
            out.write("\n".join(lines) + "\n")
        used = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
        s = torch.from_numpy(taps.get("scclip.similarity.0", np.zeros(1)))
        print(f"{case}: photo seed {seed}, margin {margin(taps):.1e}, near ties {label_margin(taps):.2%}, "
              f"coarse {np.bincount(taps['labels.coarse'].ravel(), minlength=5).tolist()}, final "
              f"{np.bincount(labels.ravel(), minlength=5).tolist()}, windows {len(taps['windows.origins'])}, "
              f"similarities above 0.4: {float((s >= 0.4).float().mean()):.0%}, {used} bytes", flush=True)


if __name__ == "__main__":
    main()
