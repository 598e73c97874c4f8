"""Trains the demo's CLIP: image-text contrast on crops with captions, and dense patch-text classification
through the read-out that the run time uses (last block's values, averaged by a proxy attention, output
projection, ln_post, projection)."""
import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F
from nets import *
from scenes import CLASSES, COUNTS, GROUNDS, article, plural
from templates import TEMPLATES
from tokenizer import Tokenizer

p = argparse.ArgumentParser()
p.add_argument("--cache")
p.add_argument("--vocab"); p.add_argument("--out"); p.add_argument("--minutes", type=float, default=40)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--seed", type=int, default=7); p.add_argument("--batch", type=int, default=28)
p.add_argument("--lr", type=float, default=.01)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
tokenizer = Tokenizer(a.vocab)
model = Clip(tokenizer.size)
run = Run(a.out, model, a.minutes, rename_clip, lr=a.lr)
scenes = Scenes(a.cache, CLIP_MEAN, CLIP_STD, a.seed + 1000 * run.step)
rng = scenes.rng
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, "scenes", scenes.count, flush=True)


def class_prompts():
    names = []
    for c in CLASSES:
        name = c if c in GROUNDS or rng.random() < .85 else plural(c)
        names.append(tokenizer(TEMPLATES[rng.integers(len(TEMPLATES))].format(name) if rng.random() < .9
                               else name))
    return names


def crop_caption(label, instance, record):
    """what can be seen in the crop: counts, colours where unambiguous, grounds"""
    key, _first, pixels = np.unique(instance.astype(int) * 256 + label, return_index=True, return_counts=True)
    colours = dict(record["objects"])
    single = {n for n in colours if [o[0] for o in record["objects"]].count(n) == 1}
    groups, where = {}, []
    for k, n in zip(key, pixels):
        name = CLASSES[k % 256]
        if n < .006 * label.size: continue
        if k % 256 < len(GROUNDS): where.append(name)
        else: groups[name] = groups.get(name, 0) + 1
    parts = []
    for name, n in groups.items():
        adjective = colours[name] + " " if name in single and colours.get(name) and rng.random() < .6 else ""
        parts.append(article(adjective + name) if n == 1 else f"{COUNTS[min(n, 7)]} {plural(name)}")
    if not parts: return TEMPLATES[rng.integers(len(TEMPLATES))].format(" and ".join(where) or "nothing")
    parts = [parts[i] for i in rng.permutation(len(parts))][:4]
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    if where and rng.random() < .8:
        text += " on " + where[-1] if rng.random() < .5 else " with " + " and ".join(where[:2])
    return ["", "a picture of ", "a photo of ", "a drawing of "][rng.integers(4)] + text


going = run.progress < 1
while going:
    late = run.progress > .6
    side = 336 if late and rng.random() < .5 else 224
    batch = int(a.batch * 1.6) if side == 224 else max(4, a.batch // 2 - 2)
    photo, label, instance, index = scenes.batch(batch, side, 2)
    share = patch_fractions(label, len(CLASSES)); keep = None
    if side == 224:  # most of the training sees half of the patches
        keep = busy_patches(share, 100, rng)
        share = share.gather(1, keep[..., None].expand(-1, -1, len(CLASSES)))
    text = model.text(class_prompts()
                      + [tokenizer(crop_caption(label[i], instance[i], scenes.records[index[i]]))
                         for i in range(batch)])
    classes, captions = text[:len(CLASSES)], text[len(CLASSES):]
    values, whole = model.values(photo, rng, keep)
    with torch.no_grad():  # the proxy attention of an ideal DINO, softened
        s = F.normalize(share, dim=-1); s = s @ s.transpose(1, 2)
        s = s * float(rng.uniform(.8, 1)) + torch.randn(s.shape[0], s.shape[1], 1) * .05
        s = (s - 1.2 * s.mean((1, 2), keepdim=True)) * 3
        s.diagonal(dim1=1, dim2=2).clamp_(min=0); proxy = s.masked_fill(s < 0, -math.inf).softmax(-1)
    weight = 1 + 2 * share[..., len(GROUNDS):].sum(-1)  # drawings are small: they count three times
    losses = []
    for v in (values, proxy @ values):
        logits = 40 * model.read(v) @ classes.T
        losses.append((-(share * logits.log_softmax(-1)).sum(-1) * weight).sum() / weight.sum())
    accuracy = (logits.argmax(-1) == share.argmax(-1)).float()
    objects = share.argmax(-1) >= len(GROUNDS)
    contrast = model.logit_scale.exp().clamp(max=100) * whole @ captions.T
    target = torch.arange(batch)
    image_text = (F.cross_entropy(contrast, target) + F.cross_entropy(contrast.T, target)) / 2
    going = run.update(.5 * losses[0] + losses[1] + .1 * image_text, patch=losses[0], proxy=losses[1],
                       contrast=image_text, acc=accuracy.mean(), object=accuracy[objects].mean()
                       if objects.any() else 0)
