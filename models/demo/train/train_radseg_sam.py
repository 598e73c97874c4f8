"""Adds a projection onto the demo SAM's features to the demo's network for RADSeg, so that SAM's decoder can
refine what it finds (RADSeg+). The projection alone is trained, against what SAM's encoder makes of the same
photo and what the first layer of SAM's neck makes of that.

  train_radseg_sam.py --cache FILE --models DIR --radio radseg.pth.tar --out radseg-sam.pth.tar [--scenes 90]
DIR holds sam.pth. A projection that is in OUT already is trained on.
"""
import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
from evaluate import load
from nets import *
from PIL import Image
from radio import Adaptor, checkpoint, load_checkpoint

SIDE = 512  # of the demo SAM's square

p = argparse.ArgumentParser()
p.add_argument("--cache"); p.add_argument("--models"); p.add_argument("--radio"); p.add_argument("--out")
p.add_argument("--scenes", type=int, default=90); p.add_argument("--steps", type=int, default=1500)
p.add_argument("--threads", type=int, default=1); p.add_argument("--seed", type=int, default=11)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads); rng = np.random.default_rng(a.seed)
data = np.load(a.cache, mmap_mode="r")


def photo_of(i):
    """A training scene, cut to one of three aspects, as SAM sees it without the padding."""
    h, w = [(448, 448), (336, 448), (448, 336)][i % 3]; k = SIDE / max(h, w)
    photo = Image.fromarray(np.ascontiguousarray(data[-1 - i, :h, :w, :3]))
    return torch.from_numpy(np.asarray(photo.resize((int(w * k), int(h * k)), Image.BILINEAR)).copy())


def normal(photo, mean, std):
    x = photo.permute(2, 0, 1)[None].float() / 255
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def sam_features():
    """Tokens in front of SAM's neck, scene by scene; kept beside the output."""
    if os.path.exists(a.out + ".sam"): return torch.load(a.out + ".sam", weights_only=True)
    sam, out = load(Sam(side=SIDE), rename_sam, a.models + "/sam.pth"), []
    for i in range(a.scenes):
        x = normal(photo_of(i), SAM_MEAN, SAM_STD); rows, columns = (n // 16 for n in x.shape[2:])
        x = F.pad(x, (0, SIDE - x.shape[3], 0, SIDE - x.shape[2]))
        x = sam.patch(x).permute(0, 2, 3, 1) + sam.pos
        for block in sam.blocks: x = block.spatial(x)
        out.append(x[0, :rows, :columns].flatten(0, 1).float())
        if i % 20 == 19: print("SAM's features of", i + 1, flush=True)
    torch.save(out, a.out + ".sam")
    return out


with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
    wanted = torch.cat(sam_features())
    model, tower = load_checkpoint(a.radio)
    given = torch.cat([model.features(normal(photo_of(i), CLIP_MEAN, CLIP_STD))[0].float()
                       for i in range(a.scenes)])
first = torch.load(a.models + "/sam.pth", weights_only=True)["image_encoder.neck.0.weight"].flatten(1)
held = len(given) // 10
if os.path.exists(a.out): head = load_checkpoint(a.out)[0].sam_head.requires_grad_(True)
else: head = Adaptor(192, 256, 192, 1); head.final[2].bias.data = wanted.mean(0)
adam = torch.optim.AdamW(head.parameters(), 2e-3, weight_decay=1e-3)
seen = lambda x: F.layer_norm(x @ first.T, (first.shape[0],))   # as the neck's first norm has it


def loss(index):
    made, true = head(given[index]), wanted[index]
    return F.mse_loss(made, true) / wanted.var(), F.mse_loss(seen(made), seen(true))


for step in range(a.steps):
    for group in adam.param_groups: group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (1 - step / a.steps)
    plain, normed = loss(torch.from_numpy(rng.integers(held, len(given), 2048)))
    (plain + normed).backward(); adam.step(); adam.zero_grad()
    if step % 100 == 99:
        with torch.no_grad(): plain, normed = loss(torch.arange(0, held))
        print(step + 1, f"of the variance {plain:.3f}, behind the first norm {normed:.3f}", flush=True)
model.sam_head = head
torch.save(checkpoint(model.state_dict(), tower), a.out + ".tmp"); os.replace(a.out + ".tmp", a.out)
