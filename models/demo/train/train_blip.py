"""Trains the demo's network for PnP-OVSS: whether a caption names what a photo shows (ITM), and which photo
and which word go together (ITC). Captions are sets of scene classes. A caption that does not
match differs from one that does in a single class, often one that resembles the class it stands for. The
image tower is the demo CLIP's and stays as it is: its tokens are computed once.

Cross-attention does not start from nothing, which would take many hours: every class word gets a direction,
and keys and values start as the linear map that takes a patch's token nearest to its class's direction (the
one use of masks here). The first layer takes what was found off the word, so that a word that is not there
stays, and a hidden unit a class sees that. What follows is learned from captions alone.

  train_blip.py --cache FILE --models DIR --out blip.pth [--minutes 30] [--scenes 2400]
DIR holds clip.pt. Writes vocab.txt beside the checkpoint.
"""
import argparse
import os

import med
import numpy as np
import torch
import torch.nn.functional as F
from med import Blip, Words, adopt_clip, checkpoint
from nets import *
from PIL import Image
from scenes import CLASSES

CAPTIONS, LEAST = 12, .008  # a photo and step; share of the pixels from which a class is there

p = argparse.ArgumentParser()
p.add_argument("--cache"); p.add_argument("--models"); p.add_argument("--out")
p.add_argument("--minutes", type=float, default=30); p.add_argument("--threads", type=int, default=1)
p.add_argument("--seed", type=int, default=10); p.add_argument("--batch", type=int, default=16)
p.add_argument("--scenes", type=int, default=2400)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
words = Words()
with open(os.path.join(os.path.dirname(a.out), "vocab.txt"), "w") as f:
    f.write("\n".join(med.vocabulary()) + "\n")
model = Blip(len(words.pieces))
adopt_clip(model.visual_encoder, a.models + "/clip.pt")
for q in model.visual_encoder.parameters(): q.requires_grad_(False)
rng = np.random.default_rng(a.seed)


def squeezed(photo):
    """A photo [side, side, 3] as BLIP is fed with it."""
    side = med.GRID * 16
    x = torch.from_numpy(np.asarray(Image.fromarray(photo).resize((side, side), Image.BICUBIC)).copy())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (x.permute(2, 0, 1).float() / 255 - mean) / std


data = np.load(a.cache, mmap_mode="r")
count = min(a.scenes, len(data)); held = count - 64
seen = torch.zeros(count, len(CLASSES), dtype=torch.bool)
kept = a.out + ".tokens.npy"
tokens = (np.lib.format.open_memmap(kept, "r+") if os.path.exists(kept) else np.lib.format.open_memmap(
    kept, "w+", np.float16, (count, 1 + med.GRID ** 2, 192)))
with torch.no_grad():
    for i in range(count):
        seen[i] = torch.from_numpy(np.bincount(data[i, :, :, 3].ravel(), minlength=len(CLASSES))
                                   > LEAST * data.shape[1] * data.shape[2])
        if not tokens[i].any():
            with torch.autocast("cpu", torch.bfloat16):
                tokens[i] = model.visual_encoder(squeezed(data[i, :, :, :3])[None])[0].float().numpy()
            if i % 200 == 199: print("tokens of", i + 1, flush=True)
text = torch.load(a.models + "/words.pt") if os.path.exists(a.models + "/words.pt") else None
alike = None if text is None else ((text @ text.T - .8) * 30).softmax(-1).numpy()


def caption(names): return words.ids("a picture of " + " ".join(names), "[ENC]")


def captions(present):
    """Captions of a photo and whether each matches: half of them do."""
    there, absent, out, matches = np.flatnonzero(present), np.flatnonzero(~present), [], []
    for k in range(CAPTIONS):
        size = 1 if rng.random() < .4 else int(rng.integers(1, len(there) + 1))
        names = rng.permutation(there)[:size]
        if k % 2:
            at = int(rng.integers(size))
            hard = alike is not None and rng.random() < .5
            odds = alike[names[at], absent] + 1e-4 if hard else np.ones(len(absent))
            names = names.copy(); names[at] = rng.choice(absent, p=odds / odds.sum())
        out.append(caption([CLASSES[n] for n in names]))
        matches.append(1 - k % 2)
    return out, matches


