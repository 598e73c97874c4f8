"""Trains the demo's network for RADSeg: every patch is classified against the words of all classes, as the
run time reads them, both straight behind the last block and averaged by SCGA. Starts from the demo CLIP's
image tower, whose text tower says what a word is.

  train_radseg.py --cache FILE --models DIR --tower ID --out radseg.pth.tar [--minutes 40]
DIR holds clip.pt and vocab.txt.gz; ID is the id of the model file that encodes the words (`trident inspect`).
"""
import argparse
import os

import torch
import torch.nn.functional as F
from evaluate import load
from nets import *
from radio import Radio, adopt_clip, checkpoint
from scenes import CLASSES, GROUNDS
from templates import TEMPLATES
from tokenizer import Tokenizer

LOGIT_SCALE = 100  # RADSeg's

p = argparse.ArgumentParser()
p.add_argument("--cache"); p.add_argument("--models"); p.add_argument("--tower"); p.add_argument("--out")
p.add_argument("--minutes", type=float, default=40); p.add_argument("--threads", type=int, default=1)
p.add_argument("--seed", type=int, default=9); p.add_argument("--batch", type=int, default=40)
p.add_argument("--lr", type=float, default=.006)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
tokenizer = Tokenizer(a.models + "/vocab.txt.gz")
clip = load(Clip(tokenizer.size), rename_clip, a.models + "/clip.pt")
with torch.no_grad():
    words = torch.stack([F.normalize(clip.text([tokenizer(t.format(c)) for t in TEMPLATES]).mean(0), dim=0)
                         for c in CLASSES])
del clip
model = Radio()
if not os.path.exists(a.out + ".resume"): adopt_clip(model, a.models + "/clip.pt")
run = Run(a.out, model, a.minutes, lambda state: checkpoint(state, a.tower), lr=a.lr, adam_lr=1e-3)
scenes = Scenes(a.cache, CLIP_MEAN, CLIP_STD, a.seed + 1000 * run.step)
rng = scenes.rng
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, "scenes", scenes.count, flush=True)
going = run.progress < 1
while going:
    side = 336 if run.progress > .5 and rng.random() < .6 else 224
    photo, label, _instance, _index = scenes.batch(a.batch if side == 224 else max(4, a.batch // 4), side, 2)
    share = patch_fractions(label, len(CLASSES)); keep = None
    if side == 224:  # half of the patches
        keep = busy_patches(share, 100, rng)
        share = share.gather(1, keep[..., None].expand(-1, -1, len(CLASSES)))
    weight = 1 + 2 * share[..., len(GROUNDS):].sum(-1)  # drawings are small: they count three times
    with torch.autocast("cpu", torch.bfloat16):
        g = model.features(photo, rng, keep).float()
        vectors = [model.read(x) for x in (g, model.aggregate(g))]
    losses = []
    for z in vectors:
        logits = LOGIT_SCALE * z @ words.T
        losses.append((-(share * logits.log_softmax(-1)).sum(-1) * weight).sum() / weight.sum())
    best = logits.argmax(-1) == share.argmax(-1)
    objects = share.argmax(-1) >= len(GROUNDS)
    going = run.update(.5 * losses[0] + losses[1], patch=losses[0], scga=losses[1], acc=best.float().mean(),
                       object=best[objects].float().mean() if objects.any() else 0)
