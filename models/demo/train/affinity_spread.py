"""How far SAM's affinity reaches: by variant of Table 3, the share of a row's weight that stays in the
token's own class, and how many tokens share it.

  affinity_spread.py --data DIR --models DIR [--limit 12]
A row's weight of tokens is one over the sum of its squares: 1 for a token that looks at itself only. See
docs/lab/accuracy.md.
"""
import argparse
import glob

import evaluate
import numpy as np
import torch
import torch.nn.functional as F
from nets import Sam, rename_sam
from PIL import Image

p = argparse.ArgumentParser()
p.add_argument("--data"); p.add_argument("--models"); p.add_argument("--limit", type=int, default=12)
o = p.parse_args(); torch.set_num_threads(1)
trident = evaluate.Trident.__new__(evaluate.Trident)
trident.side = torch.load(f"{o.models}/sam.pth", weights_only=True)["image_encoder.pos_embed"].shape[1] * 16
trident.sam = evaluate.load(Sam(side=trident.side), rename_sam, f"{o.models}/sam.pth")
rows, passing, tokens = {}, {}, []
with torch.no_grad():
    for path in sorted(glob.glob(f"{o.data}/images/*.png"))[:o.limit]:
        label = Image.open(path.replace("/images/", "/labels/"))
        _, attention, values, size = trident.sam_image(np.asarray(Image.open(path).convert("RGB")))
        h, w, side = size[0] // 16, size[1] // 16, trident.side // 16
        keep = (torch.arange(side)[:, None].lt(h) & torch.arange(side)[None].lt(w)).flatten()
        attention, unit = attention[:, keep][:, :, keep], F.normalize(values[:, keep], dim=-1)
        cosine = unit @ unit.transpose(1, 2)
        own = torch.from_numpy(np.asarray(label.resize((w, h), Image.NEAREST)).astype(np.int64)).flatten()
        same = (own[:, None] == own[None]).float(); tokens.append(len(own))
        variants = {"attention": attention.mean(0)}
        for factor in (1.2, 3.0):
            threshold = (factor * cosine.mean((0, 2))).clamp(max=.9)[None, :, None]
            near = cosine >= threshold
            passing.setdefault(factor, []).append([near.float().mean().item(), threshold.mean().item()])
            variants[f"cosine, factor {factor}"] = cosine.masked_fill(~near,
                    -torch.inf).softmax(-1).nan_to_num().mean(0)
            variants[f"affinity, factor {factor}"] = (attention * near).mean(0)
        for name, m in variants.items():
            m = m / m.sum(-1, keepdim=True).clamp(min=1e-12)
            rows.setdefault(name, []).append([(m * same).sum(-1).mean().item(),
                                              (1 / m.pow(2).sum(-1)).mean().item()])
print(f"{np.mean(tokens):.0f} tokens on average")
for name, x in rows.items(): print("%-22s own class %.3f, %.1f tokens" % (name, *np.mean(x, 0)))
for factor, x in passing.items():
    print("factor %.1f: %.3f of all pairs pass, mean threshold %.3f" % (factor, *np.mean(x, 0)))
