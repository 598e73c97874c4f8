"""Training scenes for SAM with the prompts that the run time would make of them: CLIP and DINO find the
coarse regions of fresh scenes (sizes and aspects like the held-out ones), and each region's prompts are kept
beside what it should become.

  coarse.py --models DIR --seed 3 --count 2000 --out DIR
Writes DIR/NNNN.npz with 40 scenes each and goes on where it stopped; train_sam.py takes new files in as they
come. A file holds photos [40, side, side, 3] as SAM sees them, labels [40, side, side] (255 in the padding),
and for every region its scene, variant, class, point, box, the class's probabilities [side / 4, side / 4] and
the truth there (both of 255). Variant 0: tokens as CLIP gives them; variant 1: averaged over their things, as
a good affinity would.
"""
import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
from evaluate import EIGHT, Trident, bilinear, sam_copy
from nets import patch_fractions
from PIL import Image
from scenes import CLASSES, load_sprites, scene
from scipy import ndimage

EACH = 40


def meets(true, region):
    """The parts of a mask that a region is about: it covers a good share of them, or they of it."""
    parts, n = ndimage.label(true, EIGHT)
    hit, whole = np.bincount(parts[region], minlength=n + 1), np.bincount(parts.ravel(), minlength=n + 1)
    kept = [i for i in range(1, n + 1) if hit[i] > min(.2 * whole[i], .25 * region.sum())]
    return np.isin(parts, kept), bool(kept)


def truth(label, region, c):
    """-> what a region of class c should become; where its class is not there, the thing that it covers; None
    if there is none"""
    area, found = meets(label == c, region)
    if found: return area, True
    other = np.bincount(label[region], minlength=len(CLASSES)).argmax()
    area, found = meets(label == other, region)
    if not found or (area & region).sum() < .25 * (area | region).sum(): return None, False
    return area, False


def averaged(g, label, grid, rng):
    """Tokens [n, d] averaged over their things, some of each left as it was."""
    cells = np.asarray(Image.fromarray(label).resize((grid[1] * 16, grid[0] * 16),
                                                     Image.NEAREST)).astype(np.int64)
    side = max(grid) * 16
    square = np.full((1, side, side), 255); square[0, :cells.shape[0], :cells.shape[1]] = cells
    share = patch_fractions(square, 256)[0].view(max(grid), max(grid), 256)[:grid[0], :grid[1],
            :len(CLASSES)].flatten(0, 1)
    alike = F.normalize(share, dim=-1); alike = alike @ alike.T + float(rng.uniform(0, .03))
    return torch.lerp(g, alike / alike.sum(-1, keepdim=True) @ g, float(rng.uniform(.5, .95)))


def regions(model, probability, label, size, o):
    """-> rows of (class, its own, point, box, probabilities, truth), as section 9 of the pipeline makes the
    prompts; probability [classes, h, w] at half size"""
    H, W = label.shape; h, w, q = H // 2, W // 2, model.side // 4
    p = probability.numpy(); ys, xs = (np.arange(h) * H / h).astype(int), (np.arange(w) * W / w).astype(int)
    coarse = p.argmax(0); coarse[p.max(0) < o.coarse_threshold] = 255
    small = label[ys][:, xs]
    k = q / max(h, w); inside = (int(h * k + .5), int(w * k + .5)); sy, sx = size[0] / h, size[1] / w
    rows = []
    for c in np.unique(coarse):
        if c == 255: continue
        parts, _n = ndimage.label(coarse == c, EIGHT); chances = None
        for i, (down, across) in enumerate(ndimage.find_objects(parts), 1):
            region = parts == i
            if region.sum() < 225: continue
            area, own = truth(small, region, c)
            if area is None: continue
            if chances is None:
                chances = np.zeros((q, q), np.uint8)
                chances[:inside[0], :inside[1]] = (bilinear(torch.from_numpy(p[c])[None, None], *inside)[0,
                        0].numpy() * 255 + .5).astype(np.uint8)
            target = np.zeros((q, q), np.uint8)
            target[:inside[0], :inside[1]] = np.asarray(Image.fromarray(area.astype(np.uint8) * 255).resize((inside[1], inside[0]), Image.BILINEAR))  # noqa: E501
            y, x = divmod(int(np.argmax(np.where(region, p[c], -1))), w)
            rows.append((c, own, (x * sx, y * sy),
                         (across.start * sx, down.start * sy, (across.stop - 1) * sx, (down.stop - 1) * sy),
                         chances, target))
    return rows


def square(photo, label, side):
    """-> photo and label as SAM's square, and the size of what is not padding"""
    copy = sam_copy(photo, side); size = copy.shape[:2]
    picture, ids = np.zeros((side, side, 3), np.uint8), np.full((side, side), 255, np.uint8)
    picture[:size[0], :size[1]] = copy
    y, x = ((np.arange(s) + .5) * n / s for s, n in zip(size, label.shape))
    ids[:size[0], :size[1]] = label[y.astype(int)][:, x.astype(int)]
    return picture, ids, size


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--models")
    p.add_argument("--out")
    p.add_argument("--seed", type=int, default=3); p.add_argument("--count", type=int, default=2000)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--side", type=int, default=512, help="of SAM's square")
    p.set_defaults(short_side=448, window=336, stride=224, no_dino=False, coarse_threshold=.2)
    o = p.parse_args(); torch.set_num_threads(o.threads); os.makedirs(o.out, exist_ok=True)
    sprites = load_sprites()
    with torch.no_grad():
        model = Trident(o.models, side=o.side); text = model.text(CLASSES)
        for start in range(0, o.count, EACH):
            path = f"{o.out}/{start // EACH:04d}.npz"
            if os.path.exists(path): continue
            photos, labels, sizes, found = [], [], [], []
            for number in range(EACH):
                (photo, label, _, _), rng = scene("train", o.seed, start + number, sprites)
                picture, ids, size = square(photo, label, model.side)
                grid = (size[0] // 16, size[1] // 16)
                with torch.autocast("cpu", torch.bfloat16): g = model.coarse_features(photo, o).float()
                g = bilinear(g[None], *grid)[0].flatten(1).T
                for variant, tokens in enumerate((g, averaged(g, label, grid, rng))):
                    probability = model.probabilities(tokens, grid, text, label.shape[0] // 2,
                                                      label.shape[1] // 2)
                    found += [(number, variant, *row) for row in regions(model, probability, label, size, o)]
                photos.append(picture); labels.append(ids); sizes.append(size)
            names = ("scene", "variant", "kind", "own", "point", "box", "chance", "truth")
            columns = {name: np.array([row[i] for row in found]) for i, name in enumerate(names)}
            np.savez(path + ".tmp.npz", photos=np.stack(photos), labels=np.stack(labels),
                     sizes=np.array(sizes), **columns)
            os.replace(path + ".tmp.npz", path); print(start + EACH, len(found), flush=True)
