#!/usr/bin/env python3
"""Checks that a picture of colour bars has their colours. Needs nothing installed.

    check_bars.py PICTURE.png [--grey] [--tolerance 6]

Eight bars of 75 %: white, yellow, cyan, green, magenta, red, blue, black. They are looked at in the lower
quarter of the picture, where no test picture has text and no overlay a legend. --grey: as brightness alone,
by BT.709, as Linux's vivid has it.
"""

import argparse
import sys

import plain_png

# Red, green and blue, on or off.
BARS = [tuple(191 * int(on) for on in bar) for bar in "111 110 011 010 101 100 001 000".split()]

parser = argparse.ArgumentParser()
parser.add_argument("picture")
parser.add_argument("--grey", action="store_true")
parser.add_argument("--tolerance", type=int, default=6)
wanted = parser.parse_args()
width, height, rows = plain_png.read(wanted.picture, 3)
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
