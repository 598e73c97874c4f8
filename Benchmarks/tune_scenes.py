#!/usr/bin/env python3
"""Whether `trident tune`, which sees no labels, finds a setting that labels agree with: reward and mIoU of
all its trials on drawn scenes, as a table (Markdown) and a figure (SVG).

    tune_scenes.py --data DIR [--trident .build/release/trident] [--model models/demo/demo.gguf]
    [--tune 12] [--test 12] [--trials 12] [--seed 0] [--method trident] [--vary KEYS] [--clip MODEL]
    [--start "FLAGS"] [--rows N] [--out docs/images/tune.svg]

DIR is made by `models/demo/train/scenes.py --split test --count N --seed 30 --out DIR` and needs at least
tune + test scenes. The first are tuned on: a scene shows the classes that its label map has (names, no
masks, go to `trident tune`). The next are evaluated once a trial; labels serve for this check alone. Needs
NumPy and Pillow. `--start` are options of trial 0, such as "--attention-layer 1"; `--rows` the lines of the
table; PnP-OVSS is told what the scenes show, in both, and needs `--clip`.
"""

import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import tempfile

import numpy as np
from PIL import Image


def names_of(classes):
    return [line.split(";")[0].strip() for line in classes.read_text().splitlines() if line.strip()]


def split(data, folder, first, count, names):
    """Copies of some scenes; returns a file of what they show."""
    images = sorted((data / "images").iterdir())[first:first + count]
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = []
    for image in images:
        label = data / "labels" / (image.stem + ".png")
        shutil.copy(image, folder / "images")
        shutil.copy(label, folder / "labels")
        shown = [n for n in np.unique(np.array(Image.open(label))) if n < len(names)]
        lines.append(f"{image.name}: " + ", ".join(names[n] for n in shown))
    present = folder / "present.txt"
    present.write_text("\n".join(lines) + "\n")
    return present


def run(*command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout)


def figure(trials, best):
    """Margin of a trial against its mIoU."""
    margins, values = [t["margin"] for t in trials], [t["mIoU"] for t in trials]
    low_x, high_x, low_y, high_y = min(margins), max(margins), min(values), max(values)
    wide, tall = (high_x - low_x) or 1, (high_y - low_y) or 1

    def place(margin, value):
        return 60 + 420 * (margin - low_x) / wide, 250 - 210 * (value - low_y) / tall

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="520" height="310" font-family="sans-serif" '
           'font-size="12"><rect width="520" height="310" fill="#fff"/>',
           '<path d="M60 30V250H490" fill="none" stroke="#888"/>',
           f'<text x="60" y="20">mIoU on held-out scenes, {low_y:.1f} to {high_y:.1f} %</text>',
           f'<text x="490" y="280" text-anchor="end">margin of the reward, {low_x:.2f} to {high_x:.2f}; '
           'size: wins</text>',
           '<text x="60" y="300" fill="#c60">start</text><text x="110" y="300" fill="#063">chosen</text>']
    most, least = max(t["wins"] for t in trials), min(t["wins"] for t in trials)
    for t in trials:
        x, y = place(t["margin"], t["mIoU"])
        colour = "#063" if t["trial"] == best else "#c60" if t["trial"] == 0 else "#789"
        radius = 4 + 5 * (t["wins"] - least) / ((most - least) or 1)
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".7"/>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--trident", default=".build/release/trident")
    parser.add_argument("--model", default="models/demo/demo.gguf")
    for name, value in (("tune", 12), ("test", 12), ("trials", 12), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--method", default="trident")
    parser.add_argument("--vary")
    parser.add_argument("--clip")
    parser.add_argument("--start", default="")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/images/tune.svg"))
    a = parser.parse_args()
    classes = a.data / "classes.txt"
    names = names_of(classes)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        present = split(a.data, folder / "tune", 0, a.tune, names)
        shown = split(a.data, folder / "test", a.tune, a.test, names)
        common = ["--model", a.model, "--classes", classes, "--method", a.method, *shlex.split(a.start)]
        told = ["--present", shown] if a.method == "pnp-ovss" else []
        found = run(a.trident, "tune", *common, "--photos", folder / "tune" / "images", "--present", present,
                    "--trials", a.trials, "--seed", a.seed, "--json", "--quiet", "--output",
                    folder / "mine.json", *(["--vary", a.vary] if a.vary else []),
                    *(["--clip", a.clip] if a.clip else []))
        keys = [k for k in found["trials"][0] if k not in ("trial", "wins", "margin")]
        for trial in found["trials"]:
            flags = [x for k in keys for x in ("--" + k.replace("_", "-"), trial[k])]
            trial["mIoU"] = 100 * run(a.trident, "evaluate", *common, *flags, *told, "--images",
                                      folder / "test" / "images", "--labels", folder / "test" / "labels",
                                      "--json", "--quiet")["mIoU"]
    order = sorted(found["trials"], key=lambda t: (-t["wins"], -t["margin"]))
    print("| trial | wins | margin | " + " | ".join(keys) + " | mIoU |")
    print("|---" * (4 + len(keys)) + "|")
    for t in order[:a.rows] if a.rows else order:
        cells = [t["trial"], f'{t["wins"]} of {found["classes_shown"]}', f'{t["margin"]:.3f}',
                 *(f"{t[k]:g}" for k in keys), f'{t["mIoU"]:.2f}']
        print("| " + " | ".join(map(str, cells)) + " |")
    a.out.write_text(figure(found["trials"], found["best"]))


if __name__ == "__main__":
    main()