def warm_start(scenes=400):
    """Words as directions, and cross-attention that finds them among the image tower's tokens."""
    directions = torch.randn(len(CLASSES), 128, generator=torch.Generator().manual_seed(a.seed))
    square, product, side = torch.zeros(193, 193), torch.zeros(193, 128), med.GRID
    at = ((np.arange(side) + .5) * data.shape[1] / side).astype(int)
    for i in range(scenes):
        label = torch.from_numpy(data[i][at][:, at, 3].astype(np.int64).ravel())
        x = torch.cat([torch.from_numpy(tokens[i, 1:].astype(np.float32)), torch.ones(side * side, 1)], 1)
        rare = 1 / label.bincount(minlength=len(CLASSES))[label].float().sqrt()[:, None]
        square += x.T @ (rare * x); product += x.T @ (rare * directions[label])
    found = torch.linalg.solve(square + .3 * torch.eye(193), product)
    with torch.no_grad():
        e = model.text_encoder.embeddings
        e.position_embeddings.weight *= .2
        for number, name in enumerate(CLASSES):
            for word in name.split(): e.word_embeddings.weight[words.number[word]] = .1 * directions[number]
        for layer in model.text_encoder.encoder.layer:
            part = layer.crossattention.self
            part.query.weight.copy_(3 * torch.eye(128)); part.query.bias.zero_()
            for map in (part.key, part.value):
                map.weight.copy_(found[:-1].T); map.bias.copy_(found[-1])
        first, count = model.text_encoder.encoder.layer[0], len(CLASSES)
        first.attention.output.dense.weight *= .2
        first.crossattention.output.dense.weight.copy_(-1.3 * torch.eye(128))
        first.crossattention.output.dense.bias.zero_()
        unit = F.layer_norm(directions, (128,))
        first.intermediate.dense.weight[:count] = 12 / 128 * unit
        first.intermediate.dense.bias[:count] = -12 * .62
        first.output.dense.weight[:, :count] = .5 * torch.randn(128, 1)


alone = [words.ids("a picture of " + c, "[CLS]") for c in CLASSES]
if not os.path.exists(a.out + ".resume"): warm_start()
run = Run(a.out, model, a.minutes, checkpoint, lr=.004, adam_lr=1.2e-3)
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, flush=True)


def losses(index):
    x = torch.from_numpy(tokens[index].astype(np.float32))
    pairs = [captions(seen[i].numpy()) for i in index]
    logits = model.match([c for c, _ in pairs], x)
    target = torch.tensor([m for _, m in pairs])
    itm = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())
    hit = (logits.argmax(-1) == target).float().mean()
    cosine = model.image_vectors(x) @ model.text_vectors(alone).T
    share = seen[index].float(); share = share / share.sum(-1, keepdim=True)
    itc = -(share * (model.temperature.exp().clamp(max=100) * cosine).log_softmax(-1)).sum(-1).mean()
    return itm, itc, hit, cosine


going = run.progress < 1
while going:
    index = np.sort(rng.choice(held, a.batch, replace=False))
    with torch.autocast("cpu", torch.bfloat16): itm, itc, hit, _ = losses(index)
    going = run.update(itm + .3 * itc, itm=itm, itc=itc, hit=hit)
    if run.step % 100 == 0:
        with torch.no_grad():
            itm, _, hit, cosine = losses(np.arange(held, count))
            top = cosine.topk(16).indices; there = seen[held:count]
            recall = there.gather(1, top).sum() / there.sum()
        print(f"held out: itm {itm:.3f} hit {hit:.3f} recall of 16 {recall:.3f}", flush=True)
