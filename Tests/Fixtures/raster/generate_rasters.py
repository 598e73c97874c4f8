#!/usr/bin/env python3
"""Writes WebP and TIFF files to rasters/, and rasters.csv with what Pillow makes of them: name, width and
height as seen, and CRC-32 of the upright RGB bytes. Run by hand: pip install pillow tifffile imagecodecs.

Transparency is dropped, not blended; 16-bit samples lose their low byte, which Pillow leaves to its caller
for grey. Nothing is random.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps, TiffImagePlugin

HERE = Path(__file__).parent
FILES = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "rasters"
WIDTH, HEIGHT = 45, 38


def smooth(width=WIDTH, height=HEIGHT):
    """Ramps with an edge, and a stripe of noise."""
    y, x = np.mgrid[0:height, 0:width]
    blue = np.where((x * 3 + y * 2) % 40 < 20, 40, 210)
    picture = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), blue], axis=2).astype(np.uint8)
    noise = (np.arange(width * 5 * 3, dtype=np.uint64) * np.uint64(2654435761) >> np.uint64(7)).astype(
        np.uint8
    )
    picture[10:15] = noise.reshape(5, width, 3)
    return picture


def alpha():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return ((x * 7 + y * 11) % 256).astype(np.uint8)


def wide(picture):
    """16 bits, the low byte not the high one."""
    return picture.astype(np.uint16) * 256 + (255 - picture)


def webps():
    rgb = Image.fromarray(smooth())
    rgba = Image.fromarray(np.dstack([smooth(), alpha()]))
    rgb.save(FILES / "lossy.webp", quality=80)
    rgb.save(FILES / "lossless.webp", lossless=True)
    rgba.save(FILES / "lossy-alpha.webp", quality=70)
    rgba.save(FILES / "lossless-alpha.webp", lossless=True, exact=True)
    for orientation in [3, 6]:
        exif = Image.Exif()
        exif[0x0112] = orientation
        rgb.save(FILES / f"orientation{orientation}.webp", quality=60, exif=exif)
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="8"/></x:xmpmeta>'
    rgb.save(FILES / "orientation-xmp.webp", quality=60, xmp=packet)
    rgb.save(FILES / "icc.webp", quality=60, icc_profile=b"no profile at all " * 20)


def tiff(name, samples, **options):
    tifffile.imwrite(FILES / name, samples, metadata=None, **options)


def tiffs():
    picture, grey = smooth(), smooth()[:, :, 0]
    strips = dict(rowsperstrip=7)
    for compression in ["none", "lzw", "zlib", "packbits"]:
        tiff(f"rgb-{compression}.tif", picture, photometric="rgb", compression=compression, **strips)
        tiff(
            f"grey16-{compression}.tif",
            wide(grey),
            photometric="minisblack",
            compression=compression,
            byteorder=">",
            **strips,
        )
        tiff(f"tiles-{compression}.tif", picture, photometric="rgb", compression=compression, tile=(16, 32))
    for kind in ["none", "zlib"]:
        planes = np.moveaxis(picture, 2, 0)
        tiff(
            f"planes-{kind}.tif",
            planes,
            photometric="rgb",
            planarconfig="separate",
            compression=kind,
            **strips,
        )
    # Not without compression: there Pillow mixes the bytes up.
    tiff(
        "planes16-tiles-zlib.tif",
        wide(planes),
        photometric="rgb",
        planarconfig="separate",
        compression="zlib",
        tile=(32, 16),
    )
    tiff("tiles-jpeg.tif", picture, photometric="rgb", compression="jpeg", tile=(32, 16))
    tiff("rgb16-predictor.tif", wide(picture), photometric="rgb", compression="lzw", predictor=True, **strips)
    tiff(
        "tiles16-predictor-big.tif",
        wide(picture),
        photometric="rgb",
        compression="zlib",
        predictor=True,
        tile=(16, 16),
        bigtiff=True,
    )
    tiff("rgb-big-endian-big.tif", picture, photometric="rgb", byteorder=">", bigtiff=True, **strips)
    tiff("white-is-zero.tif", grey, photometric="miniswhite", **strips)
    tiff("whole-strip-zlib.tif", picture, photometric="rgb", compression="zlib", rowsperstrip=HEIGHT)
    for name, extra in [
        ("unassociated", "unassalpha"),
        ("associated", "assocalpha"),
        ("unspecified", "unspecified"),
    ]:
        four = np.dstack([picture, alpha()])
        if name == "associated":
            four[:, :, :3] = four[:, :, :3].astype(np.uint16) * alpha()[:, :, None] // 255
        tiff(f"rgba-{name}.tif", four, photometric="rgb", extrasamples=[extra], compression="zlib", **strips)
        tiff(f"rgba-tiles-{name}.tif", four, photometric="rgb", extrasamples=[extra], tile=(16, 16))
    tiff(
        "grey-alpha.tif",
        np.dstack([grey, alpha()]),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
        **strips,
    )
    # A place on earth: UTM zone 32 north, pixels of 2 m; more numbers than an entry holds, and text.
    place = [
        (33550, "d", 3, (2.0, 2.0, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5.3e6, 0.0), True),
        (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32632), True),
        (34737, "s", 0, "WGS 84 / UTM zone 32N|", True),
    ]
    for order in "<>":
        name = "geo-little.tif" if order == "<" else "geo-big.tif"
        tiff(name, picture, photometric="rgb", byteorder=order, bigtiff=False, extratags=place, **strips)
    pillow(picture, grey)


def pillow(picture, grey):
    """What tifffile does not write: palettes, few bits, inks, JPEG, fax codes, orientations."""
    image = Image.fromarray(picture)
    for colours in [2, 4, 16, 200]:
        indexed = image.quantize(colours)
        for compression in ["raw", "tiff_lzw"]:
            indexed.save(FILES / f"palette{colours}-{compression}.tif", compression=compression)
    image.convert("CMYK").save(FILES / "inks.tif", compression="tiff_deflate")
    two = Image.fromarray(grey).convert("1")
    for compression in ["raw", "group3", "group4", "packbits"]:
        two.save(FILES / f"two-{compression}.tif", compression=compression)
    image.save(FILES / "jpeg.tif", compression="jpeg", quality=85)
    Image.fromarray(grey).save(FILES / "grey-jpeg.tif", compression="jpeg", quality=85)
    for orientation in range(1, 9):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        image.save(FILES / f"orientation{orientation}.tif", compression="tiff_lzw", tiffinfo=tags)


def seen(path):
    """Upright RGB as Pillow sees it."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("RGBA", "LA"):
            samples = np.asarray(image)[:, :, :-1]
            image = Image.fromarray(samples if samples.shape[2] == 3 else samples[:, :, 0])
        return np.asarray(image.convert("RGB"))


def main():
    FILES.mkdir(exist_ok=True)
    webps()
    tiffs()
    lines = []
    for path in sorted(FILES.iterdir()):
        try:
            rgb = seen(path)
        except Exception as error:  # tifffile reads what Pillow does not
            rgb = tifffile.imread(path)
            rgb = np.moveaxis(rgb, 0, 2) if rgb.shape[0] == 3 else rgb
            rgb = (rgb >> 8).astype(np.uint8) if rgb.dtype == np.uint16 else rgb
            print(f"{path.name}: {error}; its sum is tifffile's")
        lines.append(f"{path.name},{rgb.shape[1]},{rgb.shape[0]},{zlib.crc32(rgb.tobytes())}")
    (FILES.parent / "rasters.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
