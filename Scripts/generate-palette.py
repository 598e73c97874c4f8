#!/usr/bin/env python3
"""Makes the colours of label maps and says how far they lie apart.

    generate-palette.py > Sources/Raster/PaletteColours.swift      run by hand
    generate-palette.py --python > Python/src/trident_boards/_colours.py
    generate-palette.py --report                                   the table of docs/colours.md
    generate-palette.py --chart FILE.png COUNT                     this palette and VOC's, as eyes see them

Colours are chosen one after another, each as far as can be from all before it and from black, white and the
grey of pixels of no class: for n classes the first n are used, so a class that is added changes no other's
colour. Far means CIE76 distance in Lab (D65), as seen by normal eyes and, times WEIGHT, by eyes without
green receptors; the smaller counts. Candidates are a grid of 18 values a channel, neither dark nor white.

Source of the simulation: Machado, Oliveira, Fernandes, A Physiologically-based Model for Simulation of Color
Vision Deficiency, 2009; deuteranopia, on linear RGB.
"""
import itertools
import struct
import sys
import zlib

STEP, DARKEST, LIGHTEST, WEIGHT = 15, 25, 96, 1.5
UNKNOWN = (128, 128, 128)
COUNTS = (12, 21, 60, 150, 256)
DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))


def linear(value):
    value /= 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


LINEAR = [linear(value) for value in range(256)]


def lab(red, green, blue):
    """Lab of linear RGB, 0 to 1."""
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen(colour):
    """Lab for normal eyes, and for deuteranopes."""
    plain = [LINEAR[value] for value in colour]
    dulled = [min(1, max(0, sum(m * v for m, v in zip(row, plain)))) for row in DEUTERANOPIA]
    return lab(*plain), lab(*dulled)


def apart(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other)) ** 0.5


def far(one, other):
    return min(apart(one[0], other[0]), WEIGHT * apart(one[1], other[1]))


def choose(count):
    candidates = []
    for colour in itertools.product(range(0, 256, STEP), repeat=3):
        view = seen(colour)
        if DARKEST <= view[0][0] <= LIGHTEST:
            candidates.append((colour, view))
    taken = [seen(colour) for colour in ((0, 0, 0), (255, 255, 255), UNKNOWN)]
    room = [min(far(view, other) for other in taken) for _, view in candidates]
    colours = []
    for _ in range(count):
        best = max(range(len(room)), key=room.__getitem__)
        colours.append(candidates[best][0])
        view = candidates[best][1]
        for index, (_, other) in enumerate(candidates):
            if room[index] > 0:
                room[index] = min(room[index], far(view, other))
    return colours


def voc(number):
    colour = [0, 0, 0]
    for bit in range(8):
        if number >> bit & 1:
            colour[bit % 3] |= 0x80 >> bit // 3
    return tuple(colour)


def smallest(colours):
    """Smallest distances between the first n, by n of COUNTS: normal, deuteranopia."""
    views, result, least = [seen(colour) for colour in colours], {}, [1e9, 1e9]
    for index, view in enumerate(views):
        for other in views[:index]:
            least = [min(old, apart(a, b)) for old, a, b in zip(least, view, other)]
        if index + 1 in COUNTS:
            result[index + 1] = tuple(least)
    return result


def report(colours):
    ours, theirs = smallest(colours), smallest([voc(number) for number in range(256)])
    print("| classes | normal | deuteranopia | VOC, normal | VOC, deuteranopia |\n|---|---|---|---|---|")
    for count in COUNTS:
        print(f"| {count} | " + " | ".join(f"{value:.1f}" for value in ours[count] + theirs[count]) + " |")


def dull(colour):
    """What deuteranopes see, as a colour for normal eyes."""
    plain = [LINEAR[value] for value in colour]
    mixed = [min(1, max(0, sum(m * v for m, v in zip(row, plain)))) for row in DEUTERANOPIA]
    return tuple(min(range(256), key=lambda i, v=v: abs(LINEAR[i] - v)) for v in mixed)


def chart(path, colours, side=24, gap=2, columns=30):
    """Rows of squares: colours, and under them what deuteranopes see; for each list of colours."""
    white, rows = (255, 255, 255), []
    for palette in (colours, [voc(number) for number in range(len(colours))]):
        for start in range(0, len(palette), columns):
            part = palette[start:start + columns]
            for line in (part, [dull(colour) for colour in part]):
                filled = line + [white] * (min(columns, len(palette)) - len(line))
                pixels = [pixel for colour in filled for pixel in [colour] * side + [white] * gap]
                rows += [pixels] * side
            rows += [[white] * len(rows[0])] * (3 * gap)
        rows += [[white] * len(rows[0])] * (6 * gap)
    raw = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in rows)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9))
                  + chunk(b"IEND", b""))


def lines_of(colours):
    digits = ["%02X%02X%02X" % colour for colour in colours]
    return ["".join(digits[at:at + 16]) for at in range(0, len(digits), 16)]


def python(colours):
    print('"""Written by Scripts/generate-palette.py, which says how; not to be edited."""\n')
    print("# 256 colours, RGB.\nCOLOURS = bytes.fromhex(")
    print("\n".join(f'    "{line}"' for line in lines_of(colours)) + ")")


def swift(colours):
    lines = lines_of(colours)
    print("// Written by Scripts/generate-palette.py, which says how; not to be edited.\n")
    print("enum PaletteColours {\n  /// 256 colours as hexadecimal digits.\n  static let digits = \"\"\"")
    print("\\\n".join("    " + line for line in lines) + "\n    \"\"\"\n}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--chart"]:
        chart(sys.argv[2], choose(int(sys.argv[3])))
    elif sys.argv[1:] == ["--report"]:
        report(choose(256))
    elif sys.argv[1:] == ["--python"]:
        python(choose(256))
    else:
        swift(choose(256))
