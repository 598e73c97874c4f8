#!/usr/bin/env python3
"""What each rule for words that are not in the photo costs and saves, on drawn scenes with exact labels.

    absence.py [--trident .build/release/trident] [--model models/demo/demo.gguf]
               [--data Tests/Fixtures/scenes] [--count 40] [--seed 0]
               [--method trident,sc-clip] [--rule keep,gate,relative,relevancy,purify] TABLE

RULE purify@0.15 is purify with --redundancy 0.15. `--method radseg` takes the demo's RADSeg and vocabularies
of the demo's words: keep is --class-gate 0, gate its published 0.5, relevancy the neutral phrases in the
vocabulary; it has no purify.

TABLE `many`: of every scene the words are what it shows and 20 others, drawn by seed: `known`, of the
scenes' own classes, or `strange`, words that the demo model never learned. TABLE `few`: one to four words
alone: the largest things that a scene shows (`there`), or others of the scenes' own classes (`not there`).
Columns, in percent:
  false area   of all pixels, what words get that are not there
  mIoU         of what is there, by class over all scenes that show it; a pixel given away or left out is
               an error
  no class     of all pixels, what is left without a class
  farm         shares of "cat", "sofa", which are not there, and of "horse", "grass", which are
The demo's CLIP has 6 blocks, for which SC-CLIP has nothing published: the best of six settings on five
scenes stands here. Needs NumPy and Pillow.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np
from PIL import Image

METHODS = {
    "trident": [],
    "sc-clip": ["--method", "sc-clip", "--short-side", "448", "--low-block", "3", "--mid-block", "5",
                "--levels", "5-5", "--class-weight", "0"],
    "radseg": [],
}
NEUTRAL = "object; things; stuff; texture"
STRANGE = ("sofa, zebra, giraffe, tiger, kangaroo, bench, toaster, microwave, sink, fridge, kite, "
           "skateboard, surfboard, wine glass, fork, knife, spoon, bowl, broccoli, hot dog, "
           "sandwich, potted plant, bed, dining table, television, keyboard, vase, teddy bear, hair "
           "dryer, toothbrush, tractor, bridge, ladder, statue, mountain, lighthouse, tent, anchor, "
           "candle, wheelbarrow").split(", ")


def segment(a, photo, words, flags):
    """-> label map"""
    with tempfile.TemporaryDirectory() as folder:
        labels, model = f"{folder}/labels.png", a.model
        named = [part for word in words for part in ("--class", word)]
        if flags[0] == "radseg":
            model, words = "models/demo/radseg.gguf", f"{folder}/words.tvoc"
            negative = ["--negative", NEUTRAL] if flags[1] == "relevancy" else []
            subprocess.run([a.trident, "text", "--model", a.model, "--quiet", *named, *negative, "--output",
                            words], check=True, capture_output=True)
            named = ["--vocabulary", words]
            flags = {"keep": ["--class-gate", "0"], "relative": ["--class-gate", "0", "--absent", "relative"],
                     "gate": [], "relevancy": []}[flags[1]]
        command = [a.trident, "segment", "--model", model, "--quiet", "--no-cache", *flags, str(photo),
                   "--output", labels, *named]
        subprocess.run(command, check=True, capture_output=True)
        return np.array(Image.open(labels))


class Tally:
    def __init__(self, count):
        self.hit, self.union = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.pixels = self.false = self.none = 0

    def add(self, truth, found, shown, words):
        """`found`: numbers of `words`, the first of which are `shown`, by number in `truth`."""
        for label, name in enumerate(shown):
            true, given = truth == name, found == label
            self.hit[name] += (true & given).sum()
            self.union[name] += (true | given).sum()
        self.false += ((found >= len(shown)) & (found < len(words))).sum()
        self.none += (found >= len(words)).sum()
        self.pixels += found.size

    def row(self):
        seen = self.union > 0
        miou = 100 * (self.hit[seen] / self.union[seen]).mean() if seen.any() else float("nan")
        false, none = (100 * count / self.pixels for count in (self.false, self.none))
        return f"{false:.2f} | {miou:.2f} | {none:.2f}".replace("nan", "-")


def farm(a, flags):
    photo = pathlib.Path(__file__).parent.parent / "models/demo/scenes/images/farm.jpg"
    pairs = []
    for words in (["cat", "sofa"], ["horse", "grass"]):
        found = segment(a, photo, words, flags)
        pairs.append(", ".join(f"{100 * (found == label).mean():.1f}" for label in (0, 1)))
    return " | ".join(pairs)


def scenes(a, names):
    """-> photo, labels, numbers of the classes that it shows, the largest first"""
    for photo in sorted((a.data / "images").iterdir())[:a.count]:
        truth = np.array(Image.open(a.data / "labels" / (photo.stem + ".png")))
        numbers, counts = np.unique(truth[truth < len(names)], return_counts=True)
        yield photo, truth, list(numbers[np.argsort(-counts, kind="stable")])


def measure(a, names, flags, choose):
    """`choose`: random numbers and what a scene shows -> numbers of words that are there, other words"""
    random, tally = np.random.default_rng(a.seed), Tally(len(names))
    for photo, truth, shown in scenes(a, names):
        there, others = choose(random, shown)
        words = [names[n] for n in there] + others
        tally.add(truth, segment(a, photo, words, flags), there, words)
    return tally.row()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("table", choices=["many", "few"])
    p.add_argument("--trident", default=".build/release/trident")
    p.add_argument("--model", default="models/demo/demo.gguf")
    p.add_argument("--data", type=pathlib.Path, default="Tests/Fixtures/scenes")
    p.add_argument("--count", type=int, default=40)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--method", default="trident,sc-clip")
    p.add_argument("--rule", default="keep,gate,relative,relevancy,purify")
    a = p.parse_args()
    lines = (a.data / "classes.txt").read_text().splitlines()
    names = [line.split(";")[0].strip() for line in lines if line.strip()]

    def known(random, shown, count):
        others = np.setdiff1d(np.arange(len(names)), shown)
        return [names[n] for n in random.choice(others, count, replace=False)]

    many = {
        "known": lambda random, shown: (shown, known(random, shown, 20)),
        "strange": lambda random, shown: (shown, list(random.choice(STRANGE, 20, replace=False))),
    }
    few = {}
    for k in range(1, 5):
        few[f"{k} there"] = lambda random, shown, k=k: (shown[:k], [])
        few[f"{k} not there"] = lambda random, shown, k=k: ([], known(random, shown, k))
    is_many = a.table == "many"
    farms, bars = (" cat, sofa | horse, grass |", "---|---|") if is_many else ("", "")
    print("| method | rule | words | false area | mIoU | no class |" + farms)
    print("|---|---|---|---|---|---|" + bars)
    for method in a.method.split(","):
        for rule in a.rule.split(","):
            name, _, edge = rule.partition("@")
            flags = METHODS[method] + ["--absent", name] + (["--redundancy", edge] if edge else [])
            if method == "radseg":
                flags = [method, name]
            last = f" {farm(a, flags)} |" if is_many else ""
            for words, choose in (many if is_many else few).items():
                found = measure(a, names, flags, choose)
                print(f"| {method} | {rule} | {words} | {found} |{last}", flush=True)


if __name__ == "__main__":
    main()
