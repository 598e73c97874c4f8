#!/usr/bin/env python3
"""Both programs against scclip.py on configurations drawn at random: CLIP's sizes and flavours, photos,
classes, settings.

    random_scclip.py [--count 20] [--seed 1] [--bin .build/release] [--keep FOLDER] [--reference-only]

A line a case, as in random_parity.py: largest difference of class scores and share of equal labels in
float32, and what INT8 keeps of both. In float32 scores must agree within 1e-3 and labels on 99.9 % of the
pixels whose two best probabilities are 1e-3 apart; the script ends with 1 where they do not. Cases where an
entry lies on a cut (scclip.py's margins) do not count. The program's flags stand in one place, `flags`;
`scores.npy` holds class scores on the copy's pixels.
"""

import random
import subprocess
import sys
from dataclasses import replace

import cv2
import draws
import last_attention
import numpy as np
import random_parity
import scclip
import toys
import toys_scclip
import weights
from photos import synthetic

# scclip.Options' name of a setting to the program's flag.
FLAGS = {"short_side": "--short-side", "window": "--window", "stride": "--stride",
         "logit_scale": "--logit-scale", "probability_threshold": "--probability-threshold",
         "area_threshold": "--area-threshold", "low": "--low-block", "mid": "--mid-block",
         "class_weight": "--class-weight", "clip_attention": "--clip-attention", "class_mix": "--class-mix",
         "class_mix_of": "--class-mix-of"}


def draw_config(r, name):
    patch = r.choice([14, 16, 16, 32])
    head = r.choice([64, 64, 64, 32, 80])
    heads = r.choice([1, 2, 3])
    form, activation = r.choice([("openai", "quickgelu"), ("openclip", "gelu"), ("openclip", "quickgelu"),
                                 ("huggingface", "quickgelu"), ("openclip-legacy", "gelu")])
    return toys.Config(
        name, clip=toys.Tower(head * heads, r.choice([3, 4, 6, 12]), heads, 32 * r.choice([2, 5, 8]), patch,
                              r.choice([5, 7, 10])),
        text=toys.Tower(64 * r.choice([1, 2]), r.choice([1, 2]), 1, 128), embed=r.choice([32, 72, 100]),
        dino=None, sam=None, activation=activation, context=r.choice([77, 77, 24]), grain=1, clip_form=form)


