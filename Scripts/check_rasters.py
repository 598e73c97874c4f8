#!/usr/bin/env python3
"""Compares what `trident` reads and writes as rasters with Pillow, rasterio and GDAL.

Usage: check_rasters.py TRIDENT FOLDER
"""

import ctypes
import json
import shutil
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy
import rasterio
from PIL import Image, ImageOps
from rasterio.transform import from_origin

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "Tests/Fixtures/raster"
DEMO = ["--model", str(ROOT / "models/demo/demo.gguf"), "--no-cache"]
WORDS = ["--class", "grass", "--class", "house & <barn>", "--class", "sky"]
COARSE = ["--refine", "none", "--short-side", "112", "--window", "112", "--stride", "112"]
# tifffile's sums, as Pillow cannot open it.
BEYOND_PILLOW = {"rgb-big-endian-big.tif"}


def main(trident, work):
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    read_as_pillow(trident, work)
    place_and_names(trident, work)
    wide_map(trident, work)
    tiles(trident, work)


def run(trident, *arguments):
    return subprocess.run([trident, *map(str, arguments)], check=True, capture_output=True, text=True)


def seen(path):
    """Upright RGB as Pillow sees it: transparency dropped, 16 bits without their low byte."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        samples = numpy.asarray(image)
        if image.mode.startswith("I;16"):
            return numpy.repeat((samples >> 8).astype(numpy.uint8)[:, :, None], 3, 2)
        if image.mode == "LA":
            return numpy.repeat(samples[:, :, :1], 3, 2)
        return samples[:, :, :3] if image.mode == "RGBA" else numpy.asarray(image.convert("RGB"))


def read_as_pillow(trident, work):
    """The sums of the fixtures are what Pillow says today, and scores are those of Pillow's pixels."""
    stored, plain = work / "stored", work / "plain"
    stored.mkdir()
    plain.mkdir()
    names = []
    for line in (FIXTURES / "rasters.csv").read_text().split():
        name, width, height, total = line.split(",")
        if name in BEYOND_PILLOW:
            continue
        rgb = seen(FIXTURES / "rasters" / name)
        assert rgb.shape == (int(height), int(width), 3), name
        assert zlib.crc32(rgb.tobytes()) == int(total), f"{name}: Pillow's pixels are others"
        names.append(name)
        (stored / name).write_bytes((FIXTURES / "rasters" / name).read_bytes())
        Image.fromarray(rgb).save(plain / (name + ".png"))
    for folder in (stored, plain):
        out = f"{folder}-scores"
        run(
            trident,
            "segment",
            *DEMO,
            *WORDS,
            *COARSE,
            "--affinity",
            "none",
            "--quiet",
            "--scores",
            out,
            folder,
        )
    ours = sorted((work / "stored-scores").iterdir())
    assert len(ours) == len(names), f"{len(ours)} of {len(names)} were read"
    for path in ours:
        name = path.name[:-4]
        name = name if name in names else next(n for n in names if n.rsplit(".", 1)[0] == name)
        other = work / "plain-scores" / (name + ".npy")
        assert path.read_bytes() == other.read_bytes(), f"{name}: scores differ from those of Pillow's pixels"
    print(f"{len(names)} WebP and TIFF files are read as Pillow reads them")


def gdal():
    """The GDAL that rasterio brings."""
    libraries = Path(rasterio.__file__).parent.parent / "rasterio.libs"
    library = ctypes.CDLL(str(next(libraries.glob("libgdal*"))))
    for name in ["Open", "GetRasterBand", "GetRasterCategoryNames", "GetRasterColorTable", "GetMetadata"]:
        getattr(library, "GDAL" + name).restype = ctypes.c_void_p
    library.GDALGetRasterCategoryNames.restype = ctypes.POINTER(ctypes.c_char_p)
    library.GDALAllRegister()
    return library


def band_of(library, path):
    dataset = ctypes.c_void_p(library.GDALOpen(str(path).encode(), 0))
    assert dataset, path
    band = ctypes.c_void_p(library.GDALGetRasterBand(dataset, 1))
    # As gdalinfo does: the driver for TIFF opens the side file then, and not before.
    library.GDALGetMetadata(dataset, None)
    library.GDALGetMetadata(band, None)
    return band


def categories(library, path):
    names = library.GDALGetRasterCategoryNames(band_of(library, path))
    found = []
    while names and names[len(found)] is not None:
        found.append(names[len(found)].decode())
    return found


