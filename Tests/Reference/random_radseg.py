#!/usr/bin/env python3
"""RADSeg's program against the reference on configurations drawn at random: sizes and spellings of the
checkpoint, photos, classes and options.

    random_radseg.py [--count 20] [--seed 1] [--bin .build/release] [--keep FOLDER]
    random_radseg.py --draws-only [--count 20]    draws, writes and computes the reference's side alone

A line a case, as random_parity.py: the largest difference of class scores (cosines on the grid), the share of
equal labels, in float32 and what INT8 keeps of both. In float32 scores must agree within 1e-3 and labels on
99.9 % of the pixels whose two best probabilities are 1e-3 apart; the script ends with 1 where they do not. A
case whose nearest entry lies within 1e-5 of a cut of SCRA or SCGA, or a class within 1e-3 of the gate, is on
a cut and does not count.
"""

import random
import subprocess
import sys

import draws
import numpy as np
import radio_weights
import radseg
import radseg_toys
import torch
import toys
from photos import synthetic
from random_parity import write_photo

# Section 12 of the pinned behaviour, written down once more: the "mid" configurations.
PRESETS = {
    "voc20": dict(short_side=336, stride=112, coarse_threshold=0.2),
    "context59": dict(short_side=576, long_side=4096, coarse_threshold=0.15),
    "stuff": dict(short_side=448, coarse_threshold=0.05), "ade": dict(short_side=576, coarse_threshold=0.05),
    "city": dict(short_side=688, coarse_threshold=0.1)}


def draw_config(r, name):
    head = r.choice([16, 32, 48, 64, 64])
    heads = r.choice([1, 2, 3] if head > 32 else [2, 3, 4])
    ema = r.random() < 0.2
    version = r.choice(["v1", "v2", "v2"])
    return radseg_toys.Radio(
        name, width=head * heads, depth=r.choice([1, 2, 3]), heads=heads, mlp_ratio=r.choice([1.0, 2.0, 4.0]),
        grid=r.choice([9, 16, 24, 31]), hidden=r.choice([40, 64, 84]), inner=0 if version == "v1"
        else r.choice([0, 1, 2]),
        version=version, scale_name=r.choice(["gamma", "grandma"]), heads_by=r.choice(["index", "name"]),
        ema=ema, module=r.random() < 0.2, normalizer=r.random() < 0.3, model_norm=r.random() < 0.2,
        spectral=r.choice(["", "", "", "backbone", "heads", "both", "backbone-dict"]),
        spectral_version=r.choice([0, 1, 2, 2]), half=r.random() < 0.6)


def draw_options(r, preset=None, refine=False):
    if preset:
        return radseg.Options(**PRESETS[preset], refine=refine)
    stride = 16 * r.choice([2, 3, 4, 5])
    window = stride + 16 * r.choice([0, 1, 2, 3])
    return radseg.Options(
        short_side=r.choice([stride, window, 2 * stride, r.randint(60, 200)]),
        long_side=r.choice([2048, 2048, 180]), window=window, stride=stride,
        windows=r.choice(["slide"] * 4 + ["none"]), round_sides=r.choice(["stride", "stride", "patch"]),
        scra_scale=r.choice([10.0, 10.0, 1.0, 25.0]), scga_scale=r.choice([10.0, 10.0, 3.0, 30.0]),
        logit_scale=r.choice([100.0, 100.0, 20.0]), class_gate=r.choice([0.5, 0.5, 0.0, 0.9]),
        coarse_threshold=r.choice([0.2, 0.05, 0.5]), minimal_area=r.choice([5, 40]),
        iou_threshold=r.choice([0.9, 0.8, 0.5, -1.0]), refine=refine)


def draw_size(r):
    return r.choice([(r.randint(40, 220), r.randint(40, 220)), (r.randint(60, 160),) * 2, (120, 160),
                     (200, 60), (37, r.randint(120, 300))])


