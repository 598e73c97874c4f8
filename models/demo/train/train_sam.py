"""Trains the demo's SAM on exact masks with the prompts the run time uses: one foreground point, the box and a low-resolution mask
(0.005 times the class probability where it exceeds a threshold), all drawn from a *coarse, wrong* region, so that refinement corrects it.
Losses: cross-entropy + dice on the single-mask output, squared error of the predicted overlap, and two on the last block:
cosine of its values and mass of its attention within a thing (Trident's affinity reads both)."""
import argparse
import numpy as np, torch, torch.nn.functional as F
from scipy import ndimage
from PIL import Image
from nets import *
from scenes import CLASSES, GROUNDS

p = argparse.ArgumentParser()
p.add_argument("--cache"); p.add_argument("--out"); p.add_argument("--init"); p.add_argument("--minutes", type=float, default=40)
p.add_argument("--threads", type=int, default=1); p.add_argument("--seed", type=int, default=9); p.add_argument("--lr", type=float, default=.008)
p.add_argument("--side", type=int, default=512); p.add_argument("--full", type=float, default=.65, help="progress at which whole padded photos replace crops")
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
model = Sam(side=a.side)
if a.init and not os.path.exists(a.out + ".resume"): adopt(model, a.init)
run = Run(a.out, model, a.minutes, rename_sam, lr=a.lr)
scenes = Scenes(a.cache, SAM_MEAN, SAM_STD, a.seed + 1000 * run.step)
rng = scenes.rng
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, flush=True)
EIGHT = np.ones((3, 3), int)


def resize(a, h, w):
    photo = np.asarray(Image.fromarray(np.ascontiguousarray(a[..., :3])).resize((w, h), Image.BILINEAR))
    y, x = ((np.arange(h) + .5) * a.shape[0] / h).astype(int), ((np.arange(w) + .5) * a.shape[1] / w).astype(int)
    return photo, a[..., 3][y][:, x]


def sample(size, whole):
    """photos [size, 3, s, s]; labels [size, s, s], 255 in the padding"""
    photos, labels = [], []
    for _ in range(size):
        i = int(rng.integers(scenes.count)); full = scenes.full
        if whole:
            h, w = [(full, full), (full, int(full * .75)), (int(full * .75), full), (int(full * .7), full)][rng.integers(4)]
            y, x = rng.integers(full - h + 1), rng.integers(full - w + 1)
            k = a.side / max(h, w); out = (int(h * k + .5), int(w * k + .5)); s = a.side
        else:
            h = w = int(rng.integers(176, 272)); y, x = rng.integers(full - h + 1, size=2)
            out = (256, 256); s = 256
        cut = scenes.views[i][y:y + h, x:x + w]
        if rng.random() < .5: cut = cut[:, ::-1]
        photo, label = resize(cut, *out)
        photo = photo.astype(np.float32) * (1 + rng.uniform(-.06, .06, 3).astype(np.float32)) + np.float32(rng.uniform(-10, 10))
        padded = np.zeros((3, s, s), np.float32); padded[:, :out[0], :out[1]] = (photo.clip(0, 255) * scenes.scale - scenes.shift).transpose(2, 0, 1)
        ids = np.full((s, s), 255, np.uint8); ids[:out[0], :out[1]] = label
        photos.append(padded); labels.append(ids)
    return torch.from_numpy(np.stack(photos)), np.stack(labels)


