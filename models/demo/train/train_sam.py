"""Trains the demo's SAM on exact masks with the prompts the run time uses: one foreground point, the box and
a low-resolution mask (0.005 times the class probability where it exceeds 0.2). Half of them come from regions
that CLIP and DINO found (coarse.py), the others are drawn from simulated coarse, wrong regions, most of those
in scenes made on the spot. In some steps a kind of prompt or two are left out. Losses: cross-entropy + dice
on the single-mask output, squared error of the predicted overlap, and two on the last block, which Trident's
affinity reads: cosine of its values, and its attention, spread over the neighbourhood within the own thing
and nowhere else."""
import argparse
import glob

import numpy as np
import torch
import torch.nn.functional as F
from coarse import square
from evaluate import load
from nets import *
from scenes import GROUNDS, load_sprites, scene
from scipy import ndimage

p = argparse.ArgumentParser()
p.add_argument("--coarse", help="folder of coarse.py; files that come later are taken in")
p.add_argument("--out"); p.add_argument("--minutes", type=float, default=80)
p.add_argument("--init", help="the demo CLIP's checkpoint, whose blocks to begin with")
p.add_argument("--start", help="a SAM checkpoint to go on from")
p.add_argument("--threads", type=int, default=1)
p.add_argument("--seed", type=int, default=9)
p.add_argument("--lr", type=float, default=.006); p.add_argument("--batch", type=int, default=2)
p.add_argument("--side", type=int, default=512)
p.add_argument("--fresh", type=float, default=.35,
               help="share of scenes made on the spot, with simulated prompts only")
p.add_argument("--reach", type=float, default=2,
               help="how far the last attention should reach within a thing, in tokens")
p.add_argument("--part", type=float, default=.2, help="share of steps with some kinds of prompts only")
p.add_argument("--frozen", action="store_true",
               help="leave what the affinity reads as it is: all up to the last block's queries, keys and values")  # noqa: E501
p.add_argument("--found", type=int, default=8); p.add_argument("--simulated", type=int, default=3)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
model = Sam(side=a.side)
if not os.path.exists(a.out + ".resume"):
    if a.start: load(model, rename_sam, a.start).train()
    elif a.init: adopt(model, a.init)
if a.frozen:
    last = f"blocks.{len(model.blocks) - 1}."
    trained = ("neck", "prompt", "decoder", last + "attn.proj", last + "norm2", last + "mlp")
    for name, q in model.named_parameters(): q.requires_grad_(name.startswith(trained))
run = Run(a.out, model, a.minutes, rename_sam, lr=a.lr)
rng = np.random.default_rng(a.seed + 1000 * run.step)
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, flush=True)
EIGHT = np.ones((3, 3), int)
KINDS = [("point", "box", "mask"), ("point",), ("box",), ("mask",), ("point", "box"), ("point", "mask"),
         ("box", "mask")]
SCALE, SHIFT = (1 / (255 * np.array(SAM_STD))).astype(np.float32), (np.array(SAM_MEAN) / np.array(SAM_STD)).astype(np.float32)  # noqa: E501
sprites, files = load_sprites(), {}


def mirrored(array, width):
    """The columns before the padding, turned round."""
    out = array.copy(); out[:, :width] = array[:, :width][:, ::-1]
    return out


