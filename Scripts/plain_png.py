"""Reads PNGs of eight bits without interlacing. Needs nothing installed."""

import struct
import zlib

# Bytes a pixel by the number of a kind of colour: grey, RGB, indexed.
BYTES = {0: 1, 2: 3, 3: 1}


def read(path, size):
    """Width, height and rows of a picture of `size` bytes a pixel."""
    file = open(path, "rb").read()
    assert file[:8] == b"\x89PNG\r\n\x1a\n", f"{path}: no PNG"
    place, packed = 8, b""
    while place < len(file):
        length, kind = struct.unpack(">I4s", file[place : place + 8])
        body = file[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, BYTES.get(colour), interlace) == (8, size, 0), f"{path}: not {size} bytes a pixel"
        packed += body if kind == b"IDAT" else b""
        place += length + 12
    count = width * size
    raw, above, rows = zlib.decompress(packed), bytearray(count), []
    for y in range(height):
        start = y * (count + 1)
        method, row = raw[start], bytearray(raw[start + 1 : start + 1 + count])
        for x in range(count if method else 0):
            a, b, c = (row[x - size] if x >= size else 0), above[x], (above[x - size] if x >= size else 0)
            row[x] = row[x] + (0, a, b, (a + b) // 2, nearest(a, b, c))[method] & 255
        rows.append(bytes(row))
        above = row
    return width, height, rows


def nearest(a, b, c):
    """The neighbour closest to a + b - c. Source: PNG specification, 9.4."""
    return min((a, b, c), key=lambda near: abs(a + b - c - near))