def prompts(label, each):
    """coarse regions of one label map -> (mask 4g x 4g of the truth, probability map with threshold and alpha, point, box) in 4-pixel cells"""
    s = label.shape[0]; g, q = s // 16, s // 4
    share = patch_fractions(label[None].astype(int), 256).numpy()[0].reshape(g, g, 256)
    present = [c for c in np.unique(label[::4, ::4]) if c != 255 and (label == c).sum() > 160]
    if not present: return []
    weights = np.array([3. if c >= len(GROUNDS) else 1. for c in present]); out = []
    for _ in range(each * 2):
        if len(out) == each: break
        c = present[rng.choice(len(present), p=weights / weights.sum())]
        noisy = share[..., c] ** rng.uniform(.6, 1.6)
        if rng.random() < .7: noisy = ndimage.gaussian_filter(noisy, rng.uniform(.2, .7))
        if rng.random() < .5: noisy = ndimage.shift(noisy, rng.uniform(-.5, .5, 2), order=1, mode="nearest")
        noisy = noisy + rng.normal(0, rng.uniform(.02, .2), noisy.shape) * (ndimage.grey_dilation(noisy, 3) > .05)
        if rng.random() < .4:  # a patch dropped or invented here and there
            flip = (rng.random(noisy.shape) < .12) & (ndimage.grey_dilation(share[..., c], 3) > .3)
            noisy = np.where(flip, rng.uniform(0, 1, noisy.shape), noisy)
        if rng.random() < .15:  # half of the thing missed
            cut = rng.integers(g); noisy = noisy.copy(); (noisy if rng.random() < .5 else noisy.T)[:cut] *= .2
        noisy = noisy.clip(0, 1).astype(np.float32)
        probability = F.interpolate(torch.from_numpy(noisy)[None, None], scale_factor=4, mode="bilinear")[0, 0].numpy()
        valid = label[2::4, 2::4] != 255; probability = probability * valid
        regions, n = ndimage.label(probability > rng.uniform(.3, .5), EIGHT)
        if n == 0: continue
        sizes = np.bincount(regions.ravel())[1:]
        k = rng.choice(n, p=sizes / sizes.sum()) + 1
        if sizes[k - 1] < 20: continue
        region = regions == k
        true = label == c
        parts, m = ndimage.label(true[2::4, 2::4], EIGHT)
        hit = np.bincount(parts[region], minlength=m + 1)[1:]; whole = np.bincount(parts.ravel(), minlength=m + 1)[1:]
        keep = [j + 1 for j in range(m) if hit[j] > .2 * whole[j] or hit[j] > .25 * region.sum()]
        if not keep: continue
        area = np.isin(parts, keep)
        soft = true.reshape(q, 4, q, 4).mean((1, 3)).astype(np.float32)
        soft *= ndimage.binary_dilation(area, EIGHT)
        ys, xs = np.where(region)
        best = np.argmax(np.where(region, probability, -1)); py, px = divmod(best, q)
        at = rng.uniform(0, 4)
        out.append((soft, np.where(probability > .2, probability * .005, 0).astype(np.float32), (px * 4 + at, py * 4 + at),
                    (xs.min() * 4, ys.min() * 4, xs.max() * 4 + 3, ys.max() * 4 + 3)))
    return out


going = run.progress < 1
while going:
    whole = run.progress > a.full
    photos, labels = sample(2 if whole else 8, whole)
    n, g = len(photos), photos.shape[-1] // 16
    oy, ox = (0, 0) if whole else rng.integers(a.side // 16 - g + 1, size=2)
    found = [(i, *x) for i in range(n) for x in prompts(labels[i], 12 if whole else 5)]
    if not found: continue
    image = model.encode(photos, oy, ox)
    owner = torch.tensor([f[0] for f in found]); truth = torch.from_numpy(np.stack([f[1] for f in found])); mask = torch.from_numpy(np.stack([f[2] for f in found]))[:, None]
    offset = torch.tensor([ox * 16., oy * 16.], dtype=torch.float32)
    points = torch.tensor([f[3] for f in found], dtype=torch.float32) + offset
    boxes = torch.tensor(np.array([f[4] for f in found]), dtype=torch.float32) + offset.repeat(2)
    model.prompt.norm_over_rows(rng.random() < .75)  # both readings of the mask prompt's norms
    sparse, dense = model.prompt(points, boxes, mask)
    logits, predicted = model.decoder(image[owner], model.prompt.grid(g, g, oy, ox), sparse, dense)
    valid = torch.from_numpy((labels[:, 2::4, 2::4] != 255).astype(np.float32))[owner]
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid
    focal = (entropy * (1 + 4 * ((logits.sigmoid() - truth).abs().detach()))).sum((1, 2)) / valid.sum((1, 2))
    chance = logits.sigmoid() * valid
    dice = 1 - (2 * (chance * truth).sum((1, 2)) + 1) / (chance.sum((1, 2)) + truth.sum((1, 2)) + 1)
    with torch.no_grad():
        hard, real = (logits > 0) & (valid > 0), truth > .5
        overlap = (hard & real).sum((1, 2)) / (hard | real).sum((1, 2)).clamp(min=1)
    iou = (predicted - overlap) ** 2
    # the last block: values alike within a thing, attention staying in it
    share = patch_fractions(labels.astype(int), 256); inside = (share[..., 255] < .5).float(); share[..., 255] = 0
    share = F.normalize(share, dim=-1); target = share @ share.transpose(1, 2)
    both = inside[:, :, None] * inside[:, None]
    attention, v = model.blocks[-1].attn.last
    v = F.normalize(v, dim=-1); c = v @ v.transpose(-1, -2); t = target[:, None]; m = both[:, None]
    near = ((t * m * (1 - c) ** 2).sum(-1) / (t * m).sum(-1).clamp(min=1e-3)).mean()
    far = (((1 - t) * m * (c + .1).relu() ** 2).sum(-1) / (((1 - t) * m).sum(-1) + 4)).mean()
    mass = ((attention.log_softmax(-1) + (t * m + 1e-4).log()).logsumexp(-1) * inside[:, None]).sum() / (3 * inside.sum())
    loss = 4 * focal.mean() + dice.mean() + iou.mean() + .5 * (near + 2 * far) - .1 * mass
    going = run.update(loss, focal=focal.mean(), dice=dice.mean(), overlap=overlap.mean(), iou=iou.mean(), near=near, far=far, mass=mass, good=(overlap > .8).float().mean())