def draw_options(r, config):
    c = config.clip
    window = c.patch * r.choice([6, 7, 8, 10])
    first = r.randint(1, c.depth - 1)
    middle = r.randint(1, c.depth - 1)
    return scclip.Options(
        clip_attention=r.choice(["published"] * 4 + list(last_attention.KINDS)), global_first=middle,
        global_last=r.randint(middle, c.depth - 1), class_mix=r.choice([0.0, 0.0, 0.1, 0.6]),
        class_mix_of=r.choice(["photo", "window"]),
        short_side=window + r.choice([0, c.patch, r.randint(1, 90), -r.randint(1, window // 2)]),
        window=window, stride=r.choice([window // 2, window, r.randint(window // 3, window)]),
        low=r.randint(1, c.depth - 1), mid=r.randint(1, c.depth - 1), level_first=first,
        level_last=r.randint(first, c.depth - 1), class_weight=r.choice([0.3, 0.1, 0.0, 1.0]),
        logit_scale=r.choice([5.0, 20.0, 40.0, 55.0]), probability_threshold=r.choice([0.0, 0.0, 0.3, 0.5]),
        area_threshold=r.choice([-1.0, -1.0, 0.05, 0.1, 0.4]))


def flags(o, published):
    """The program's arguments. `published`: a preset's name, whose settings need no flags of their own."""
    if published:
        return ["--method", "sc-clip", "--preset", published]
    named = {n: v for n, v in vars(o).items() if n in FLAGS and not (n == "area_threshold" and v < 0)}
    levels = [f"--levels={o.level_first}-{o.level_last}"]
    if o.clip_attention != "published":          # these mean nothing then, and would be refused
        levels = [f"--global-blocks={o.global_first}-{o.global_last}"] if o.clip_attention == "global" else []
        named = {n: v for n, v in named.items() if n not in ("low", "mid", "class_weight")}
    if o.class_mix == 0:
        del named["class_mix_of"]
    # One or two words alone would get neutral phrases beside them.
    return ["--method", "sc-clip", "--absent=keep", *levels] + [f"{FLAGS[n]}={v}" for n, v in named.items()]


def on_a_cut(taps):
    from check_scclip_public import on_a_cut as near
    area = taps.get("scores.area_margin")
    return near(taps) or (area is not None and float(area.min()) < 1e-4)


def quantize(a, config, paths, model, o):
    """A model file of CLIP alone; with its last MLP where the class token is asked for."""
    command = [a.bin / "trident-quantize", "--quiet", "--overwrite", "--output", model, "--clip",
               paths["clip"], "--vocab", paths["vocab"], "--clip-head-width", str(config.clip.head_width)]
    if o.class_mix > 0:
        command.append("--keep-last-mlp")
    if config.clip_form != "openai":
        command += ["--activation", config.activation]
    subprocess.run(command, check=True)


def compare(a, r, model, folder, path, classes, o, published, reference, taps):
    """Score difference and share of equal labels by precision; threads and a memory limit must not change a
    bit."""
    (folder / "classes.txt").write_text("".join("; ".join(c) + "\n" for c in classes))
    command = [a.bin / "trident", "segment", "-m", model, "--classes", folder / "classes.txt", "--no-cache",
               "--quiet", *flags(o, published), path]
    return random_parity.compare(r, command, folder, reference, taps)


def run(a, folder, number):
    """One case; returns "ok", "cut" or "BAD"."""
    r = random.Random(1000 * a.seed + number)
    config = draw_config(r, f"random-{number}")
    published = r.choice([None] * 5 + [r.choice(list(scclip.PRESETS))])
    if published and config.clip.patch in (14, 16):                  # levels are published for 12 blocks
        config = replace(config, clip=replace(config.clip, depth=12))
        o = scclip.preset(published)
    else:
        published, o = None, draw_options(r, config)
    size = r.choice([(r.randint(20, 300), r.randint(20, 300)), (97, 131), (150, 150), (r.randint(2, 9), 100),
                     (24, 500)])
    words = iter(r.sample(random_parity.WORDS, len(random_parity.WORDS)))
    classes = [[next(words) for _ in range(r.choice([1, 1, 2]))] for _ in range(r.choice([1, 2, 3, 5, 8]))]
    paths = toys_scclip.make(config, str(folder), o, seed=1000 * a.seed + number)
    path, kind = random_parity.write_photo(r, folder / "photo", synthetic(*size, seed=number))
    # as the public code reads it
    photo = np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])
    if a.reference_only:
        m = weights.quantized(scclip.from_checkpoint(paths["clip"], paths["vocab"], config.activation))
        m.clip.heads = config.clip.heads
    else:
        quantize(a, config, paths, folder / "model.gguf", o)
        m = weights.from_gguf(str(folder / "model.gguf"))
    reference, taps = scclip.segment(m, photo, classes, o)
    about = (f"{kind} {size[1]}x{size[0]}, {len(classes)} classes, {config.clip_form} "
             f"{config.clip.width}:{config.clip.head_width}/{config.clip.patch}, {config.clip.depth} blocks, "
             f"{len(taps['windows.origins'])} windows")
    cut = on_a_cut(taps)
    if a.reference_only:
        short, other = scclip.segment(m, photo, classes, replace(o, form="short"))
        gap = float(np.abs(other["scores.classes"] - taps["scores.classes"]).max())
        verdict = "ok" if gap < 1e-5 or cut else "BAD"
        print(f"{number:3} {verdict}{' (on a cut)' if cut else ''} {about}: short form {gap:.1e}, labels "
              f"{(short == reference).mean():.2%}, pixels "
              f"{np.bincount(reference.ravel(), minlength=len(classes)).tolist()}", flush=True)
        return verdict
    found = compare(a, r, folder / "model.gguf", folder, path, classes, o, published, reference, taps)
    close = found["float32"][0] < a.scores and found["float32"][1] >= 0.999
    verdict = "BAD" if not found["same"] or not (close or cut) else ("ok" if close else "cut")
    print(f"{number:3} {verdict}{' (on a cut)' if cut else ''}{'' if found['same'] else ' THREADS OR LIMIT'} "
          f"{about}: float32 {found['float32'][0]:.1e} {found['float32'][1]:.2%}, int8 "
          f"{found['int8'][0]:.1e} {found['int8'][1]:.2%}; {' '.join(flags(o, published))}", flush=True)
    return verdict


if __name__ == "__main__":
    parser = draws.parser(__doc__)
    parser.add_argument("--reference-only", action="store_true",
                        help="no programs: the literal against the shorter form")
    sys.exit(draws.main(parser.parse_args(), run))
