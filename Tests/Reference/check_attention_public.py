#!/usr/bin/env python3
"""Compares last_attention.py with public code on fresh random draws: NACLIP (`neighbour`, and CLIP's ordinary
class token, which CASS mixes in) and ClearCLIP (`self`, `value`).

    check_attention_public.py --naclip CHECKOUT --clearclip CHECKOUT [--count 20] [--seed 1]

CHECKOUTs are working copies of sinahmr/NACLIP and mc-lan/ClearCLIP, used where they lie, on the CPU in
float32. Of ClearCLIP only the attention of the last block is called: all else of it is CLIP. GCLIP has no
public code; `global` follows its description at second hand.
"""

import argparse
import importlib.util
import random
import sys
import tempfile
import types
from dataclasses import replace

import last_attention
import pipeline
import scclip
import torch
import torch.nn.functional as F
import toys
import toys_scclip
from check_scclip_public import line
from photos import synthetic
from public_code import fake_module


def load(name, path, package=None):
    """One file of a checkout as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    if package:
        module.__package__ = package
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def clear_attention(checkout):
    """ClearCLIP's `custom_attn`; what else its file imports has no part in it."""
    fake_module("clear", __path__=[])
    fake_module("clear.utils", to_2tuple=lambda v: (v, v))
    fake_module("clear.pos_embed", get_2d_sincos_pos_embed=None)
    module = load("clear.transformer", f"{checkout}/open_clip/transformer.py", "clear")
    return module.VisionTransformer.custom_attn


def draw(r, number):
    patch, heads = r.choice([16, 16, 14]), r.choice([1, 2, 3])
    depth = r.choice([2, 4, 6, 12])
    config = replace(
        toys.CONFIGS["toy-sc"], name=f"draw-{number}", grain=0, clip_form="openai",
        clip=toys.Tower(64 * heads, depth, heads, 256 * heads, patch, r.choice([7, 10, 14])),
        text=toys.Tower(64, 2, 1, 256), embed=r.choice([48, 64]))
    size = patch * r.randint(4, 14), patch * r.randint(4, 14)
    o = scclip.Options(short_side=min(size), low=1, mid=1, level_first=1, level_last=1)
    return config, size, o


@torch.no_grad()
def compare(r, number, naclip, clear, folder):
    """The largest difference of any stage, relative to its largest value."""
    config, (h, w), o = draw(r, number)
    paths = toys_scclip.make(config, folder, o, seed=number)
    m = scclip.from_checkpoint(paths["clip"], paths["vocab"], "quickgelu")
    state = {n: v.float() for n, v in torch.jit.load(paths["clip"]).state_dict().items()}
    c = config.clip
    visual = naclip.VisionTransformer(c.grid * c.patch, c.patch, c.width, c.depth, c.heads, config.embed)
    own = {n.removeprefix("visual."): v for n, v in state.items() if n.startswith("visual.")}
    visual.load_state_dict(own)
    photo = synthetic(h, w, seed=number)
    image = scclip.photo_copy(photo, replace(o, short_side=min(h, w)), c.patch, pipeline.Taps())
    outputs, grid = scclip.block_outputs(m, image)
    unit = lambda y: F.normalize(
        pipeline.linear(m, "clip.proj", pipeline.norm(m, "clip.norm_post", y, m.clip.epsilon)), dim=-1)
    ours = lambda kind: last_attention.attended(m, kind, outputs[-1], grid)
    visual.set_params("reduced", "naclip", last_attention.DEVIATION)
    worst = [line("neighbour", unit(ours("neighbour")),
                  F.normalize(visual(image[None], return_all=True)[0, 1:], dim=-1))]
    visual.set_params("vanilla", "vanilla", last_attention.DEVIATION)
    worst.append(line("class token", last_attention.embedding(m, outputs[-1])[None],
                      F.normalize(visual(image[None]), dim=-1)))
    block = visual.transformer.resblocks[-1]
    entering = block.ln_1(outputs[-1][:, None])
    for kind, name in (("self", "ClearCLIP"), ("value", "MaskCLIP")):
        theirs = clear(types.SimpleNamespace(), block.attn, entering, model_type=name)
        worst.append(line(kind, ours(kind), theirs[1:, 0]))
    return max(worst)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--naclip", required=True)
    parser.add_argument("--clearclip", required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    naclip, clear = load("naclip_model", f"{a.naclip}/clip/model.py"), clear_attention(a.clearclip)
    found = []
    for number in range(a.seed, a.seed + a.count):
        print(f"draw {number}")
        with tempfile.TemporaryDirectory() as folder:
            found.append(compare(random.Random(number), number, naclip, clear, folder))
    print(f"{sum(gap < 1e-4 for gap in found)} of {a.count} agree; the largest difference of a stage is "
          f"{max(found):.1e} of its largest value")
    return 0 if max(found) < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