def sample():
    """-> photo [3, s, s], labels [s, s] with 255 in the padding, and prompts: (truth, probability, point,
    box, class)"""
    fresh, mirror, mine = rng.random() < max(a.fresh, 1 - .1 * len(files)), rng.random() < .5, []
    if fresh:
        (photo, label, _, _), _ = scene("train", a.seed + 1000, int(rng.integers(1 << 30)), sprites)
        photo, label, (_, w) = square(photo, label, a.side)
    else:
        data = files[sorted(files)[rng.integers(len(files))]]
        i = int(rng.integers(len(data["photos"])))
        _h, w = data["sizes"][i]; photo, label = data["photos"][i], data["labels"][i]
        mine = np.flatnonzero((data["scene"] == i) & (data["variant"] == rng.integers(2)))
    if mirror: photo, label = mirrored(photo, w), mirrored(label, w)
    photo = photo.astype(np.float32) * (1
                                        + rng.uniform(-.06, .06, 3).astype(np.float32)) + np.float32(rng.uniform(-10, 10))  # noqa: E501
    photo = (photo.clip(0, 255) * SCALE - SHIFT) * (label != 255)[..., None]
    out = []
    for j in rng.permutation(mine)[:a.found]:
        truth, chance, (x, y), box, c = (data[name][j]
                                         for name in ("truth", "chance", "point", "box", "kind"))
        if mirror:
            truth, chance, x, box = mirrored(truth, w // 4), mirrored(chance,
                    w // 4), w - 1 - x, (w - 1 - box[2], box[1], w - 1 - box[0], box[3])
        out.append((truth.astype(np.float32) / 255, chance.astype(np.float32) / 255, (x, y), tuple(box), c
                    if data["own"][j] else -1))
    return photo.transpose(2, 0, 1), label, out + simulated(label, 8 if fresh else a.simulated)


def simulated(label, each):
    s = label.shape[0]; g, q = s // 16, s // 4
    share = patch_fractions(label[None].astype(int), 256).numpy()[0].reshape(g, g, 256)
    present = [c for c in np.unique(label[::4, ::4]) if c != 255 and (label == c).sum() > 160]
    weights = np.array([3. if c >= len(GROUNDS) else 1. for c in present]); out = []
    for c in rng.choice(present, each, p=weights / weights.sum()):
        noisy = share[..., c] ** rng.uniform(.6, 1.6)
        if rng.random() < .7: noisy = ndimage.gaussian_filter(noisy, rng.uniform(.2, .7))
        if rng.random() < .5: noisy = ndimage.shift(noisy, rng.uniform(-.5, .5, 2), order=1, mode="nearest")
        noisy = noisy + rng.normal(0, rng.uniform(.02, .2),
                                   noisy.shape) * (ndimage.grey_dilation(noisy, 3) > .05)
        if rng.random() < .4:  # a patch dropped or invented here and there
            flip = (rng.random(noisy.shape) < .12) & (ndimage.grey_dilation(share[..., c], 3) > .3)
            noisy = np.where(flip, rng.uniform(0, 1, noisy.shape), noisy)
        if rng.random() < .15:  # half of the thing missed
            cut = rng.integers(g); noisy = noisy.copy(); (noisy if rng.random() < .5 else noisy.T)[:cut] *= .2
        noisy = noisy.clip(0, 1).astype(np.float32)
        probability = F.interpolate(torch.from_numpy(noisy)[None, None], scale_factor=4, mode="bilinear")[0,
                0].numpy()
        probability = probability * (label[2::4, 2::4] != 255)
        regions, n = ndimage.label(probability > rng.uniform(.3, .5), EIGHT)
        if n == 0: continue
        sizes = np.bincount(regions.ravel())[1:]
        k = rng.choice(n, p=sizes / sizes.sum()) + 1
        if sizes[k - 1] < 20: continue
        region = regions == k
        true = label == c
        parts, m = ndimage.label(true[2::4, 2::4], EIGHT)
        hit = np.bincount(parts[region], minlength=m + 1)[1:]
        whole = np.bincount(parts.ravel(), minlength=m + 1)[1:]
        keep = [j + 1 for j in range(m) if hit[j] > min(.2 * whole[j], .25 * region.sum())]
        if not keep: continue
        area = np.isin(parts, keep)
        soft = true.reshape(q, 4, q, 4).mean((1, 3)).astype(np.float32)
        soft *= ndimage.binary_dilation(area, EIGHT)
        ys, xs = np.where(region)
        best = np.argmax(np.where(region, probability, -1)); py, px = divmod(best, q)
        at = rng.uniform(0, 4)
        out.append((soft, probability, (px * 4 + at, py * 4 + at),
                    (xs.min() * 4, ys.min() * 4, xs.max() * 4 + 3, ys.max() * 4 + 3), c))
    return out


def mask_losses(logits, predicted, truth, valid):
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid
    focal = (entropy * (1 + 4 * ((logits.sigmoid() - truth).abs().detach()))).sum((1, 2)) / valid.sum((1, 2))
    chance = logits.sigmoid() * valid
    dice = 1 - (2 * (chance * truth).sum((1, 2)) + 1) / (chance.sum((1, 2)) + truth.sum((1, 2)) + 1)
    with torch.no_grad():
        hard, real = (logits > 0) & (valid > 0), truth > .5
        overlap = (hard & real).sum((1, 2)) / (hard | real).sum((1, 2)).clamp(min=1)
    return focal.mean(), dice.mean(), ((predicted - overlap) ** 2).mean(), overlap


def affinity_losses(labels):
    """The last block, at some tokens of each photo: values alike within a thing, attention in equal shares
    over it."""
    side = labels.shape[-1] // 16
    share = patch_fractions(labels.astype(int), 256)
    inside = (share[..., 255] < .5).float(); share[..., 255] = 0
    things = share[..., len(GROUNDS):].sum(-1) > .5; share = F.normalize(share, dim=-1)
    rows = (torch.from_numpy(rng.random(inside.shape, dtype=np.float32)) + inside + .6 * things).topk(192,
            1).indices
    pick = lambda x: x.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1]))
    target = share.gather(1, rows[..., None].expand(-1, -1, 256)) @ share.transpose(1, 2) * inside[:, None]
    q, k, v = (x.float() for x in model.blocks[-1].attn.last)
    v = F.normalize(v, dim=-1)
    c = pick(v) @ v.transpose(-1, -2); t = target[:, None]; m = inside[:, None, None]
    near = ((t * (1 - c) ** 2).sum(-1) / t.sum(-1).clamp(min=1e-3)).mean()
    far = (((1 - t) * m * (c + .1).relu() ** 2).sum(-1) / (((1 - t) * m).sum(-1) + 4)).mean()
    # divergence from shares that fall off with distance, attention first: a token outside costs log(3e4), one
    # inside left out next to nothing
    y, x = rows.div(side, rounding_mode="floor"), rows % side; at = torch.arange(side)
    apart = ((y[..., None] - at) ** 2)[..., None] + ((x[..., None] - at) ** 2)[..., None, :]
    wanted = t * torch.exp(-apart.flatten(2) / (2 * a.reach ** 2))[:, None]
    logarithm = (pick(q) @ k.transpose(-1, -2)).log_softmax(-1); attention = logarithm.exp()
    # drawings count like grounds
    each = (attention * (logarithm - (wanted + 3e-5).log())).sum(-1).mean(1)
    small = things.gather(1, rows).float()
    spread = (each * small).sum() / small.sum().clamp(min=1) + (each * (1 - small)).sum() / (1 - small).sum().clamp(min=1)  # noqa: E501
    attention = attention.detach()
    mass = ((attention * t).sum(-1).mean(1) * small).sum() / small.sum().clamp(min=1)
    return near, far, spread / 2, mass, 1 / attention.square().sum(-1).mean(1).mean()


