#!/usr/bin/env python3
"""What INT8 does to PnP-OVSS on a trained BLIP: the program's INT8 beside its float32, round by round.

    trained_pnp.py --model MODEL --data FOLDER --preset FILE [--photos 40] [--reference]
                   [--trident .build/release/trident]

FOLDER: images/, labels/, classes.txt and present.txt, as models/demo/train/scenes.py writes them; the preset
names layer and head. Printed are cosines of the image tokens, of the gradient `G` and of `M` (attention times
the positive part of `G`) over the rows of the classes' names; the mean and the least over photos. From the
second round on both see the photo with patches of their own choice blank; a second row of `M` has those
photos alone whose blank patches are the same so far. Labels are compared without refinement and with
`--refine crf`. `--reference` puts pnp.py (float32, the model file's weights) in the place of the program's
float32; it has no field for photos of this size.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import blip
import numpy as np
import pnp
import torch
from PIL import Image
from taps import read_taps


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-300)


class Programs:
    def __init__(self, a, folder):
        self.a, self.folder = a, folder

    def __call__(self, photo, precision, refine):
        """Labels and taps of one run."""
        a, folder = self.a, self.folder
        subprocess.run(list(map(str, [
            a.trident, "segment", "--model", a.model, "--classes", a.data / "classes.txt", "--preset",
            a.preset, "--present", a.data / "present.txt", "--precision", precision, "--refine", refine,
            "--taps", folder / "a.taps", "--output", folder / "labels.png", "--overwrite", "--quiet",
            photo])),
            check=True, capture_output=True)
        taps = {name: t[0] for name, t in read_taps(folder / "a.taps").items()}
        return np.asarray(Image.open(folder / "labels.png")).astype(int), taps


class Reference:
    def __init__(self, a, folder, names):
        tensors, pieces = blip.stored_tensors(a.model)
        (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in pieces))
        self.weights = {name: t.float() for name, t in blip.published(tensors).items()}
        self.words, self.names = pnp.Words(folder / "vocab.txt"), names
        found = json.loads(pathlib.Path(a.preset).read_text())["options"]
        keys = {"attention_layer": "layer", "attention_head": "head", "map_threshold": "threshold",
                "blur": "blur"}
        self.options = pnp.Options(**{keys[k]: v for k, v in found.items() if k in keys})

    def __call__(self, photo, present):
        pixels = np.asarray(Image.open(photo).convert("RGB"))
        labels, *_, taps = pnp.segment(self.weights, self.words, pixels, self.names,
                                       sorted(self.names.index(n) for n in present), False, self.options)
        return labels, taps


def seen(taps, at):
    """M of the names' rows, not of [ENC], "a picture of" and [SEP]; and the gradient there."""
    p, g = taps[f"pnp.P.{at}.0"][4:-1, 1:], taps[f"pnp.G.{at}.0"][4:-1, 1:]
    return p * np.maximum(g, 0), g


def compared(own, other):
    """A row a round: cosines of tokens, G and M, share of G's signs that turn, whether the same is blank."""
    blank = [np.asarray(t["pnp.blanked"]).ravel().astype(int) for t in (own, other)]
    rounds = sum(name.startswith("pnp.P.") for name in own)
    out = []
    for at in range(rounds):
        (m, g), (m2, g2) = seen(own, at), seen(other, at)
        so_far = [set(b[:len(b) // max(rounds - 1, 1) * at]) for b in blank]
        name = f"blip.tokens.{at}"
        out.append((cosine(own[name], other[name]), cosine(g, g2), cosine(m, m2),
                    (np.sign(g) != np.sign(g2)).mean(), so_far[0] == so_far[1]))
    return out, len(set(blank[0]) & set(blank[1])) / max(len(set(blank[1])), 1)


def row(name, values, form="{:.4f}"):
    print(f"| {name} | " + " | ".join(form.format(v) for v in values) + " |")


def show(rounds, rest):
    rounds, rest = np.array(rounds), np.array(rest)
    count = rounds.shape[1]
    print("| round | " + " | ".join(str(r + 1) for r in range(count)) + " |")
    print("|---" * (1 + count) + "|")
    for at, name in enumerate(("image tokens", "`G`", "`M`")):
        row(f"cosine of {name}, mean", rounds[:, :, at].mean(0))
        row("least", rounds[:, :, at].min(0))
    same = rounds[:, :, 4] > 0
    row("`M` where the same is blank, mean", [rounds[s, r, 2].mean() if s.any() else np.nan
                                               for r, s in enumerate(same.T)])
    row("photos", same.sum(0), "{}")
    row("share of signs of `G` that turn", rounds[:, :, 3].mean(0), "{:.3%}")
    print(f"\nclass maps: cosine {rest[:, 0].mean():.4f}, least {rest[:, 0].min():.4f}; the same patches "
          f"blank: {rest[:, 1].mean():.1%}; the same labels: {rest[:, 2].mean():.2%}"
          + (f", after the field {rest[:, 3].mean():.2%}" if rest.shape[1] > 3 else "")
          + f"; {len(rest)} photos")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("--model", "--preset"):
        parser.add_argument(name, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--trident", default=".build/release/trident")
    a = parser.parse_args()
    torch.set_num_threads(1)
    names = [line.strip() for line in (a.data / "classes.txt").read_text().splitlines() if line.strip()]
    present = dict(line.split(": ") for line in (a.data / "present.txt").read_text().splitlines())
    rounds, rest = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        program = Programs(a, folder)
        reference = Reference(a, folder, names) if a.reference else None
        for photo in sorted((a.data / "images").iterdir())[:a.photos]:
            own, taps = program(photo, "int8", "none")
            other, theirs = (reference(photo, present[photo.name].split(", ")) if reference
                             else program(photo, "float32", "none"))
            found, blank = compared(taps, theirs)
            numbers = [cosine(taps["pnp.maps"], theirs["pnp.maps"]), blank, (own == other).mean()]
            if not reference:
                fields = [program(photo, kind, "crf")[0] for kind in ("int8", "float32")]
                numbers.append((fields[0] == fields[1]).mean())
            rounds.append(found)
            rest.append(numbers)
    show(rounds, rest)


if __name__ == "__main__":
    main()