def draw_vectors(r, classes, width, seed):
    """Unit vectors of all phrases; the first class's lie close together, as synonyms do."""
    g = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for names in classes:
        centre = g.standard_normal(width)
        rows += [centre + 0.4 * g.standard_normal(width) for _ in names]
    rows = np.array(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_sam(path, seed):
    """The toy SAM that the random heads' `sam` projections fit."""
    torch.save(toys.networks(toys.CONFIGS["toy-b"], seed)["sam"], path)
    return str(path)


def draw(seed, number, folder):
    """Checkpoint, photo, words and options of a case, written to `folder`; returns them."""
    r = random.Random(1000 * seed + number)
    preset = r.choice([None] * 6 + list(PRESETS)[:3])
    refine = not preset and r.random() < 0.3
    config = draw_config(r, f"random-{number}")
    o = draw_options(r, preset, refine)
    config.window, config.stride, config.short_side = 96, 64, 128           # what `centre` looks at
    path = radseg_toys.make_radio(config, str(folder / "radio.pth.tar"), 1000 * seed + number)
    photo, kind = write_photo(r, folder / "photo", synthetic(*draw_size(r), seed=number))
    classes = [[f"word {k} {n}" for n in range(r.choice([1, 1, 2]))]
               for k in range(r.choice([1, 2, 3, 6, 9]))]
    vectors = draw_vectors(r, classes, config.embed, 1000 * seed + number)
    return config, o, path, photo, kind, classes, vectors, preset


def read_photo(path):
    import cv2
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


def write_words(path, classes, vectors):
    """Vectors made elsewhere, as docs/vocabulary-file.md takes them; they name the text tower they belong
    to."""
    index = [k for k, names in enumerate(classes) for _ in names]
    np.savez(path, vectors=vectors.astype("<f4"), class_index=np.array(index, "<i4"),
             phrases=np.array([p for c in classes for p in c]), text_model=np.array("siglip2-so400m"),
             background=np.array(False))


def flags(o, preset):
    if preset:
        return ["--preset", preset]
    named = ("short_side", "long_side", "window", "stride", "round_sides", "scra_scale", "scga_scale",
             "logit_scale", "class_gate")
    refining = ("coarse_threshold", "minimal_area", "iou_threshold", "mask_alpha") if o.refine else ()
    result = [f"--{n.replace('_', '-')}={getattr(o, n)}" for n in named + refining]
    windows = ["--windows=none"] if o.windows == "none" else []
    return result + windows + ["--refine", "sam" if o.refine else "none"]


def on_a_cut(taps, o):
    near = min(float(taps["scga.margin"][0]), float(taps["scra.margin"][0])) < 1e-5
    if "refine.iou" in taps:
        overlap = float(np.abs(taps["refine.iou"] - o.iou_threshold).min(initial=1))
        near = near or overlap < 1e-4 or float(taps["refine.margin"][0]) < 1e-5
    return near or float(np.abs(taps["scores.best"] - o.class_gate).min()) < 1e-3


def compare(command, folder, reference, taps, threads):
    """Score difference and share of equal labels by precision; other threads must not change a bit."""
    found, labels, scores = draws.agreement(command, folder, reference, taps)
    again = draws.segment(command, ["--threads", str(threads)], folder)
    found["same"] = np.array_equal(again[0], labels) and np.array_equal(again[1], scores)
    return found


def run(a, folder, number):
    """One case; returns "ok", "cut" or "BAD"."""
    config, o, checkpoint, photo, kind, classes, vectors, preset = draw(a.seed, number, folder)
    write_words(folder / "words.npz", classes, vectors)
    spelling = (f"{config.version} {config.scale_name} by {config.heads_by}{' ema' if config.ema else ''}"
                f"{' normalizer' if config.normalizer else ''}{' norm' if config.model_norm else ''} "
                f"{config.spectral}")
    sam = write_sam(folder / "sam.pth", a.seed) if o.refine else None
    if a.draws_only:
        model = radio_weights.from_checkpoint(checkpoint)
        if sam:
            radio_weights.add_sam_parts(model, sam)
        model = radio_weights.quantized(model)
        labels, taps = radseg.segment(model, read_photo(photo), classes, o, vectors)
        print(f"{number:3} {kind} {labels.shape[1]}x{labels.shape[0]}, {len(classes)} classes, "
              f"{config.width}/{config.heads} {spelling}: {len(taps['windows.origins'])} windows, pixels "
              f"{np.bincount(labels.ravel()).tolist()}; {' '.join(flags(o, preset))}", flush=True)
        return "cut" if on_a_cut(taps, o) else "ok"
    model = folder / "model.gguf"
    command = [a.bin / "trident-quantize", "--quiet", "--overwrite", "--radio", checkpoint, "--output", model]
    subprocess.run(command + (["--sam", sam] if sam else []), check=True)
    reference, taps = radseg.segment(radio_weights.from_gguf(str(model)), read_photo(photo), classes, o,
                                     vectors)
    command = [a.bin / "trident", "segment", "-m", model, "--vocabulary", folder / "words.npz", "--quiet",
               *flags(o, preset), photo]
    found = compare(command, folder, reference, taps, 1 + number % 4)
    cut, close = on_a_cut(taps, o), found["float32"][0] < a.scores and found["float32"][1] >= 0.999
    verdict = "BAD" if not found["same"] or not (close or cut) else ("ok" if close else "cut")
    print(f"{number:3} {verdict}{' (on a cut)' if cut else ''}{'' if found['same'] else ' THREADS'} {kind} "
          f"{reference.shape[1]}x{reference.shape[0]}, {len(classes)} classes, {config.width}/{config.heads} "
          f"{spelling}: float32 {found['float32'][0]:.1e} {found['float32'][1]:.2%}, int8 "
          f"{found['int8'][0]:.1e} {found['int8'][1]:.2%}; {' '.join(flags(o, preset))}", flush=True)
    return verdict


if __name__ == "__main__":
    parser = draws.parser(__doc__)
    parser.add_argument("--draws-only", action="store_true")
    sys.exit(draws.main(parser.parse_args(), run))
