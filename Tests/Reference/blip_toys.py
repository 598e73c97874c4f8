#!/usr/bin/env python3
"""Random BLIP image-text matching checkpoints under the published names, with their word list.

    blip_toys.py CONFIG DIRECTORY [--seed N] [--hf]       DIRECTORY/CONFIG.pth and vocab.txt
    blip_toys.py base DIRECTORY                           at full size; `large` too

`--hf` writes pytorch_model.bin with Hugging Face's names instead. As in toys.py every tensor has its own
generator, seeded by its name. Beside the network lie a momentum copy and a queue, as in the published files.
"""

import argparse
import os
from dataclasses import dataclass

import blip
import torch
import toys

NAMES = ["cat", "sofa", "green grass", "brick wall", "water", "picture frame", "dog", "zebra"]
WORDS = ["a", "picture", "of", "cat", "sofa", "green", "grass", "brick", "wall", "water", "frame", "dog",
         "tree", "sky", "##ty", "##es", "ze", "##bra", "on", "the"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = MARKS + LETTERS + ["##" + c for c in LETTERS] + [w for w in WORDS if len(w) > 1]


@dataclass
class Config:
    name: str
    width: int = 64                # of the image tower
    depth: int = 2
    mlp: int = 128
    grid: int = 6
    text: int = 128
    text_depth: int = 4
    text_mlp: int = 128
    context: int = 48
    embed: int = 32
    patch: int = 16
    words: int = 0                 # 0: the toy list
    grain: int = 1


CONFIGS = {c.name: c for c in (
    Config("blip-toy"),
    Config("base", 768, 12, 3072, 24, 768, 12, 3072, 512, 256, words=30524, grain=0),
    Config("large", 1024, 24, 4096, 24, 768, 12, 3072, 512, 256, words=30524, grain=0),
)}


def tensors(c, seed):
    v = toys.Values(seed, c.name, c.grain)
    e = "visual_encoder."
    v.normal(e + "cls_token", 1, 1, c.width, std=0.5)
    v.normal(e + "pos_embed", 1, 1 + c.grid * c.grid, c.width, std=0.4)
    v.normal(e + "patch_embed.proj.weight", c.width, 3, c.patch, c.patch, std=(3 * c.patch * c.patch) ** -0.5)
    v.normal(e + "patch_embed.proj.bias", c.width, std=0.2)
    for n in range(c.depth):
        b = f"{e}blocks.{n}."
        v.norm(b + "norm1", c.width)
        v.norm(b + "norm2", c.width)
        v.qkv(b + "attn.qkv.weight", b + "attn.qkv.bias", c.width)
        v.linear(b + "attn.proj", c.width, c.width)
        v.linear(b + "mlp.fc1", c.mlp, c.width)
        v.linear(b + "mlp.fc2", c.width, c.mlp)
    v.norm(e + "norm", c.width)
    t = "text_encoder.embeddings."
    v.normal(t + "word_embeddings.weight", c.words or len(VOCABULARY) + 2, c.text)
    v.normal(t + "position_embeddings.weight", c.context, c.text, std=0.5)
    v.norm(t + "LayerNorm", c.text)
    for n in range(c.text_depth):
        b = f"text_encoder.encoder.layer.{n}."
        for part, width in (("attention", c.text), ("crossattention", c.width)):
            v.linear(f"{b}{part}.self.query", c.text, c.text, gain=1.5)
            v.linear(f"{b}{part}.self.key", c.text, width, gain=1.5)
            v.linear(f"{b}{part}.self.value", c.text, width)
            v.linear(f"{b}{part}.output.dense", c.text, c.text)
            v.norm(f"{b}{part}.output.LayerNorm", c.text)
        v.linear(b + "intermediate.dense", c.text_mlp, c.text)
        v.linear(b + "output.dense", c.text, c.text_mlp)
        v.norm(b + "output.LayerNorm", c.text)
    v.linear("itm_head", 2, c.text)
    v.linear("vision_proj", c.embed, c.width)
    v.linear("text_proj", c.embed, c.text)
    return v.tensors


def write(config, directory, seed=1, hugging_face=False):
    os.makedirs(directory, exist_ok=True)
    state = tensors(config, seed)
    if not config.words:
        with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8") as file:
            file.write("\n".join(VOCABULARY) + "\n")
    if hugging_face:
        path = os.path.join(directory, "pytorch_model.bin")
        torch.save(blip.hugging_face(state), path)
        return path
    path = os.path.join(directory, config.name + ".pth")
    extra = {"visual_encoder_m.norm.weight": torch.ones(config.width), "image_queue": torch.zeros(4, 3),
             "temp": torch.tensor(0.07), "ptr_queue": torch.zeros(1, dtype=torch.int64),
             "text_encoder.embeddings.position_ids": torch.arange(config.context)[None]}
    torch.save({"model": {**state, **extra}, "epoch": 3}, path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hf", action="store_true")
    a = parser.parse_args()
    print(write(CONFIGS[a.config], a.directory, a.seed, a.hf))


if __name__ == "__main__":
    main()
