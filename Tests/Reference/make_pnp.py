#!/usr/bin/env python3
"""Golden fixtures of BLIP and PnP-OVSS for the tests: a toy checkpoint, photos, and what the twin computes.

    make_pnp.py DIRECTORY [--seed 1]

DIRECTORY gets blip-toy.pth.gz and vocab.txt; DIRECTORY/CASE/ gets case.txt (`key value` lines, classes as
`class NAME`), photo.png, coarse.png (argmax of raw channels), final.png (dense CRF) and reference.taps
(taps.py). Everything is computed in float32 from the weights as the model file holds them. DIRECTORY/match/
has scores of texts. Photos are drawn until no class takes nearly all of one.
"""

import argparse
import gzip
import os
import tempfile

import blip
import blip_toys
import numpy as np
import pnp
import torch
from photos import synthetic
from PIL import Image
from taps import write_taps

NAMES = blip_toys.NAMES
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
# name, photo size, classes, those that are there (None: all), background, options
CASES = [
    ("plain", (60, 84), NAMES, None, False, dict(side=144, layer=2, head=2)),
    ("background", (75, 50), ["background", *NAMES], ["sofa", "green grass", "zebra"], True,
     dict(side=96, layer=3, head=1, blanked=8, threshold=0.3)),
    ("groups", (48, 48), LETTERS + ["dog", "brick wall"], None, False,
     dict(side=96, layer=1, head=1, rounds=2)),
    ("once", (90, 30), NAMES[:2], None, False, dict(side=96, layer=3, head=2, rounds=1)),
]
TEXTS = ["a picture of cat", "a zebra on the sofa", "dogs", "the water", "unseen words?"]
WHOLE = ("pnp.maps", "pnp.blanked", "match")


def pack(source, target):
    with open(source, "rb") as file, open(target, "wb") as out:
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0, filename="") as zipped:
            zipped.write(file.read())


def best_photo(m, words, size, names, present, background, o):
    best = None
    for seed in range(1, 13):
        photo = synthetic(*size, seed)
        found = pnp.segment(m, words, photo, names, present, background, o)
        share = np.bincount(found[0].ravel(), minlength=len(names)).max() / found[0].size
        score = share + 4 * (1 - found[3].mean())
        if best is None or score < best[0]:
            best = score, seed, photo, found
    return best[1:]


def write_case(directory, name, names, present, background, o, photo, found, labels):
    folder = os.path.join(directory, name)
    os.makedirs(folder, exist_ok=True)
    coarse, _, _, clear, taps = found
    taps.put("pnp.clear", clear.astype(np.uint8))
    Image.fromarray(photo).save(os.path.join(folder, "photo.png"), optimize=True)
    Image.fromarray(coarse.astype(np.uint8)).save(os.path.join(folder, "coarse.png"), optimize=True)
    Image.fromarray(labels.astype(np.uint8)).save(os.path.join(folder, "final.png"), optimize=True)
    lines = [f"photo {name}/photo.png", "blip blip-toy.pth.gz", "vocab vocab.txt",
             f"background {str(background).lower()}"]
    lines += [f"{n} {getattr(o, n)}" for n in pnp.Options.__dataclass_fields__]
    lines.append("present " + (",".join(names[k] for k in present)))
    lines += [f"class {n}" for n in names]
    with open(os.path.join(folder, "case.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    taps = {n: v for n, v in taps.items() if v.size}
    steps = {n: max(1, v.size * 4 // 3000) for n, v in taps.items() if not n.startswith(WHOLE)}
    write_taps(os.path.join(folder, "reference.taps"), taps, steps)


def write_match(directory, m, words):
    folder = os.path.join(directory, "match")
    os.makedirs(folder, exist_ok=True)
    photo = synthetic(70, 110, 3)
    Image.fromarray(photo).save(os.path.join(folder, "photo.png"), optimize=True)
    tokens = blip.image_tokens(m, pnp.normalised(pnp.squeezed(photo, 96)))
    rows = []
    for text in TEXTS:
        pieces = words.encode(text.replace("?", " ?"))
        ids = [words.number["[ENC]"], *pieces, words.number["[SEP]"]]
        logits = blip.match_logits(m, blip.text_states(m, ids, tokens))
        alone = [words.number["[CLS]"], *ids[1:]]
        rows.append([*logits.tolist(), float(blip.itc(m, tokens, blip.text_states(m, alone)))])
    with open(os.path.join(folder, "case.txt"), "w", encoding="utf-8") as file:
        file.write("photo match/photo.png\nblip blip-toy.pth.gz\nvocab vocab.txt\nside 96\n"
                   + "".join(f"class {t}\n" for t in TEXTS))
    write_taps(os.path.join(folder, "reference.taps"), {"match": np.array(rows, np.float32)})
    print(np.array(rows).round(3).tolist())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        path = blip_toys.write(blip_toys.CONFIGS["blip-toy"], scratch, a.seed)
        os.makedirs(a.directory, exist_ok=True)
        pack(path, os.path.join(a.directory, "blip-toy.pth.gz"))
        with open(os.path.join(scratch, "vocab.txt"), "rb") as file:
            content = file.read()
        with open(os.path.join(a.directory, "vocab.txt"), "wb") as file:
            file.write(content)
        m, words = blip.stored(blip.read(path)), pnp.Words(os.path.join(scratch, "vocab.txt"))
    with torch.no_grad():
        write_match(a.directory, m, words)
        for name, size, names, wanted, background, changes in CASES:
            o = pnp.Options(**changes)
            present = [names.index(n) for n in wanted] if wanted else list(range(len(names)))
            seed, photo, found = best_photo(m, words, size, names, present, background, o)
            labels = found[2][pnp.crf(photo, found[1])]
            scores = pnp.presence(m, words, [names[k] for k in present], photo, o)
            found[4].put("match", scores)
            write_case(a.directory, name, names, present, background, o, photo, found, labels)
            count = len(names)
            pixels = [np.bincount(x.ravel(), minlength=count).tolist() for x in (found[0], labels)]
            print(name, "seed", seed, "coarse, final", pixels, "clear", found[3].mean().round(4), "match",
                  scores[:, 1].round(2).tolist(), flush=True)


if __name__ == "__main__":
    main()
