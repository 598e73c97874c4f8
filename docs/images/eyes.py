#!/usr/bin/env python3
"""Pictures in rows, and under them what deuteranopes see of each: eyes.py OUT.jpg COLUMNS PICTURE...

All pictures are brought to the width of the first. Needs Pillow (apt install python3-pil). The simulation is
that of Scripts/generate-palette.py: Machado, Oliveira, Fernandes 2009, deuteranopia, on linear RGB.
"""
import importlib.util
import pathlib
import sys

from PIL import Image

GAP = 6
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "Scripts"


def palette():
    spec = importlib.util.spec_from_file_location("palette", SCRIPTS / "generate-palette.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dulled(picture):
    """The same picture as deuteranopes see it; every colour is computed once."""
    module = palette()
    steps = [module.linear(value) for value in range(256)]
    # 4,096 steps of linear light: the darkest bytes are three apart.
    back = bytes(min(range(256), key=lambda byte, at=at: abs(steps[byte] - at / 4095)) for at in range(4096))
    rows = [[[weight * step * 4095 for step in steps] for weight in row] for row in module.DEUTERANOPIA]
    seen = {}

    def seen_as(colour):
        if colour not in seen:
            seen[colour] = tuple(
                back[min(4095, max(0, round(row[0][colour[0]] + row[1][colour[1]] + row[2][colour[2]])))]
                for row in rows)
        return seen[colour]

    raw = picture.tobytes()
    colours = zip(raw[0::3], raw[1::3], raw[2::3])
    return Image.frombytes("RGB", picture.size, bytes(value for c in colours for value in seen_as(c)))


def main(out, columns, *paths):
    pictures = [Image.open(path).convert("RGB") for path in paths]
    width, columns = pictures[0].width, int(columns)
    pictures = [p.resize((width, round(p.height * width / p.width)), Image.LANCZOS) if p.width != width else p
                for p in pictures]
    rows = [pictures[at:at + columns] for at in range(0, len(pictures), columns)]
    heights = [max(p.height for p in row) for row in rows]
    half = Image.new("RGB", (columns * (width + GAP) - GAP, sum(heights) + GAP * (len(rows) - 1)), "white")
    y = 0
    for row, height in zip(rows, heights):
        for column, picture in enumerate(row):
            half.paste(picture, (column * (width + GAP), y))
        y += height + GAP
    both = Image.new("RGB", (half.width, 2 * half.height + 3 * GAP), "white")
    both.paste(half, (0, 0))
    both.paste(dulled(half), (0, half.height + 3 * GAP))
    both.save(out, quality=85, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
