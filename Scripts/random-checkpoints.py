"""Writes random-weight checkpoints of full size in the published formats, for measuring without downloads.

Usage: random-checkpoints.py CLONES OUTPUT [--size b|h]

CLONES holds clones of openai/CLIP (as `CLIP`), facebookresearch/dino (`dino`) and
facebookresearch/segment-anything (`segment-anything`): names and shapes come from their classes, values from a
seeded generator (weights 0.02, norms near 1). Size b: CLIP B/16 as a half-precision TorchScript archive, DINO B/16,
SAM B. Size h: CLIP H/14 as an open_clip state dict, DINO B/16, SAM H.
"""
import argparse
import importlib
import os
import sys

import torch


def fill(state: dict, seed: int) -> dict:
    """Realistic random values, in place; norm weights are the one-dimensional tensors named weight."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator) * 0.02
        if name.endswith("weight") and tensor.dim() == 1:
            noise = 1 + 5 * noise
        if name.endswith("gaussian_matrix"):
            noise *= 50
        if name == "logit_scale":
            noise = torch.tensor(4.6)
        tensor.copy_(noise)
    return state


class Scripted(torch.nn.Module):
    """Parameters without arithmetic: enough to be archived as TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def scripted(state: dict) -> torch.jit.ScriptModule:
    root = Scripted()
    for name, tensor in state.items():
        *parts, last = name.split(".")
        module = root
        for part in parts:
            if part not in module._modules:
                module.add_module(part, Scripted())
            module = module._modules[part]
        module.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    return torch.jit.script(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clones")
    parser.add_argument("output")
    parser.add_argument("--size", choices=["b", "h"], default="b")
    arguments = parser.parse_args()
    os.makedirs(arguments.output, exist_ok=True)
    for folder in ("CLIP/clip", "dino", "segment-anything"):
        sys.path.insert(0, os.path.join(arguments.clones, folder))
    big = arguments.size == "h"
    with torch.no_grad():
        model = importlib.import_module("model")
        sizes = (1024, 224, 32, 1280, 14, 77, 49408, 1024, 16, 24) if big else (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
        state = fill(model.CLIP(*sizes).state_dict(), 1)
        if big:
            torch.save(state, os.path.join(arguments.output, "ViT-H-14.pt"))
        else:
            half = {name: tensor.half() if tensor.dim() > 1 else tensor for name, tensor in state.items()}
            scripted(half).save(os.path.join(arguments.output, "ViT-B-16.pt"))
        del state

        dino = importlib.import_module("vision_transformer").vit_base(patch_size=16)
        torch.save(fill(dino.state_dict(), 2), os.path.join(arguments.output, "dino_vitbase16_pretrain.pth"))
        del dino

        build = importlib.import_module("segment_anything.build_sam")
        sam = build.build_sam_vit_h() if big else build.build_sam_vit_b()
        name = "sam_vit_h_4b8939.pth" if big else "sam_vit_b_01ec64.pth"
        torch.save(fill(sam.state_dict(), 3), os.path.join(arguments.output, name))


main()
