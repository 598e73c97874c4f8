#!/usr/bin/env python3
"""Writes the golden values of RasterTests. Run by hand: pip install opencv-python-headless 'pillow<12' torch
numpy.

Pillow 12 and later may run the vertical pass first, which moves some pixels by one level; published results
come from the older order, which is ours.

Photos in every format go to files/, their pixels as OpenCV and Pillow decode them to *.rgb (width and height
as 32-bit little-endian, then RGB bytes). cases.csv lists resizing cases; their sources are made by `pattern`,
which the Swift tests repeat, so only results are stored. Seed: the pattern is a formula; nothing is random.
"""
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image

HERE = Path(__file__).parent
FILES = HERE / "files"


def pattern(width, height, channels=3):
    """Edges, ramps and noise from one integer hash; the Swift tests hold the same formula."""
    i = np.arange(width * height * channels, dtype=np.uint64)
    h = (i * np.uint64(2654435761) + np.uint64(12345)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(13)
    return (h >> np.uint64(24)).astype(np.uint8).reshape(height, width, channels)


def smooth(width, height):
    """A picture that survives JPEG: ramps with one edge."""
    y, x = np.mgrid[0:height, 0:width]
    red = x * 255 // max(width - 1, 1)
    green = y * 255 // max(height - 1, 1)
    blue = np.where((x * 3 + y * 2) % 40 < 20, 40, 210)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def write_rgb(name, rgb):
    rgb = np.ascontiguousarray(rgb)
    (FILES / f"{name}.rgb").write_bytes(struct.pack("<II", rgb.shape[1], rgb.shape[0]) + rgb.tobytes())


def opencv(name):
    """Pixels as OpenCV reads them, orientation ignored."""
    return cv2.imread(str(FILES / name), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1]


def jpegs():
    picture = Image.fromarray(smooth(37, 29))
    kinds = {
        "ycc420.jpg": (picture, dict(quality=85, subsampling=2)),
        "ycc422.jpg": (picture, dict(quality=85, subsampling=1)),
        "ycc444.jpg": (picture, dict(quality=95, subsampling=0)),
        "progressive.jpg": (picture, dict(quality=85, progressive=True)),
        "grey.jpg": (picture.convert("L"), dict(quality=85)),
        "cmyk.jpg": (picture.convert("CMYK"), dict(quality=90)),
        "restart.jpg": (picture, dict(quality=85, restart_marker_rows=1)),
    }
    for name, (image, options) in kinds.items():
        image.save(FILES / name, **options)
        write_rgb(name, opencv(name))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"orientation{orientation}.jpg"
        Image.fromarray(smooth(24, 16)).save(FILES / name, quality=90, exif=exif)
    write_rgb("orientation1.jpg", opencv("orientation1.jpg"))
    for orientation in (1, 3, 6, 8):
        name = f"orientation{orientation}.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(smooth(6, 4)).save(FILES / name, exif=exif)


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(name, width, height, depth, colour, rows, extra=b"", interlace=0):
    """A PNG by hand, for depths and chunks that Pillow does not write. `rows` are packed and unfiltered."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    (FILES / name).write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra
                               + png_chunk(b"IDAT", body)
                               + png_chunk(b"IEND", b""))


def packed(values, depth):
    """Samples of `depth` bits, high bits first."""
    if depth == 16:
        return values.astype(">u2").tobytes()
    if depth == 8:
        return values.astype(np.uint8).tobytes()
    bits = np.unpackbits(values.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth:]
    return np.packbits(bits.reshape(-1)).tobytes()


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def pngs():
    width, height = 13, 7
    for depth in (1, 2, 4, 8, 16):
        noise = pattern(width, height, 2).astype(np.uint32)
        full = noise[:, :, 0] << 8 | noise[:, :, 1]
        grey = full >> (16 - depth)
        eight = (grey >> 8) if depth == 16 else grey * 255 // ((1 << depth) - 1)
        rgb = np.repeat(eight[:, :, None], 3, axis=2).astype(np.uint8)
        for interlace in (0, 1):
            name = f"grey{depth}{'i' if interlace else ''}.png"
            parts = [grey] if not interlace else [grey[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
            rows = [packed(row, depth) for part in parts if part.size for row in part]
            raw_png(name, width, height, depth, 0, rows, interlace=interlace)
            write_rgb(name, rgb)
        clear = int(grey[2, 3])
        raw_png(f"grey{depth}t.png", width, height, depth, 0, [packed(row, depth) for row in grey],
                png_chunk(b"tRNS", struct.pack(">H", clear)))
        write_rgb(f"grey{depth}t.png", opencv(f"grey{depth}t.png"))
        if depth <= 8:
            colours = pattern(1 << depth, 1)[0]
            alphas = pattern(1 << depth, 1, 1)[0, :, 0][: max(1, (1 << depth) // 2)]
            extra = png_chunk(b"PLTE", colours.tobytes()) + png_chunk(b"tRNS", alphas.tobytes())
            raw_png(f"palette{depth}.png", width, height, depth, 3, [packed(row, depth) for row in grey],
                    extra)
            write_rgb(f"palette{depth}.png", opencv(f"palette{depth}.png"))
    for depth in (8, 16):
        for colour, channels in ((2, 3), (4, 2), (6, 4)):
            eight = pattern(width, height, channels)
            values = eight if depth == 8 else eight.astype(np.uint32) << 8 | (255 - eight)
            name = f"colour{colour}depth{depth}.png"
            raw_png(name, width, height, depth, colour, [packed(row.reshape(-1), depth) for row in values])
            write_rgb(name, opencv(name))


def resizing():
    """Cases: rule, source size, target size; results are Adler-free raw bytes, deflated together."""
    sizes = [((1, 1), (1, 1)), ((1, 1), (5, 3)), ((7, 5), (1, 1)), ((16, 12), (8, 6)), ((15, 11), (8, 6)),
             ((8, 6), (16, 12)), ((37, 29), (48, 32)), ((37, 29), (13, 17)), ((64, 48), (23, 48)),
             ((9, 31), (31, 9)),
             ((3, 400), (16, 112)), ((30, 4000), (8, 1024)), ((200, 3), (64, 1)), ((53, 47), (53, 46)),
             ((100, 75), (25, 19)), ((33, 21), (100, 64)), ((640, 6), (63, 5)), ((2, 2), (1, 1)),
             ((4, 2), (2, 2))]
    lines, results = [], io.BytesIO()
    for (w, h), (tw, th) in sizes:
        source = pattern(w, h)
        outputs = {
            "bilinear": cv2.resize(source, (tw, th), interpolation=cv2.INTER_LINEAR),
            "antialias": np.asarray(Image.fromarray(source).resize((tw, th), Image.BILINEAR)),
        }
        for rule, out in outputs.items():
            lines.append(f"{rule},{w},{h},{tw},{th},{results.tell()}")
            results.write(np.ascontiguousarray(out).tobytes())
    (HERE / "resized.csv").write_text("\n".join(lines) + "\n")
    (HERE / "resized.bin").write_bytes(results.getvalue())


def tables():
    """PyTorch's interpolation: rule, source h x w, target h x w, whether the factor is (target + 0.1) /
    source. `antialias` is bicubic with it."""
    cases = [("bilinear", 21, 21, 28, 37, False), ("bilinear", 28, 37, 21, 21, False),
             ("bilinear", 5, 7, 5, 7, False),
             ("bicubic", 14, 14, 21, 21, True), ("bicubic", 14, 14, 20, 28, True),
             ("bicubic", 7, 7, 3, 5, True),
             ("bicubic", 14, 14, 14, 14, True), ("bilinear", 24, 24, 21, 21, True),
             ("bicubic", 16, 9, 31, 4, False),
             ("bilinear", 1, 1, 6, 4, False), ("bicubic", 1, 2, 3, 3, False),
             ("antialias", 37, 37, 24, 24, False), ("antialias", 37, 37, 8, 16, False),
             ("antialias", 11, 11, 16, 8, False), ("antialias", 5, 3, 1, 3, False),
             ("antialias", 6, 7, 20, 9, False)]
    lines, results = [], io.BytesIO()
    for rule, h, w, th, tw, plus in cases:
        source = torch.from_numpy(pattern(w, h, 2).astype(np.float32) / 255)[None].permute(0, 3, 1, 2)
        options = dict(scale_factor=((th + 0.1) / h, (tw + 0.1) / w)) if plus else dict(size=(th, tw))
        if rule == "antialias":
            options["antialias"] = True
        mode = "bilinear" if rule == "bilinear" else "bicubic"
        out = F.interpolate(source, mode=mode, align_corners=False, **options)
        assert out.shape[2:] == (th, tw)
        lines.append(f"{rule},{h},{w},{th},{tw},{int(plus)},{results.tell()}")
        results.write(out[0].permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes())
    (HERE / "tables.csv").write_text("\n".join(lines) + "\n")
    (HERE / "tables.bin").write_bytes(results.getvalue())


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    jpegs()
    pngs()
    resizing()
    tables()
    print("OpenCV", cv2.__version__, "Pillow", PIL.__version__,
          "PyTorch", torch.__version__)
