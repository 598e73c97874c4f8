#!/usr/bin/env python3
"""Compares absent.py's `purify` with the public FreeCP code on random weights, step by step and as labels.

    check_absent_public.py --code CHECKOUT [--count 10] [--seed 1]

CHECKOUT is a working copy of chenqi1126/FreeCP, used where it lies, on the CPU, in float32 for float16, with
empty stand-ins for the evaluation framework. Its segmentor is made without its constructor, which would
download CLIP and read benchmark folders: networks and text vectors are put in by hand. Compared: ClearCLIP's
cosines, the boxes (OpenCV's outlines), the refined maps, the classes that stay after redundancy and after
ambiguity, and the labels of the photo.
"""

import argparse
import os
import random
import sys
import types

import absent
import numpy as np
import scclip
import torch
import torch.nn.functional as F
import toys
import weights
from photos import synthetic
from public_code import fake_framework, fake_module
from public_scclip import public_photo
from torch import nn


def prepare(checkout):
    fake_framework({"torchvision": {}, "torchvision.transforms": {}, "torchvision.ops": {},
                    "torchvision.ops.misc": {"FrozenBatchNorm2d": nn.Identity}})
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    torch.Tensor.half = torch.Tensor.float
    torch.Tensor.cuda = lambda self, *a: self
    # The package's own list of imports asks for much that is not needed here; its two modules are loaded
    # alone.
    package = types.ModuleType("open_clip")
    package.__path__ = [os.path.join(checkout, "open_clip")]
    sys.modules["open_clip"] = package
    for name in ("hf_model", "timm_model", "modified_resnet", "tokenizer", "gem"):
        fake_module("open_clip." + name, HFTextEncoder=None, TimmModel=None, ModifiedResNet=None,
                    tokenize=None)
    package.tokenizer, package.gem, package.create_model = sys.modules["open_clip.tokenizer"], None, None
    fake_module("prompts"), fake_module("prompts.base"), fake_module("prompts.base.imagenet_template")
    fake_module("prompts.vicuna13b")
    sys.path.insert(0, checkout)


def public_model(config, tensors, text, descriptions, background, rp, ap, window, stride):
    from freecp_segmentor import FreeCPSegmentation
    from open_clip.model import CLIP
    c, t = config.clip, config.text
    net = CLIP(config.embed, dict(image_size=c.grid * c.patch, layers=c.depth, width=c.width,
                                  patch_size=c.patch, head_width=64, mlp_ratio=c.mlp / c.width),
               dict(context_length=config.context, vocab_size=toys.vocabulary_size(config), width=t.width,
                    heads=t.heads, layers=t.depth, mlp_ratio=t.mlp / t.width), quick_gelu=True)
    net.load_state_dict(tensors, strict=True)
    model = FreeCPSegmentation.__new__(FreeCPSegmentation)
    nn.Module.__init__(model)
    model.net, model.patch_size, model.model_type = net.eval(), (c.patch, c.patch), "ClearCLIP"
    model.vit_type = "ViT-B/16" if c.patch == 16 else "ViT-L-14"
    model.query_features, model.query_featuresLLM = text, descriptions
    model.num_queries, model.num_bkg_prompts = len(text), background
    model.num_classes = len(text) - background + (background > 0)
    model.with_bkg, model.ignore_bkg, model.rp_thres, model.ap_thres = background > 0, False, rp, ap
    model.slide_stride, model.slide_crop = stride, window
    model.dtype = text.dtype
    return model


def box_check(r, count=300):
    """The boxes of random maps, as sets, against OpenCV's outlines."""
    from freecp_segmentor import scoremap2bbox
    differ = 0
    for _ in range(count):
        generator = np.random.Generator(np.random.PCG64(r.randint(0, 1 << 30)))
        rows, cols = r.randint(1, 24), r.randint(1, 24)
        values = generator.random((rows, cols), np.float32)
        smooth = r.choice([0, 1, 2])
        m = torch.from_numpy(values)[None, None]
        for _ in range(smooth):
            m = F.avg_pool2d(m, 3, 1, 1)
        m = m[0, 0] ** r.choice([1, 2, 5])
        m = (m - m.min()) / (m.max() - m.min() + 1e-8)
        if r.random() < 0.05:
            m = torch.zeros(rows, cols)
        theirs, _ = scoremap2bbox(m, 0.4, True)
        differ += sorted(map(tuple, theirs.tolist())) != sorted(absent.boxes(m))
    print(f"boxes of random maps: {differ} of {count} differ")
    return differ == 0


