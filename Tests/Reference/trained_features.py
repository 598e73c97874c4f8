#!/usr/bin/env python3
"""What the programs make of a genuinely trained DINOv2 on real photos, block by block, beside PyTorch in
float32 on the checkpoint's own weights.

    trained_features.py CHECKPOINT MODEL [--beside MODEL] [--bin .build/release] [--photos 10]

CHECKPOINT: a DINOv2 file, such as Scripts/dinov2_from_onnx.py writes. MODEL: a model file that
trident-quantize made with it. Photos are scikit-image's, each cut to one window, so that the program and
PyTorch see the same pixels. Cosines are by token (patches only). `--beside`: another model file of the same
checkpoint, such as a calibrated one; the first four photos are then left out, for it was made with them.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np
import pipeline
import torch
import trained_int8
import weights
from PIL import Image
from taps import read_taps

WINDOW = 336


class Stages(dict):
    """Taps of the reference, as tensors."""

    def put(self, name, value):
        self[name] = value


def truth(m, window):
    """DINO's blocks and features, patches only."""
    stages = Stages()
    features, grid = pipeline.dino_features(m, window, 0, stages)
    count = grid[0] * grid[1]
    return [stages[f"dino.blocks.{n}.0"][-count:] for n in range(m.dino.depth)] + [features]


def found(a, m, model, photo, precision):
    """The same from the program."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run(
            [a.bin / "trident", "segment", "--model", model, "--class", "horse", "--class", "grass",
             "--profile", "fast", "--short-side", str(WINDOW), "--window", str(WINDOW),
             "--precision", precision, "--quiet", "--no-cache",
             "--taps", folder / "a.taps", "--output", folder / "labels.png", photo],
            check=True, stderr=subprocess.DEVNULL)
        taps = read_taps(folder / "a.taps")
    names = [f"dino.blocks.{n}.0" for n in range(m.dino.depth)] + ["dino.features.0"]
    return [torch.from_numpy(taps[name][0].copy())[-(WINDOW // m.dino.patch) ** 2:] for name in names]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("model")
    parser.add_argument("--beside")
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path(".build/release"))
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--folder", type=pathlib.Path, help="leave the windows here, as PNG")
    a = parser.parse_args()
    torch.set_num_threads(1)
    m = weights.Model()
    weights.add_dino(m, weights.read_dino(a.checkpoint))
    scratch = tempfile.TemporaryDirectory()
    folder = a.folder or pathlib.Path(scratch.name)
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for number, (name, window) in enumerate(trained_int8.windows(a.photos, WINDOW)):
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (pipeline.DINO_MEAN, pipeline.DINO_STD))
        pixels = ((window * deviation + mean) * 255).round().byte().permute(1, 2, 0).numpy()
        path = folder / f"{number:02}-{name.split('.')[0]}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
        photos.append((path, truth(m, window)))
    if a.beside:
        photos = photos[4:]
    runs = [("INT8", a.model, "int8"), ("float32 on the stored weights", a.model, "float32")]
    if a.beside:
        runs = [("INT8", a.model, "int8"), ("INT8, the other file", a.beside, "int8")]
    print("| cosine with PyTorch, by token | mean | 1st percentile | worst |\n|---|---|---|---|")
    for title, model, precision in runs:
        ours = [found(a, m, model, path, precision) for path, _ in photos]
        for n in range(m.dino.depth + 1):
            where = f"block {n + 1}" if n < m.dino.depth else "**features**"
            values = [trained_int8.cosines(x[n], y[n]) for x, (_, y) in zip(ours, photos)]
            print(f"| {title}, {where} | {trained_int8.line(values)} |", flush=True)
        for (path, wanted), x in zip(photos, ours):
            values = [trained_int8.cosines(x[-1], wanted[-1])]
            print(f"| {title}, {path.stem} | {trained_int8.line(values)} |")


if __name__ == "__main__":
    main()
