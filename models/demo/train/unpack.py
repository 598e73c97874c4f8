"""Turns a demo model file back into the checkpoints that it was quantized from: clip.pt, dino.pth, sam.pth
and vocab.txt.gz (of blip.gguf blip.pth and vocab.txt), so that training can go on from the shipped model
alone. Weights are the stored integers times their scales, and quantizing them gives the same integers, scales
and model id again. What the file does
not keep (the hypernetworks of SAM's mask tokens 1 to 3, the logit scale) gets the value that an untrained
network has.

  unpack.py MODEL.gguf DIR
"""
import gzip
import math
import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../Tests/Reference"))
import blip
import gguf
import weights

ORDER = {"norm1": "norm1", "norm2": "norm2", "qkv": "attn.qkv", "out": "attn.proj", "mlp_in": "mlp.lin1",
         "mlp_out": "mlp.lin2"}
CLIP_BLOCK = {"norm1": "ln_1", "norm2": "ln_2", "qkv": "attn.in_proj_", "out": "attn.out_proj",
              "mlp_in": "mlp.c_fc", "mlp_out": "mlp.c_proj"}


def exact(tensors, raw):
    """Makes scale = max |row| / 127 come out as stored: a row's largest entries move by a bit where the
    quotient would round."""
    for name, t in tensors.items():
        stored = raw.get(name.removesuffix(".weight") + ".scale")
        if stored is None: continue
        scale = np.array(stored.data)[:len(t)].reshape(-1, 1)
        w = t.numpy()
        for _ in range(4):
            got = np.abs(w).max(1, keepdims=True) / np.float32(127)
            top = np.abs(w) == np.abs(w).max(1, keepdims=True)
            towards = np.where(got < scale, np.where(w > 0, np.inf, -np.inf), 0).astype(np.float32)
            w = np.where(top & (got != scale) & (w != 0), np.nextafter(w, towards), w)
        tensors[name] = torch.from_numpy(w)


def block(tensors, net, names, joined):
    """-> the blocks of a network under a checkpoint's names"""
    out = {}
    for key, t in tensors.items():
        parts = key.split(".")
        if parts[:2] != [net, "blocks"] or parts[3] not in names: continue
        out[joined.format(parts[2]) + names[parts[3]] + ("" if names[parts[3]].endswith("_") else ".")
            + parts[4]] = t
    return out


def clip(t, c):
    out = {**block(t, "clip", CLIP_BLOCK, "visual.transformer.resblocks.{}."),
           **block(t, "text", CLIP_BLOCK, "transformer.resblocks.{}.")}
    for ours, theirs in (("clip.norm_pre", "visual.ln_pre"), ("clip.norm_post", "visual.ln_post"),
                         ("text.norm_post", "ln_final")):
        for leaf in ("weight", "bias"): out[f"{theirs}.{leaf}"] = t[f"{ours}.{leaf}"]
    return out | {"visual.conv1.weight": t["clip.patch.weight"].view(c.width, 3, c.patch, c.patch),
                  "visual.class_embedding": t["clip.class_embedding"],
                  "visual.positional_embedding": t["clip.position"], "visual.proj": t["clip.proj.weight"].T,
                  "text_projection": t["text.proj.weight"].T,
                  "token_embedding.weight": t["text.token"], "positional_embedding": t["text.position"],
                  "logit_scale": torch.tensor(math.log(20.))}


def dino(t, c):
    names = {k: v.replace("lin", "fc") for k, v in ORDER.items()}
    out = block(t, "dino", names, "blocks.{}.")
    for leaf in ("weight", "bias"): out["norm." + leaf] = t["dino.norm_post." + leaf]
    return out | {"patch_embed.proj.weight": t["dino.patch.weight"].view(c.width, 3, c.patch, c.patch),
                  "patch_embed.proj.bias": t["dino.patch.bias"],
                  "cls_token": t["dino.class_embedding"].view(1, 1, -1),
                  "pos_embed": t["dino.position"][None]}


