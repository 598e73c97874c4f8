"""Are SAM's masks better than the coarse regions that they replace? Mean overlap of both with the truth, for
things and grounds, and among the masks that the predicted overlap lets pass. The truth of a region: the true
parts of its class that it meets.

  mask_quality.py --data DIR --models DIR [--limit 16]
"""
import argparse
import glob

import numpy as np
import torch
from evaluate import EIGHT, Trident, bilinear
from PIL import Image
from scenes import GROUNDS
from scipy import ndimage

p = argparse.ArgumentParser()
p.add_argument("--data")
p.add_argument("--models")
p.add_argument("--limit", type=int, default=16); p.add_argument("--threads", type=int, default=1)
p.set_defaults(short_side=448, window=336, stride=224, no_dino=False, cos_factor=1.2)
o = p.parse_args(); torch.set_num_threads(o.threads)


def overlap(a, b): return (a & b).sum() / max(1, (a | b).sum())


def regions(labels, c):
    parts, _n = ndimage.label(labels == c, EIGHT)
    return [(parts == i + 1, place) for i, place in enumerate(ndimage.find_objects(parts))]


rows = []
with torch.no_grad():
    model = Trident(o.models)
    classes = open(f"{o.data}/classes.txt").read().split("\n")[:-1]; text = model.text(classes)
    for path in sorted(glob.glob(f"{o.data}/images/*.png"))[:o.limit]:
        photo = np.asarray(Image.open(path).convert("RGB"))
        truth = np.asarray(Image.open(path.replace("/images/", "/labels/"))).astype(int)
        H, W = truth.shape; h, w = H // 2, W // 2
        e, attention, values, size = model.sam_image(photo); grid = (size[0] // 16, size[1] // 16)
        g = bilinear(model.coarse_features(photo, o)[None], *grid)[0].flatten(1).T
        full = model.probabilities(model.aggregate(g, attention, values, size, "affinity", o), grid, text, H,
                                   W)
        probability = bilinear(full[None], h, w)[0]
        ys, xs = (np.arange(h) * H / h).astype(int), (np.arange(w) * W / w).astype(int)
        labels, true = full.argmax(0).numpy()[ys][:, xs], truth[ys][:, xs]
        labels[probability.numpy().max(0) < .2] = -1
        q = model.side // 4
        k = q / max(h, w); inside = (int(h * k + .5), int(w * k + .5)); sy, sx = size[0] / h, size[1] / w
        for c in range(len(classes)):
            for region, (down, across) in regions(labels, c):
                if region.sum() < 225: continue
                meets = [part for part, _ in regions(true, c)
                         if (part & region).sum() > min(.2 * part.sum(), .25 * region.sum())]
                area = np.any(meets, 0) if meets else np.zeros_like(region)
                mask = torch.zeros(1, 1, q, q)
                mask[..., :inside[0], :inside[1]] = bilinear(probability[None, c:c + 1], *inside)
                mask = torch.where(mask > .2, mask * .005, torch.zeros(()))
                y, x = divmod(int(np.argmax(np.where(region, probability[c].numpy(), -1))), w)
                box = (across.start * sx, down.start * sy, (across.stop - 1) * sx, (down.stop - 1) * sy)
                sparse, dense = model.sam.prompt(torch.tensor([(x * sx, y * sy)]), torch.tensor([box]), mask)
                logits, predicted = model.sam.decoder(e, model.sam.prompt.grid(q // 4, q // 4), sparse, dense)
                logits = bilinear(bilinear(logits[:, None], model.side, model.side)[:, :, :size[0], :size[1]],
                                  h, w)[0, 0]
                rows.append((c >= len(GROUNDS), bool(meets), overlap(region, area),
                             overlap(logits.numpy() > 0, area), float(predicted)))
rows = np.array(rows, float)
for name, kind in (("things", 1), ("grounds", 0)):
    found = rows[(rows[:, 0] == kind) & (rows[:, 1] == 1)]
    for what, some in (("all", found), ("passed", found[found[:, 4] > .8])):
        if len(some):
            print(f"{name}, {what}: {len(some)}; coarse {some[:, 2].mean():.3f}, SAM {some[:, 3].mean():.3f}, SAM better in {(some[:, 3] > some[:, 2]).mean():.2f}")  # noqa: E501
print(f"regions that meet nothing of their class: {(rows[:, 1] == 0).sum()}")
