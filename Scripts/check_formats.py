#!/usr/bin/env python3
"""Opens what `trident segment` wrote with the tools that others use, and compares it with the label map.

Usage: check_formats.py FOLDER, which holds labels.png, labels.json, coco.json, regions.json, table.csv,
cvat.xml, masks/, yolo/ and labelme/ of one photo.
"""
import csv
import json
import sys
from pathlib import Path

import numpy
import yaml
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from labelme._label_file import read_label_file
from PIL import Image
from pycocotools import mask as coder
from pycocotools.coco import COCO
from scipy import ndimage


def main(folder):
    labels = numpy.array(Image.open(folder / "labels.png"))
    legend = json.loads((folder / "labels.json").read_text())["classes"]
    present = [c["id"] for c in legend if (labels == c["id"]).any()]
    check_coco(folder / "coco.json", labels, legend, present)
    check_table(folder / "table.csv", labels, legend)
    check_confidence(folder, labels, numpy.load(folder / "scores.npy").astype(numpy.float64))
    check_masks(folder / "masks", labels, legend, present)
    regions = []
    for number in present:
        found, count = ndimage.label(labels == number)
        regions += [(number, found == i + 1) for i in range(count)]
    check_instances(folder / "regions.json", regions)
    check_yolo(folder / "yolo", labels.shape, legend, regions)
    check_labelme(folder / "labelme", labels.shape, legend, regions)
    check_cvat(folder / "cvat.xml", legend, regions)
    print(f"{len(present)} of {len(legend)} classes agree in COCO, CSV and masks,")
    print(f"{len(regions)} regions in COCO (pycocotools), YOLO, LabelMe and CVAT (datumaro)")


def covered(points, shape):
    """Pixels whose centres are inside a polygon, by the even-odd rule."""
    height, width = shape
    inside = numpy.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]):
        for y in range(max(0, int(min(y0, y1)) - 1), min(height, int(max(y0, y1)) + 2)):
            if (y0 <= y + 0.5) != (y1 <= y + 0.5):
                crossing = x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                inside[y] ^= numpy.arange(width) + 0.5 < crossing
    return inside


def check_instances(path, regions):
    coco = COCO(path)
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == len(regions)
    for annotation, (number, mask) in zip(annotations, regions):
        assert annotation["category_id"] == number and (coco.annToMask(annotation) == mask).all()
        assert annotation["area"] == mask.sum() and annotation["bbox"] == box(mask)


def check_yolo(folder, shape, legend, regions):
    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    assert names == {c["id"]: c["name"] for c in legend}
    (path,) = folder.glob("*.txt")
    lines = [line.split() for line in path.read_text().splitlines()]
    assert len(lines) == len(regions)
    for line, (number, mask) in zip(lines, regions):
        places = numpy.array(line[1:], float).reshape(-1, 2)
        # As ultralytics checks a label file: a class, at least three points, all from 0 to 1.
        assert int(line[0]) == number and len(places) >= 3 and places.min() >= 0 and places.max() <= 1
        # Six decimals bring corners back to the pixel.
        points = numpy.round(places * [shape[1], shape[0]]).tolist()
        assert (covered(points, shape) == mask).all(), number


def check_labelme(folder, shape, legend, regions):
    (path,) = folder.glob("*.json")
    data = read_label_file(str(path))
    shapes = data.shapes
    assert len(shapes) == len(regions) and (folder / data.image_path).exists()
    names = {c["id"]: c["name"] for c in legend}
    for drawn, (number, mask) in zip(shapes, regions):
        assert drawn["label"] == names[number] and drawn["shape_type"] == "polygon"
        assert (covered([tuple(p) for p in drawn["points"]], shape) == mask).all(), number


def check_cvat(path, legend, regions):
    data = Dataset.import_from(str(path), "cvat")
    names = [c.name for c in data.categories()[AnnotationType.label]]
    assert names == [c["name"] for c in legend]
    (item,) = data
    masks = [a for a in item.annotations if a.type == AnnotationType.mask]
    assert len(masks) == len(regions)
    for drawn, (number, mask) in zip(masks, regions):
        assert drawn.label == number and (drawn.image.astype(bool) == mask).all(), number


def box(mask):
    ys, xs = numpy.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1)]


def check_coco(path, labels, legend, present):
    coco = COCO(path)
    named = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    assert named == {c["id"]: c["name"] for c in legend}
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["height"], image["width"]) == labels.shape
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    assert [a["category_id"] for a in annotations] == present
    for annotation in annotations:
        mask = labels == annotation["category_id"]
        assert (coco.annToMask(annotation) == mask).all(), annotation["category_id"]
        assert annotation["area"] == mask.sum() and annotation["bbox"] == box(mask)
        # Byte for byte what pycocotools itself writes.
        wanted = coder.encode(numpy.asfortranarray(mask.astype(numpy.uint8)))
        assert annotation["segmentation"]["counts"].encode() == wanted["counts"], annotation["category_id"]


def check_table(path, labels, legend):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["class"]), r["name"]) for r in rows] == [(c["id"], c["name"]) for c in legend]
    for row in rows:
        mask = labels == int(row["class"])
        assert int(row["pixels"]) == mask.sum() and int(row["present"]) == mask.any()
        assert abs(float(row["share"]) - mask.mean()) < 1e-6
        if mask.any():
            assert [int(row[k]) for k in ("left", "top", "width", "height")] == box(mask)
            ys, xs = numpy.nonzero(mask)
            assert abs(float(row["x"]) - xs.mean()) < 0.01 and abs(float(row["y"]) - ys.mean()) < 0.01
        else:
            assert row["left"] == row["x"] == ""


def check_confidence(folder, labels, scores):
    """Against a softmax of scores that are resampled here; every class of the demo has one phrase."""
    sure = numpy.array(Image.open(folder / "sure.png"))
    assert sure.dtype == numpy.uint8 and sure.shape == labels.shape
    height, width = labels.shape
    for y in range(0, height, 37):
        logits = 40 * across(across(scores, 1, height, y), 2, width)
        power = numpy.exp(logits - logits.max(0))
        found = numpy.rint(255 * power.max(0) / power.sum(0))
        assert abs(found[0] - sure[y]).max() <= 1, y
    with open(folder / "table.csv", newline="") as file:
        for row in csv.DictReader(file):
            mask = labels == int(row["class"])
            assert not mask.any() or abs(float(row["confidence"]) - sure[mask].mean() / 255) < 1e-4


def across(values, axis, size, place=None):
    """Bilinear along an axis: all places of `size`, or one."""
    count = values.shape[axis]
    at = numpy.arange(size) if place is None else numpy.array([place])
    at = numpy.clip((at + 0.5) * count / size - 0.5, 0, count - 1)
    low = at.astype(int)
    high = numpy.minimum(low + 1, count - 1)
    shape = [1, 1, 1]
    shape[axis] = len(at)
    part = (at - low).reshape(shape)
    return values.take(low, axis) * (1 - part) + values.take(high, axis) * part


def check_masks(folder, labels, legend, present):
    files = {int(p.name.split("-")[0]): p for p in folder.iterdir()}
    assert sorted(files) == present
    for number, path in files.items():
        mask = numpy.array(Image.open(path).convert("L"))
        assert set(numpy.unique(mask)) <= {0, 255} and ((mask > 0) == (labels == number)).all(), path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