def geotiff(path, pixels, **options):
    options = {"driver": "GTiff", "crs": "EPSG:32632", "transform": from_origin(5e5, 5.3e6, 2, 2)} | options
    with rasterio.open(
        path,
        "w",
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=3,
        dtype="uint8",
        photometric="RGB",
        **options,
    ) as raster:
        raster.write(numpy.moveaxis(pixels, 2, 0))


def place_and_names(trident, work):
    """A label TIFF lies where its photo lies; GDAL knows classes and colours of both kinds of map."""
    scene = numpy.asarray(Image.open(ROOT / "models/demo/scenes/images/farm.jpg").convert("RGB"))
    geotiff(
        work / "farm.tif", scene, tiled=True, blockxsize=128, blockysize=128, compress="deflate", predictor=2
    )
    named = [*DEMO, *WORDS, *COARSE, "--quiet", "--unknown-threshold", "0.4"]
    run(trident, "segment", *named, "--output", work / "map.tif", work / "farm.tif")
    # What was made is made again.
    run(trident, "segment", *named, "--output", work / "map.tif", work / "farm.tif")
    run(
        trident,
        "segment",
        *named,
        "--output",
        work / "map.png",
        "--gdal",
        work / "map.png.aux.xml",
        work / "farm.tif",
    )
    legend = json.loads((work / "map.json").read_text())
    names = [c["name"] for c in legend["classes"]]
    with rasterio.open(work / "farm.tif") as photo, rasterio.open(work / "map.tif") as made:
        assert (made.crs, made.transform, made.nodata) == (photo.crs, photo.transform, 3), made.profile
        labels = made.read(1)
        assert (labels == numpy.asarray(Image.open(work / "map.png"))).all()
        assert (labels == numpy.asarray(Image.open(work / "map.tif"))).all()
        for number, entry in enumerate(legend["classes"]):
            assert made.colormap(1)[number][:3] == tuple(entry["colour"]), entry
    library = gdal()
    for name in ["map.tif", "map.png"]:
        found = categories(library, work / name)
        assert found[: len(names)] == names and len(found) == 4, f"{name}: {found}"
        assert library.GDALGetRasterColorTable(band_of(library, work / name)), name
        if shutil.which("gdalinfo"):
            said = run("gdalinfo", work / name).stdout
            assert all(f"      {i}: {n}\n" in said for i, n in enumerate(names)), said
    print(f"a label TIFF lies where its photo does; GDAL names {', '.join(names)}")


def wide_map(trident, work):
    """Above 256 classes the map is grey; its classes have names still."""
    words = work / "many.txt"
    words.write_text("".join(f"thing {i}\n" for i in range(300)))
    for name in ["many.tif", "many.png"]:
        side = ["--gdal", work / "many.png.aux.xml"] if name == "many.png" else []
        run(
            trident,
            "segment",
            *DEMO,
            "--classes",
            words,
            *COARSE,
            "--quiet",
            "--output",
            work / name,
            *side,
            ROOT / "models/demo/scenes/images/farm.jpg",
        )
        assert categories(gdal(), work / name)[299] == "thing 299"
    with rasterio.open(work / "many.tif") as made:
        assert made.dtypes == ("uint16",) and made.crs is None
        assert (made.read(1) == numpy.asarray(Image.open(work / "many.png"))).all()
    print("300 classes: 16-bit maps with names")


def tiles(trident, work):
    """A long raster in tiles: memory as planned, the same for any number of threads."""
    scene = Image.open(ROOT / "models/demo/scenes/images/street.jpg").convert("RGB").resize((400, 320))
    pixels = numpy.tile(numpy.asarray(scene), (1, 50, 1))
    geotiff(work / "long.tif", pixels, tiled=True, blockxsize=256, blockysize=256, compress="lzw")
    command = [*DEMO, *WORDS, *COARSE, "--tile", "1024", "--overlap", "128", "--quiet"]
    peaks = []
    for threads in ["1", "2"]:
        out = work / f"long-{threads}.tif"
        process = subprocess.Popen(
            [
                trident,
                "segment",
                *map(str, [*command, "--threads", threads, "--output", out, work / "long.tif"]),
            ]
        )
        peak = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            peak = max([peak] + [int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon")])
            time.sleep(0.01)
        assert process.wait() == 0
        peaks.append(peak / 1024)
    assert (work / "long-1.tif").read_bytes() == (work / "long-2.tif").read_bytes(), "threads change labels"
    assert max(peaks) < 64, f"{peaks} MiB private"
    with rasterio.open(work / "long-1.tif") as made, rasterio.open(work / "long.tif") as photo:
        assert made.shape == photo.shape and made.transform == photo.transform
    print(f"{pixels.shape[1]} x {pixels.shape[0]} in tiles of 1024: {max(peaks):.0f} MiB private at most")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