@torch.no_grad()
def check(number, seed):
    r = random.Random(1000 * seed + number)
    patch, heads, depth = r.choice([16, 14]), r.choice([1, 2]), r.choice([3, 5, 8])
    window = patch * r.choice([7, 10, 14])
    config = toys.Config("draw", toys.Tower(64 * heads, depth, heads, 64 * r.choice([1, 4]), patch,
                                            r.choice([7, 14])),
                         toys.Tower(64, 1, 1, 64), 64, None, None)
    tensors = toys.clip_tensors(config, 1000 * seed + number)
    tensors["logit_scale"] = torch.tensor(float(np.log(100)))
    m = weights.Model()
    weights.add_clip(m, tensors, "quickgelu")
    photo = synthetic(r.randint(80, 200), r.randint(80, 200), number)
    short = window + r.choice([0, r.randint(1, 60), -r.randint(1, window // 4)])
    stride = window // 2
    background, count = r.choice([0, 3, 6]), r.choice([4, 7, 12])
    image = public_photo(photo, short)
    height, width = image.shape[2:]
    o = scclip.Options(short_side=short, window=window, stride=stride)
    windows = scclip.windows_of(image[0], o)

    # Text vectors about the patches themselves, so that probabilities vary; descriptions beside them.
    features, walks = [], []
    for _, _, part in windows:
        walk = absent.Walk(m)
        outputs, grid = scclip.block_outputs(m, part, walk)
        features.append((absent.self_attention_features(m, outputs[-1]), grid))
        walks.append(walk.matrix)
    everything = torch.cat([z for z, _ in features])
    generator = torch.Generator().manual_seed(number)
    pick = torch.randint(len(everything), (background + count,), generator=generator)
    text = F.normalize(everything[pick] - 0.97 * everything.mean(0), dim=1)
    text = F.normalize(text + 0.3 * r.choice([0, 1]) * text[torch.arange(len(text)) // 2], dim=1)
    descriptions = F.normalize(text + 0.3 * torch.randn(text.shape, generator=generator) * 64 ** -0.5, dim=1)
    rp, ap = r.choice([0.05, 0.15, 0.2]), r.choice([0.5, 0.7])
    public = public_model(config, tensors, text, descriptions, background, rp, ap, window, stride)
    classes = ([["b"] * background] if background else []) + [["c"]] * count
    print(f"draw {number}: patch {patch}, {depth} blocks, {len(windows)} windows {features[0][1]}, "
          f"{background} + {count} phrases, rp {rp}, ap {ap}")
    recorded = []
    plain_refinement, plain_redundancy = public.refinement, public.redundancy_purification
    def refinement(*a, **k):
        recorded.append(plain_refinement(*a, **k).clone())
        return recorded[-1].clone()

    public.refinement = refinement

    def redundancy(logits, logits_ref):
        out, kept = plain_redundancy(logits, logits_ref)
        recorded.append(kept.tolist())
        return out, kept

    public.redundancy_purification = redundancy
    worst, same, parts, edge = 0.0, True, [], 1.0
    for (y, x, part), (z, grid), walk in zip(windows, features, walks):
        scores = (z @ text.T).T.reshape(-1, *grid)
        raw = public.net.cam(part[None], text, "ClearCLIP")[0][0] / 100
        worst = max(worst, float((raw.T.reshape(scores.shape) - scores).abs().max()))
        found = absent.purify(scores, walk, classes, rp, background > 0)
        edge = min(edge, float((found.ratio - rp).abs().min()))
        settled = absent.settle(found, ap, absent.crop_judge(m, part, descriptions[background:]), most=None)
        _, _, _, final = public.forward_feature(part[None], torch.arange(count))
        refined, redundant = recorded[-2:]
        worst = max(worst, float((refined[0, background:] - found.activation).abs().max()))
        kept = [c for c, k in enumerate(found.kept) if k]
        last = [c for c, k in enumerate(settled.kept) if k]
        same &= kept == redundant and last == sorted(final.tolist())
        print(f"  kept {kept}{'' if kept == redundant else f' PUBLIC {redundant}'}, settled {last}"
              f"{'' if last == sorted(final.tolist()) else f' PUBLIC {final.tolist()}'}")
        parts.append((y, x, *part.shape[1:], settled.refined))
    scores = absent.freecp_scores(parts, height, width, photo.shape[:2])
    labels = absent.freecp_labels(scores, background > 0)
    theirs, _ = public.forward_slide(image, torch.arange(count), [{"ori_shape": photo.shape[:2]}],
                                     stride, window)
    sample = types.SimpleNamespace(set_data=lambda content: sample.__dict__.update(content))  # noqa: PLW0108 (sample is made by this line)
    public.postprocess_result(theirs, None, [sample], torch.arange(count))
    equal = float((labels == sample.pred_sem_seg["data"][0]).float().mean())
    worst = max(worst, float((scores - theirs[0, background:]).abs().max()))
    print(f"  largest difference {worst:.1e}, labels equal on {equal:.4%}, nearest ratio to rp {edge:.1e}")
    return worst, same, equal


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", required=True)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    prepare(os.path.abspath(a.code))
    good = box_check(random.Random(a.seed))
    found = [check(n, a.seed) for n in range(a.first, a.first + a.count)]
    agree = sum(w < 1e-3 and s and e >= 0.999 for w, s, e in found)
    print(f"{agree} of {a.count} draws agree; largest difference {max(w for w, *_ in found):.1e}")
    return 0 if good and agree == a.count else 1


if __name__ == "__main__":
    sys.exit(main())