def sam(t, c):
    out = {"image_encoder." + k: v for k, v in block(t, "sam", ORDER, "blocks.{}.").items()}
    d, decoder = c.neck, "mask_decoder."
    for i in range(c.depth):
        for axis in "hw":
            out[f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"] = t[f"sam.blocks.{i}.rel_{axis}"]
    out |= {"image_encoder.patch_embed.proj.weight": t["sam.patch.weight"].view(c.width, 3, c.patch, c.patch),
            "image_encoder.patch_embed.proj.bias": t["sam.patch.bias"],
            "image_encoder.pos_embed": t["sam.position"].view(1, c.grid, c.grid, c.width),
            "image_encoder.neck.0.weight": t["sam.neck.conv1.weight"].view(d, -1, 1, 1),
            "image_encoder.neck.2.weight": t["sam.neck.conv2.weight"].view(d, 3, 3, d).permute(0, 3, 1, 2),
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": t["sam.prompt.gaussian"]}
    for i in range(4): out[f"prompt_encoder.point_embeddings.{i}.weight"] = t["sam.prompt.points"][i:i + 1]
    for name in ("not_a_point", "no_mask"):
        out[f"prompt_encoder.{name}_embed.weight"] = t["sam.prompt." + name].view(1, d)
    for name in ("iou_token", "mask_tokens"):
        out[f"{decoder}{name}.weight"] = t["sam.decoder." + name].view(-1, d)
    for leaf in ("weight", "bias"):
        for ours, theirs in ((1, 1), (2, 3)):
            out[f"image_encoder.neck.{theirs}.{leaf}"] = t[f"sam.neck.norm{ours}.{leaf}"]
        for i in (0, 1, 3, 4, 6):
            out[f"prompt_encoder.mask_downscaling.{i}.{leaf}"] = t[f"sam.prompt.mask.{i}.{leaf}"]
        for layer in range(c.decoder_depth):
            ours, theirs = f"sam.decoder.layers.{layer}.", f"{decoder}transformer.layers.{layer}."
            for i in (1, 2, 3, 4): out[f"{theirs}norm{i}.{leaf}"] = t[f"{ours}norm{i}.{leaf}"]
            for a, b in (("mlp_in", "mlp.lin1"), ("mlp_out", "mlp.lin2")):
                out[f"{theirs}{b}.{leaf}"] = t[f"{ours}{a}.{leaf}"]
            for a, b in (("self_attn", "self_attn"), ("cross_token", "cross_attn_token_to_image"),
                         ("cross_image", "cross_attn_image_to_token")):
                for part in ("q", "k", "v", "out"):
                    out[f"{theirs}{b}.{part}_proj.{leaf}"] = t[f"{ours}{a}.{part}.{leaf}"]
        for part in ("q", "k", "v", "out"):
            out[f"{decoder}transformer.final_attn_token_to_image.{part}_proj.{leaf}"] = t[f"sam.decoder.final.{part}.{leaf}"]  # noqa: E501
        out[f"{decoder}transformer.norm_final_attn.{leaf}"] = t[f"sam.decoder.final.norm.{leaf}"]
        out[f"{decoder}output_upscaling.1.{leaf}"] = t[f"sam.decoder.upscale.1.{leaf}"]
        for i in range(3):
            out[f"{decoder}iou_prediction_head.layers.{i}.{leaf}"] = t[f"sam.decoder.iou.{i}.{leaf}"]
        for i in range(3):
            own = t[f"sam.decoder.hyper.{i}.{leaf}"]
            for token in range(len(t["sam.decoder.mask_tokens"])):
                other = torch.randn(own.shape) * own.shape[-1] ** -.5 if leaf == "weight" else torch.zeros(own.shape)  # noqa: E501
                out[f"{decoder}output_hypernetworks_mlps.{token}.layers.{i}.{leaf}"] = own if token == 0 else other  # noqa: E501
    for i, n in ((0, d // 4), (3, d // 8)):
        w = t[f"sam.decoder.upscale.{i}.weight"]
        out[f"{decoder}output_upscaling.{i}.weight"] = w.view(2, 2, n, -1).permute(3, 2, 0, 1)
        out[f"{decoder}output_upscaling.{i}.bias"] = t[f"sam.decoder.upscale.{i}.bias"][:n]
    return out


def unpack_blip(path, folder):
    tensors, pieces = blip.stored_tensors(path)
    exact(tensors, {x.name: x for x in gguf.GGUFReader(path).tensors})
    torch.save({"model": blip.published(tensors)}, f"{folder}/blip.pth")
    with open(f"{folder}/vocab.txt", "w") as f:
        f.write("".join(piece + "\n" for piece in pieces if piece not in ("[DEC]", "[ENC]")))


if __name__ == "__main__":
    path, folder = sys.argv[1:]
    torch.manual_seed(0); os.makedirs(folder, exist_ok=True)
    if "trident.blip.width" in gguf.GGUFReader(path).fields:
        unpack_blip(path, folder)
        sys.exit()
    model = weights.from_gguf(path)
    exact(model.tensors, {x.name: x for x in gguf.GGUFReader(path).tensors})
    for name, state in (("clip.pt", clip(model.tensors, model.clip)),
                        ("dino.pth", dino(model.tensors, model.dino)),
                        ("sam.pth", sam(model.tensors, model.sam))):
        torch.save({k: v.float().clone().contiguous() for k, v in state.items()}, f"{folder}/{name}")
    with gzip.GzipFile(f"{folder}/vocab.txt.gz", "wb", mtime=0) as f:
        f.write(('"byte-pair merges, trident demo\n' + "\n".join(" ".join(m) for m in model.merges)
                 + "\n").encode())
