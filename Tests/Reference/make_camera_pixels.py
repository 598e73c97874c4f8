#!/usr/bin/env python3
"""Pixels as cameras give them, and the colours they stand for: Tests/Fixtures/camera/pixels.bin.

The colours are computed with NumPy from the standards' formulas (ITU-R BT.601-7, BT.709-6, BT.2020-2, SMPTE
240M; the layouts as the kernel's documentation of V4L2 draws them), with matrices inverted by NumPy and all
in double precision; nothing is shared with Sources/System/CameraPixels.swift.

    make_camera_pixels.py [OUT.bin]

Records, one behind the other: four letters, then width, height, stride, rule (0: BT.601, 1: 709, 2: 2020,
3: 240M), full range (0 or 1), bytes of the picture, all unsigned 16 bits little-endian; the picture; red,
green and blue a pixel.
"""

import struct
import sys

import numpy as np

RULES = [(0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593), (0.212, 0.087)]


def colours(y, cb, cr, rule, full):
    red, blue = RULES[rule]
    forth = np.array(
        [
            [red, 1 - red - blue, blue],
            [-red / (2 - 2 * blue), -(1 - red - blue) / (2 - 2 * blue), 0.5],
            [0.5, -(1 - red - blue) / (2 - 2 * red), -blue / (2 - 2 * red)],
        ]
    )
    back = np.linalg.inv(forth)
    y = y / 255 if full else (y - 16) / 219
    cb, cr = ((cb - 128) / 255, (cr - 128) / 255) if full else ((cb - 128) / 224, (cr - 128) / 224)
    rgb = np.stack([y, cb, cr], -1) @ back.T
    return np.clip(np.floor(rgb * 255 + 0.5), 0, 255).astype(np.uint8)


def doubled(plane, height, width):
    return np.repeat(np.repeat(plane, 2, 0), 2, 1)[:height, :width]


def picture(letters, width, height, gap, rule, full, random):
    """The bytes of a picture whose rows have `gap` bytes more than they need, and its colours."""
    across, down = (width + 1) // 2, (height + 1) // 2

    def plane(rows, columns):
        return random.integers(0, 256, (rows, columns)).astype(np.uint8)

    def padded(rows, length):
        filler = np.full((rows.shape[0], length - rows.shape[1]), 0xEE, np.uint8)
        return np.concatenate([rows, filler], 1).tobytes()

    if letters in ("YUYV", "UYVY"):
        y, cb, cr = plane(height, 2 * across), plane(height, across), plane(height, across)
        first = [y[:, 0::2], cb, y[:, 1::2], cr] if letters == "YUYV" else [cb, y[:, 0::2], cr, y[:, 1::2]]
        rows = np.stack(first, -1).reshape(height, 4 * across)
        stride = rows.shape[1] + gap
        wide = [np.repeat(one, 2, 1)[:, :width].astype(float) for one in (cb, cr)]
        return stride, padded(rows, stride), colours(y[:, :width].astype(float), *wide, rule, full)
    if letters in ("NV12", "YU12"):
        y, cb, cr = plane(height, width), plane(down, across), plane(down, across)
        stride = 2 * across + 2 * gap
        if letters == "NV12":
            rest = padded(np.stack([cb, cr], -1).reshape(down, 2 * across), stride)
        else:
            rest = padded(cb, stride // 2) + padded(cr, stride // 2)
        wide = [doubled(one, height, width).astype(float) for one in (cb, cr)]
        return stride, padded(y, stride) + rest, colours(y.astype(float), *wide, rule, full)
    if letters == "GREY":
        y = plane(height, width)
        none = np.full(y.shape, 128.0)
        return width + gap, padded(y, width + gap), colours(y.astype(float), none, none, rule, full)
    rgb = plane(height, 3 * width).reshape(height, width, 3)
    stride = 3 * width + gap
    rows = rgb if letters == "RGB3" else rgb[:, :, ::-1]
    value = rgb.astype(float) / 255 if full else (rgb.astype(float) - 16) / 219
    shown = np.clip(np.floor(value * 255 + 0.5), 0, 255).astype(np.uint8)
    return stride, padded(rows.reshape(height, 3 * width), stride), shown


def main():
    random = np.random.default_rng(20_26)
    out = bytearray()
    for letters in ("YUYV", "UYVY", "NV12", "YU12", "RGB3", "BGR3", "GREY"):
        coloured = letters in ("YUYV", "UYVY", "NV12", "YU12")
        for rule in range(4 if coloured else 1):
            for full in (0, 1):
                width, height, gap = (6, 4, 0) if full else (7, 5, 6)
                stride, data, rgb = picture(letters, width, height, gap, rule, full, random)
                out += letters.encode() + struct.pack("<6H", width, height, stride, rule, full, len(data))
                out += data + rgb.tobytes()
    path = sys.argv[1] if len(sys.argv) > 1 else "Tests/Fixtures/camera/pixels.bin"
    with open(path, "wb") as file:
        file.write(out)
    print(f"{path}: {len(out)} bytes")


main()
