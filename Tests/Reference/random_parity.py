#!/usr/bin/env python3
"""Both programs against the reference on configurations drawn at random: sizes of the three networks,
checkpoint flavours, photos, classes and options.

    random_parity.py [--count 20] [--seed 1] [--bin .build/release] [--keep FOLDER] [--dinov2]

A line a case: largest difference of class scores, share of equal labels, in float32, and what INT8 keeps of
both. In float32 scores must agree within 1e-3 and labels on 99.9 % of the pixels whose two best probabilities
are 1e-3 apart; the script ends with 1 where they do not. An affinity or a predicted overlap within 1e-5 of
the value it is cut at may fall on either side: such cases are said to be on a cut and do not count.
`--dinov2` puts a DINOv2 into each case: registers, gated MLP, names and table are drawn.
"""

import dataclasses
import math
import random
import subprocess
import sys

import cv2
import draws
import last_attention
import numpy as np
import pipeline
import toys
import weights
from photos import synthetic
from PIL import Image

WORDS = ["sky", "wall", "water", "cat", "kitten", "sofa", "green grass", "tree", "Köln", "it's",
         "a dog's bed", "T-shirt", "R&D",
         "Zürich", "日本", "fish & chips", "42", "SKY", "🙂", "very " * 90 + "long road", "x"]

# Section 11 of the specification, written down once more.
PRESETS = {
    "voc21": dict(short_side=448, probability_threshold=0.2, coarse_threshold=0.2),
    "voc20": dict(short_side=336, stride=112, cos_factor=0.0, coarse_threshold=0.2),
    "context60": dict(short_side=576, probability_threshold=0.15, coarse_threshold=0.15),
    "context59": dict(short_side=576, coarse_threshold=0.15),
    "object": dict(short_side=448, probability_threshold=0.25, coarse_threshold=0.25),
    "stuff": dict(short_side=448, coarse_threshold=0.05),
    "ade": dict(short_side=576, coarse_threshold=0.05, refine_negative_cosine=False),
    "city": dict(short_side=688, cos_factor=3.0, coarse_threshold=0.1, refine_negative_cosine=False,
                 halves=True)}


