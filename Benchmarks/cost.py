#!/usr/bin/env python3
"""How seconds grow with windows, classes, megapixels and regions: one figure of four plots.

    cost.py --model M.gguf --photo P.jpg [--trident .build/release/trident] [--out docs/images/cost.svg]
    [--repeat 3]

Needs Pillow. Every point is the median of `trident segment --json` (start of the first stage to the last
label row). Regions are had by lowering --minimal-area, classes by a vocabulary of made-up words encoded
beforehand.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

from PIL import Image


def measure(a, photo, classes, *flags):
    """Median seconds, and the last report."""
    command = [a.trident, "segment", "-m", a.model, "--vocabulary", classes, "--json", "--quiet",
               *map(str, flags), photo]
    reports = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
               for _ in range(a.repeat)]
    return statistics.median(r["seconds"] for r in reports), reports[-1]


def vocabulary(a, folder, count):
    words, out = folder / f"{count}.txt", folder / f"{count}.tvoc"
    words.write_text("".join(f"thing {n}\n" for n in range(count)))
    subprocess.run([a.trident, "text", "-m", a.model, "--classes", words, "-o", out, "--quiet", "--no-cache"],
                   check=True)
    return out


def series(a, folder):
    """(title, x label, [(x, seconds)]) of each plot."""
    words = vocabulary(a, folder, 21)
    photo = Image.open(a.photo).convert("RGB")

    def at_side(side):
        path = folder / f"{side}.jpg"
        photo.resize((side, side), Image.BILINEAR).save(path, quality=90)
        return path

    small = at_side(448)
    windows = [((max(0, s - 336 + 223) // 224 + 1) ** 2, measure(a, small, words, "--short-side", s)[0])
               for s in (336, 448, 672, 896)]
    classes = [(n, measure(a, small, vocabulary(a, folder, n))[0]) for n in (2, 21, 171, 400)]
    pixels = [(s * s / 1e6, measure(a, at_side(s), words)[0]) for s in (448, 1000, 2000, 3500)]
    regions = []
    for area in (100_000, 225, 30, 4):
        seconds, report = measure(a, small, words, "--minimal-area", area, "--coarse-threshold", 0.06)
        regions.append((report["regions"]["refined"] + report["regions"]["failed"], seconds))
    return [("windows", windows), ("classes", classes), ("megapixels", pixels), ("regions", sorted(regions))]


def svg(plots):
    """Four small line plots side by side; zero at the left and at the bottom of each."""
    width, height, left, bottom = 230, 200, 34, 44
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(plots)}" height="{height}" '
             'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>']
    for index, (title, points) in enumerate(plots):
        x0, y0, wide, high = index * width + left, height - bottom, width - left - 18, height - bottom - 16
        most, top = max(*(x for x, _ in points), 1e-09), max(y for _, y in points) * 1.1
        at = lambda x, y: (x0 + x / most * wide, y0 - y / top * high)
        parts.append(f'<path d="M{x0} {y0 - high}V{y0}H{x0 + wide}" fill="none" stroke="#888"/>')
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(*p) for p in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="#2563a8" stroke-width="2"/>')
        last = -99
        for x, y in points:
            px, py = at(x, y)
            # Two that would touch: the second one's figures go lower.
            drop, last = (12 if px - last < 24 else 0), px
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="#2563a8"/>'
                         f'<text x="{px:.1f}" y="{py - 7 + 2 * drop:.1f}" text-anchor="middle">{y:.2f}</text>'
                         f'<text x="{px:.1f}" y="{y0 + 12 + drop}" text-anchor="middle" fill="#666">{x if x > 99 else round(x, 1):g}</text>')  # noqa: E501
        parts.append(f'<text x="{x0 + wide / 2}" y="{height - 6}" text-anchor="middle">{title}</text>')
    parts.append('<text x="4" y="12">seconds</text></svg>\n')
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trident", default=".build/release/trident")
    parser.add_argument("--model", required=True)
    parser.add_argument("--photo", required=True)
    parser.add_argument("--out", type=pathlib.Path, default="docs/images/cost.svg")
    parser.add_argument("--repeat", type=int, default=3)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plots = series(a, pathlib.Path(folder))
    for title, points in plots:
        print(title, ", ".join(f"{x:g}: {y:.2f} s" for x, y in points))
    a.out.write_text(svg(plots))


if __name__ == "__main__":
    main()
