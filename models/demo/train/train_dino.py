"""Trains the demo's DINO-architecture ViT. Not self-distillation: patches of one thing are pulled together,
others pushed to a cosine of zero or less, with the exact masks as teacher (supervised Gram matching). Starts
from the demo CLIP's trunk if given."""
import argparse

import torch
import torch.nn.functional as F
from nets import *
from scenes import CLASSES

p = argparse.ArgumentParser()
p.add_argument("--cache")
p.add_argument("--out"); p.add_argument("--init"); p.add_argument("--minutes", type=float, default=20)
p.add_argument("--threads", type=int, default=1)
p.add_argument("--seed", type=int, default=8); p.add_argument("--batch", type=int, default=24)
p.add_argument("--depth", type=int, default=4); p.add_argument("--lr", type=float, default=.008)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
model = Dino(depth=a.depth)
if a.init and not os.path.exists(a.out + ".resume"): adopt(model.trunk, a.init)
run = Run(a.out, model, a.minutes, rename_dino, lr=a.lr)
scenes = Scenes(a.cache, DINO_MEAN, DINO_STD, a.seed + 1000 * run.step)
going = run.progress < 1
while going:
    side = 336 if run.progress > .6 and scenes.rng.random() < .5 else 224
    photo, label, instance, index = scenes.batch(a.batch if side == 224 else max(4, a.batch * 4 // 10), side,
                                                 2)
    share = F.normalize(patch_fractions(label, len(CLASSES)), dim=-1)
    target = share @ share.transpose(1, 2)
    f = F.normalize(model(photo, scenes.rng), dim=-1)
    s = f @ f.transpose(1, 2)
    # every patch counts the same, however large its own thing is
    near = ((target * (1 - s) ** 2).sum(-1) / target.sum(-1)).mean()
    far = (((1 - target) * (s + .1).relu() ** 2).sum(-1) / ((1 - target).sum(-1) + 4)).mean()
    hard = (((1 - target) * (s - .3).relu()).sum(-1) / target.sum(-1).clamp(min=2)).mean()
    with torch.no_grad():
        linked = (s - 1.2 * s.mean((1, 2), keepdim=True)) > 0
        purity = ((linked * target).sum(-1) / linked.sum(-1).clamp(min=1)).mean()
    going = run.update(near + 2 * far + .3 * hard, near=near, far=far, hard=hard, purity=purity)
