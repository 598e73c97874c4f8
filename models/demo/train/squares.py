"""Scenes as the network for PnP-OVSS sees them: of every size and aspect, squeezed to a square.

  squares.py --count 3000 --seed 1 --out FILE.npy     uint8 [count, 336, 336, 4]: red, green, blue, class

Resumable; squares that are not drawn yet are zero.
"""
import argparse
import os

import numpy as np
from PIL import Image
from scenes import load_sprites, scene

SIDE = 336


def square(photo, label):
    """The photo by Pillow's bicubic, as the run time squeezes; classes by the nearest pixel."""
    y, x = (((np.arange(SIDE) + .5) * size / SIDE).astype(int) for size in label.shape)
    pixels = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.BICUBIC))
    return np.dstack([pixels, label[y][:, x]])


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--count", type=int, default=3000); p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out"); p.add_argument("--split", default="train")
    a = p.parse_args()
    data = np.lib.format.open_memmap(a.out, "r+") if os.path.exists(a.out) else np.lib.format.open_memmap(
        a.out, "w+", np.uint8, (a.count, SIDE, SIDE, 4))
    sprites = load_sprites()
    for i in range(len(data)):
        if data[i, ..., :3].any(): continue
        (photo, label, _instance, _record), _ = scene(a.split, a.seed, i, sprites)
        data[i] = square(photo, label)
        if i % 100 == 99: print(i + 1, flush=True)