def draw_config(r, name, preset):
    """A trio: head widths as the families have them, everything else free. Presets' strides suit a patch of
    16 or 14."""
    patch = r.choice([14, 16] if preset else [14, 16, 16, 32])
    head = r.choice([64, 64, 64, 32, 48, 80])
    width = head * r.choice([1, 2, 3])
    window = 336 if preset else patch * r.choice([6, 7, 8, 9])
    dino_patch = r.choice([p for p in (8, 8, 16, 16, patch) if window % p == 0] or [patch])
    sam_patch, sam_heads, sam_grid = r.choice([8, 16]), r.choice([1, 2, 4]), r.choice([8, 13, 20])
    sam_depth = r.choice([2, 3, 4])
    everywhere = r.random() < 0.1
    sam = toys.Sam(
        16 * sam_heads * r.choice([2, 4, 5]), sam_depth, sam_heads, 32 * r.choice([2, 3, 5]), sam_patch,
        sam_grid,
        window=r.choice([w for w in (4, 7, 14) if w < sam_grid]),
        globals=tuple(range(sam_depth)) if everywhere
        else tuple(sorted(set(r.sample(range(sam_depth), r.choice([1, 2]))) | {sam_depth - 1})),
        neck=r.choice([32, 64]), decoder_mlp=r.choice([64, 160]), decoder_depth=r.choice([1, 2, 2, 3]),
        mask_tokens=r.choice([4, 4, 2]), iou_hidden=r.choice([32, 48]))
    form, activation = r.choice([("openai", "quickgelu"), ("openclip", "gelu"), ("openclip", "quickgelu"),
                                 ("huggingface", "gelu"), ("openclip-legacy", "gelu")])
    return toys.Config(
        name, clip=toys.Tower(width, r.choice([1, 2, 3]), width // head, 32 * r.choice([2, 5, 8]), patch,
                              r.choice([5, 7, 10])),
        text=toys.Tower(64 * r.choice([1, 2]), r.choice([1, 2]), 0, 128), embed=r.choice([32, 72, 100]),
        dino=toys.Tower(64 * r.choice([1, 2, 6]), r.choice([1, 2, 3]), 0, 96, dino_patch,
                        r.choice([5, 6, 9])), sam=sam,
        activation=activation, context=r.choice([77, 77, 24]), grain=1, clip_form=form, window=window,
        stride=patch * r.choice([1, 3, 4, 5, window // patch]),
        short_side=window + r.choice([patch * r.choice([0, 1, 3, 6]), r.randint(-window // 2, 90)]))


def with_dinov2(r, config, preset):
    """The same with a DINOv2 of patch 14, in a window that fits both."""
    step = math.lcm(14, config.clip.patch)
    window = config.window if config.window % step == 0 else step * r.choice([1, 2] if step < 200 else [1])
    dino = toys.Tower(64 * r.choice([1, 2, 3]), r.choice([1, 2, 3]), 0, r.choice([40, 88, 96]), 14,
                      r.choice([5, 8, 11, 16]))
    moved = {} if preset else dict(window=window, stride=min(config.stride, window),
                                   short_side=config.short_side + window - config.window)
    return dataclasses.replace(
        config, dino=dino, dino_form=r.choice(["dinov2", "dinov2-hf"]), registers=r.choice([0, 0, 1, 4]),
        dino_gated=r.random() < 0.3, **moved)


def with_heads(config):
    for tower in (config.text, config.dino):
        tower.heads = tower.width // 64
    return config


def draw_options(r, config, preset):
    prompts = r.choice([("point", "box", "mask")] * 6
                       + [("point",), ("box",), ("mask",), ("point", "mask"), ("box", "mask")])
    if preset:
        return pipeline.Options(**PRESETS[preset], minimal_area=r.choice([10, 225]),
                                iou_threshold=r.choice([0.8, 0.5]))
    return pipeline.Options(
        short_side=config.short_side, window=config.window, stride=config.stride,
        minimal_area=r.choice([5, 10, 40, 225]),
        logit_scale=r.choice([5.0, 20.0, 40.0, 100.0]), beta=r.choice([1.2, 1.2, 1.0, 0.5, 2.5, -1.0]),
        gamma=r.choice([3.0, 1.0, 0.0]),
        cos_factor=r.choice([1.2, 3.0, 0.5, 0.0, -1.0]), probability_threshold=r.choice([0.0, 0.0, 0.3, 1.0]),
        coarse_threshold=r.choice([0.2, 0.05, 0.5, 0.0]), iou_threshold=r.choice([0.8, 0.5, -1.0]),
        mask_alpha=r.choice([0.005, 0.005, 1.0, -3.0]), prompts=prompts,
        affinity=r.choice(["trident"] * 4 + ["attention", "cosine", "none"]),
        paradigm=r.choice(["splice"] * 4 + ["window"]),
        dino=r.random() < 0.85, refine=r.random() < 0.75,
        **draw_last_block(r, config.clip.depth))


def draw_last_block(r, depth):
    """What stands in CLIP's last block, and how much of the class token is mixed in."""
    middle = r.randint(1, max(depth - 1, 1))
    kinds = [k for k in last_attention.KINDS if k != "global" or depth > 1]
    return dict(clip_attention=r.choice(["published"] * 8 + kinds), global_first=middle,
                global_last=r.randint(middle, max(depth - 1, 1)), class_mix=r.choice([0.0] * 4 + [0.1, 0.6]))


def flags(o, preset, profile):
    if preset:
        return ["--preset", preset, "--minimal-area", str(o.minimal_area), "--iou-threshold",
                str(o.iou_threshold)]
    named = {n: getattr(o, n)
             for n in ("short_side", "window", "stride", "minimal_area", "logit_scale", "beta", "gamma",
                       "cos_factor",
                                        "probability_threshold", "coarse_threshold", "iou_threshold",
                       "mask_alpha", "affinity", "paradigm", "clip_attention", "class_mix")}
    if o.clip_attention == "global":
        named["global_blocks"] = f"{o.global_first}-{o.global_last}"
    if o.clip_attention != "published":       # these mean nothing then, and would be refused
        del named["beta"], named["gamma"]
    if profile:                               # sets the affinity and leaves refinement out
        del named["affinity"]
        return [f"--{name.replace('_', '-')}={value}" for name, value in named.items()] + ["--profile",
                profile]
    named["prompts"] = ",".join(o.prompts)
    result = [f"--{name.replace('_', '-')}={value}" for name, value in named.items()]
    no_dino = [] if o.dino or o.clip_attention != "published" else ["--no-dino"]
    return result + no_dino + ([] if o.refine else ["--refine", "none"])


def draw_size(r, config, preset):
    """Height and width; the thinnest are a pixel wide."""
    long = r.randint(100, 300)
    if preset:
        return r.choice([(90, 130), (131, 97), (r.randint(30, 200), r.randint(30, 200))])
    return r.choice([(r.randint(20, 400), r.randint(20, 400)), (1 + 2 * long // config.sam.grid, long),
                     (97, 131),
                     (1, long), (long, 2), (r.randint(2, 9), r.randint(2, 9)), (24, r.randint(2100, 3000))])


def write_photo(r, path, pixels):
    """The photo in one of the kinds that cameras and programs leave; returns its path and kind."""
    kind = r.choice(["rgb"] * 4
                    + ["grey", "palette", "rgba", "grey16", "rgb16", "ppm", "jpeg", "jpeg-grey",
                       "jpeg-progressive", "jpeg-exif"])
    image = Image.fromarray(pixels)
    if kind == "ppm":
        image.save(path.with_suffix(".ppm"))
        return path.with_suffix(".ppm"), kind
    if kind.startswith("jpeg"):
        options = dict(quality=r.choice([75, 95]), subsampling=r.choice([0, 1, 2]),
                       progressive=kind == "jpeg-progressive")
        if kind == "jpeg-exif":
            exif = Image.Exif()
            exif[0x0112] = r.randint(1, 8)
            options["exif"] = exif.tobytes()
            kind += str(exif[0x0112])
        (image.convert("L") if kind == "jpeg-grey" else image).save(path.with_suffix(".jpg"), **options)
        return path.with_suffix(".jpg"), kind
    path = path.with_suffix(".png")
    if kind in ("grey16", "rgb16"):
        deep = pixels.astype(np.uint16) * 256 + np.random.Generator(np.random.PCG64(r.randint(0,
                999))).integers(
            0, 256, pixels.shape).astype(np.uint16)
        cv2.imwrite(str(path), deep[:, :, 0] if kind == "grey16" else deep[:, :, ::-1])
        return path, kind
    modes = {"grey": "L", "palette": "P", "rgba": "RGBA"}
    image = image.convert(modes.get(kind, "RGB"))
    if kind == "rgba":
        image.putalpha(Image.fromarray(pixels[:, :, 1]))
    image.save(path)
    return path, kind


def on_a_cut(taps):
    margins = [float(v.min()) for n, v in taps.items() if n.endswith(".margin")]
    if "refine.iou" in taps:
        margins.append(float(np.abs(taps["refine.iou"] - taps["refine.iou_threshold"]).min(initial=1)))
    return min(margins, default=1) < 1e-5


def compare(r, command, folder, reference, taps):
    """Score difference and share of equal labels by precision; threads and a memory limit must not change a
    bit."""
    found, labels, scores = draws.agreement(command, folder, reference, taps)
    limit = f"{r.choice([20, 24, 32, 64])}M"
    try:
        changed = ["--threads", str(r.choice([1, 2, 3, 5])), "--memory-limit", limit]
        again = draws.segment(command, changed, folder)
        found["same"] = np.array_equal(again[0], labels) and np.array_equal(again[1], scores)
    except subprocess.CalledProcessError as error:
        found["same"] = error.returncode == 5
    return found


def draw(a, folder, number):
    """One case with its files: its drawing, networks, options, flags, photo, classes and command."""
    r = random.Random(1000 * a.seed + number)
    preset = r.choice([None] * 5 + [r.choice(list(PRESETS))])
    config = draw_config(r, f"random-{number}", preset)
    if getattr(a, "dinov2", False):
        config = with_dinov2(random.Random(number), config, preset)
    config = with_heads(config)
    o = draw_options(r, config, preset)
    profile = r.choice([None] * 9 + ["fast", "balanced"]) if not preset else None
    if profile:
        o.refine, o.dino, o.affinity = False, True, "none" if profile == "fast" else "trident"
    size = draw_size(r, config, preset)
    words = iter(r.sample(WORDS, len(WORDS)))
    classes = [[next(words) for _ in range(r.choice([1, 1, 2]))] for _ in range(r.choice([1, 2, 3, 5, 8]))]
    paths = toys.make(config, str(folder), seed=1000 * a.seed + number)
    model = folder / "model.gguf"
    command = [a.bin / "trident-quantize", "--quiet", "--overwrite", "--output", model]
    for kind in ("clip", "dino", "sam", "vocab"):
        command += ["--" + kind, paths[kind]]
    if config.clip_form != "openai":
        command += ["--activation", config.activation]
    command += ["--clip-head-width", str(config.clip.head_width)]
    subprocess.run(command, check=True)
    path, kind = write_photo(r, folder / "photo", synthetic(*size, seed=number))
    (folder / "classes.txt").write_text("".join("; ".join(c) + "\n" for c in classes))
    command = [a.bin / "trident", "segment", "-m", model, "--classes", folder / "classes.txt", "--no-cache",
               "--quiet",
               *flags(o, preset, profile), *r.choice([[], ["--background-class", classes[0][0]]]),
               "--absent", "keep", path]
    return r, config, o, flags(o, preset, profile), (path, kind, size), classes, command


def second(config):
    """What is drawn of a DINOv2."""
    if config.dino_form == "dino":
        return ""
    names = "hf" if config.dino_form == "dinov2-hf" else "hub"
    return f" {names} r{config.registers}{' gated' if config.dino_gated else ''} {config.dino.grid}"


def run(a, folder, number):
    """One case; returns "ok", "cut" or "BAD"."""
    r, config, o, named, (path, kind, size), classes, command = draw(a, folder, number)
    # as the public code reads it
    photo = np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])
    reference, taps = pipeline.segment(weights.from_gguf(str(folder / "model.gguf")), photo, classes, o)
    taps["refine.iou_threshold"] = o.iou_threshold
    found = compare(r, command, folder, reference, taps)
    cut = on_a_cut(taps)
    close = found["float32"][0] < a.scores and found["float32"][1] >= 0.999
    verdict = "BAD" if not found["same"] or not (close or cut) else ("ok" if close else "cut")
    print(f"{number:3} {verdict}{' (on a cut)' if cut else ''}{'' if found['same'] else ' THREADS OR LIMIT'} "
          f"{kind} {size[1]}x{size[0]}, {len(classes)} classes, clip {config.clip_form} "
          f"{config.clip.width}:{config.clip.head_width}/{config.clip.patch}, dino "
          f"{config.dino.width}/{config.dino.patch}{second(config)}, sam "
          f"{config.sam.width}/{config.sam.patch} {config.sam.grid}: float32 "
          f"{found['float32'][0]:.1e} {found['float32'][1]:.2%}, int8 "
          f"{found['int8'][0]:.1e} {found['int8'][1]:.2%}; {' '.join(named)}", flush=True)
    return verdict


if __name__ == "__main__":
    flags_of_all = draws.parser(__doc__)
    flags_of_all.add_argument("--dinov2", action="store_true")
    sys.exit(draws.main(flags_of_all.parse_args(), run))
