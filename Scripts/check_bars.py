#!/usr/bin/env python3
"""Checks that a picture of colour bars has their colours. Needs nothing installed.

    check_bars.py PICTURE.png [--grey] [--tolerance 6]

Eight bars of 75 %: white, yellow, cyan, green, magenta, red, blue, black. They are looked at in the lower
quarter of the picture, where no test picture has text and no overlay a legend. --grey: as brightness alone,
by BT.709, as Linux's vivid has it.
"""

import argparse
import struct
import sys
import zlib

# Red, green and blue, on or off.
BARS = [tuple(191 * int(on) for on in bar) for bar in "111 110 011 010 101 100 001 000".split()]


def pixels(path):
    """Width, height and rows of an 8-bit RGB PNG without interlacing."""
    file = open(path, "rb").read()
    place, packed = 8, b""
    while place < len(file):
        size, kind = struct.unpack(">I4s", file[place : place + 8])
        body = file[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, interlace) == (8, 2, 0), f"{path}: no RGB picture"
        packed += body if kind == b"IDAT" else b""
        place += size + 12
    raw, above, rows = zlib.decompress(packed), bytearray(3 * width), []
    for y in range(height):
        start = y * (3 * width + 1)
        method, row = raw[start], bytearray(raw[start + 1 : start + 1 + 3 * width])
        for x in range(3 * width if method else 0):
            a, b, c = (row[x - 3] if x > 2 else 0), above[x], (above[x - 3] if x > 2 else 0)
            row[x] = row[x] + (0, a, b, (a + b) // 2, nearest(a, b, c))[method] & 255
        rows.append(bytes(row))
        above = row
    return width, height, rows


def nearest(a, b, c):
    """The neighbour closest to a + b - c. Source: PNG specification, 9.4."""
    return min((a, b, c), key=lambda near: abs(a + b - c - near))


parser = argparse.ArgumentParser()
parser.add_argument("picture")
parser.add_argument("--grey", action="store_true")
parser.add_argument("--tolerance", type=int, default=6)
wanted = parser.parse_args()
width, height, rows = pixels(wanted.picture)
worst = 0
for index, bar in enumerate(BARS):
    if wanted.grey:
        bar = (round(0.2126 * bar[0] + 0.7152 * bar[1] + 0.0722 * bar[2]),) * 3
    for row in rows[height * 3 // 4 : height * 15 // 16]:
        # Its middle half.
        for x in range((4 * index + 1) * width // 32, (4 * index + 3) * width // 32):
            off = max(abs(found - value) for found, value in zip(row[3 * x : 3 * x + 3], bar))
            if off > wanted.tolerance:
                sys.exit(f"{wanted.picture}: {tuple(row[3 * x : 3 * x + 3])} in bar {index + 1} is not {bar}")
            worst = max(worst, off)
print(f"{wanted.picture}: eight bars, at most {worst} of 255 off")