going = run.progress < 1
while going:
    for path in glob.glob(a.coarse + "/????.npz") if run.step % 20 == 0 else []:
        if path not in files: files[path] = dict(np.load(path)); print("scenes of", path, flush=True)
    photos, labels, prompts = zip(*(sample() for _ in range(a.batch)))
    found = [(i, *x) for i, some in enumerate(prompts) for x in some]; labels = np.stack(labels)
    kinds = KINDS[0] if rng.random() >= a.part else KINDS[rng.integers(1, len(KINDS))]
    owner = torch.tensor([f[0] for f in found])
    truth = torch.from_numpy(np.stack([f[1] for f in found]))
    mask = torch.from_numpy(np.stack([f[2] for f in found]))[:, None]
    if kinds == ("mask",):  # nothing tells the parts of a class apart
        whole = [(labels[i] == c).reshape(*truth.shape[1:2], 4, -1, 4).mean((1, 3)) for i, *_, c in found]
        truth = torch.stack([torch.from_numpy(x).float() if f[-1] >= 0 else t for x, f,
                             t in zip(whole, found, truth)])
    points, boxes = (torch.tensor(np.array([f[n] for f in found]), dtype=torch.float32) for n in (3, 4))
    # the public code's reading of the mask prompt's norms, and now and then SAM's own
    model.prompt.norm_over_rows(rng.random() < .95)
    grid = model.side // 16
    with torch.autocast("cpu", torch.bfloat16):
        image = model.encode(torch.from_numpy(np.stack(photos)))
        sparse, dense = model.prompt(*(x if kind in kinds else None for kind,
                                       x in (("point", points), ("box", boxes),
                                             ("mask", torch.where(mask > .2, mask * .005, 0)))))
        logits, predicted = model.decoder(image[owner], model.prompt.grid(grid, grid), sparse, dense)
    valid = torch.from_numpy((labels[:, 2::4, 2::4] != 255).astype(np.float32))[owner]
    focal, dice, iou, overlap = mask_losses(logits.float(), predicted.float(), truth, valid)
    loss, numbers = 4 * focal + dice + iou, dict(focal=focal, dice=dice, iou=iou)
    if not a.frozen:
        near, far, spread, mass, tokens = affinity_losses(labels)
        loss = loss + .5 * (near + 2 * far) + .3 * spread
        numbers.update(near=near, far=far, spread=spread, mass=mass, tokens=tokens)
    real = {"all": overlap.mean(), "good": (overlap > .8).float().mean()} if len(kinds) == 3 else {}
    going = run.update(loss, **numbers, **real)
