#!/usr/bin/env python3
"""Compares two label maps (8-bit PNG); fails below the given share of equal pixels. Needs nothing installed.

    compare-labels.py A.png B.png [SHARE, 0.999]
"""
import struct
import sys
import zlib


def pixels(path):
    """Width, height and the label bytes of an 8-bit grey or indexed PNG without interlacing."""
    file = open(path, "rb").read()
    assert file[:8] == b"\x89PNG\r\n\x1a\n", f"{path}: no PNG"
    place, packed = 8, b""
    while place < len(file):
        size, kind = struct.unpack(">I4s", file[place:place + 8])
        body = file[place + 8:place + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, interlace) == (8, 0) and colour in (0, 3), f"{path}: not a label map"
        packed += body if kind == b"IDAT" else b""
        place += size + 12
    raw, above, rows = zlib.decompress(packed), bytearray(width), []
    for y in range(height):
        method, row = raw[y * (width + 1)], bytearray(raw[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for x in range(width if method else 0):
            a, b, c = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            row[x] = row[x] + (0, a, b, (a + b) // 2, paeth(a, b, c))[method] & 255
        rows.append(bytes(row))
        above = row
    return width, height, b"".join(rows)


def paeth(a, b, c):
    """The neighbour closest to a + b - c. Source: PNG specification, 9.4."""
    return min((a, b, c), key=lambda near: abs(a + b - c - near))


first, second = pixels(sys.argv[1]), pixels(sys.argv[2])
share = float(sys.argv[3]) if len(sys.argv) > 3 else 0.999
if first[:2] != second[:2]:
    sys.exit(f"sizes differ: {first[:2]} and {second[:2]}")
different = sum(a != b for a, b in zip(first[2], second[2]))
print(f"{different} of {len(first[2])} pixels differ ({1 - different / len(first[2]):.4%} equal)")
sys.exit(different > (1 - share) * len(first[2]))
