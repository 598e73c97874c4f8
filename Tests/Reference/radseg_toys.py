#!/usr/bin/env python3
"""Random C-RADIO checkpoints in the official `.pth.tar` layout, and a random SigLIP 2 text tower with its
tokenizer.

    radseg_toys.py CONFIG DIRECTORY [--seed N]            a RADIO file; CONFIG of CONFIGS, or `b` at full size
    radseg_toys.py text DIRECTORY [--seed N]              model.safetensors, tokenizer.model, tokenizer.json

As in toys.py every tensor has its own generator, seeded by its name. Two channels are large in every token,
layer scales have both signs, and the last linear of the language head and the text head are shifted so that
labels vary.
"""

import argparse
import io
import json
import os
from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import siglip
import torch
import toys
from photos import synthetic
from templates import TEMPLATES

PHRASES = ["cat", "kitten", "sofa", "wall", "green grass", "sky", "brick building", "water", "road", "tree"]
TEXT_WIDTH = 48


@dataclass
class Radio:
    name: str
    width: int = 64
    depth: int = 3
    heads: int = 4
    mlp_ratio: float = 4.0
    grid: int = 24                 # side of the position table
    hidden: int = 80               # of the heads
    inner: int = 2
    embed: int = TEXT_WIDTH
    sam_outputs: int = 128
    grain: int = 1                 # toys.Values; 0: all bits
    # how the file spells it
    version: str = "v2"
    scale_name: str = "gamma"
    heads_by: str = "index"        # or name
    ema: bool = False
    module: bool = False           # `module.` in front of the heads' keys
    normalizer: bool = False
    model_norm: bool = False
    spectral: str = ""             # backbone, heads, both, backbone-dict
    spectral_version: int = 2      # 0: version 1, its key missing
    half: bool = True
    odd_args: bool = False         # objects of classes a reader does not know
    # settings that suit the size
    window: int = 96
    stride: int = 64
    short_side: int = 128

    @property
    def head_width(self):
        return self.width // self.heads


CONFIGS = {c.name: c for c in (
    Radio("radio-16"),
    Radio("radio-64", width=128, heads=2, mlp_ratio=2.0, grid=20, scale_name="grandma", heads_by="name",
          module=True, normalizer=True, odd_args=True, half=False, window=112, stride=48, short_side=144),
    Radio("radio-ema", version="v1", inner=0, ema=True, scale_name="grandma", model_norm=True,
          spectral="both"),
    Radio("radio-spectral", version="v1", inner=0, depth=2, spectral="both", spectral_version=2,
          heads_by="name"),
    Radio("b", width=768, depth=12, heads=12, grid=128, hidden=1520, inner=2, embed=1152, sam_outputs=1280,
          grain=0, window=336, stride=224, short_side=448),
)}

TEACHERS = [
    {"name": "clip", "type": "open_clip", "model": "ViT-H-14-378-quickgelu", "pretrained": "dfn5b",
     "use_summary": True},
    {"name": "siglip2", "type": "siglip2", "model": "siglip2-so400m", "use_summary": True},
    {"name": "dino_v2", "type": "dino_v2", "model": "dinov2_vitg14_reg", "use_summary": True},
    {"name": "sam", "type": "sam", "model": "vit-h", "use_summary": False}]


class Device:
    """An object whose class no reader knows: torch.save names this module, which is renamed below."""

    def __init__(self, text="cuda:0"):
        self.text = text


Device.__module__ = "training.hardware"


# ------------------------------------------------------------------ RADIO

def parametrize(v, name, parts, config):
    """Replaces `NAME.weight` by its spectral parametrization: a weight of another size, vectors two steps
    from converged."""
    weight = v.tensors.pop(name + ".weight")
    pieces, prefix = [], name + ".parametrizations.weight.0."
    for j, piece in enumerate(weight.chunk(parts)):
        piece = piece * (1.5 + 0.25 * j)
        at = f"{prefix}parts.{j}." if parts > 1 else prefix
        v.normal(at + "_v", piece.shape[1], keep=True)
        right = v.tensors[at + "_v"]
        for _ in range(2):
            left = torch.nn.functional.normalize(piece @ right, dim=0)
            right = torch.nn.functional.normalize(piece.T @ left, dim=0)
        size = float(left @ piece @ right) / (1.5 + 0.25 * j)
        version = config.spectral_version
        raw = size if version < 2 else float(torch.tensor(size - 0.05).exp().sub(1).log())
        v.tensors |= {at + "_u": left, at + "_v": right, at + "scale": torch.tensor([[raw]])}
        if version:
            v.tensors[at + "_sn_version"] = torch.tensor(version)
        pieces.append(piece)
    v.tensors[name + ".parametrizations.weight.original"] = torch.cat(pieces)


def mlp_head(v, prefix, inputs, hidden, outputs, config):
    v.linear(prefix + "fc1", hidden, inputs, 1.2)
    if config.version == "v1":
        v.norm(prefix + "norm", hidden)
        v.linear(prefix + "fc2", outputs, hidden, 1.5)
        return
    for j in range(config.inner):
        v.norm(f"{prefix}blocks.{j}.0", hidden)
        v.linear(f"{prefix}blocks.{j}.2", hidden, hidden, 0.8)
    v.norm(prefix + "final.0", hidden)
    v.linear(prefix + "final.2", outputs, hidden, 1.5)


def radio_tensors(config, seed):
    v = toys.Values(seed, config.name, config.grain)
    d, base = config.width, "base_model."
    mlp = int(d * config.mlp_ratio)
    v.normal(base + "patch_generator.embedder.weight", d, 768, std=2 * 768 ** -0.5)
    v.normal(base + "patch_generator.pos_embed", 1, config.grid ** 2, d, std=0.3)
    v.normal(base + "patch_generator.cls_token.token", 8, d, std=0.5)
    v.normal(base + "reg_token", 1, 4, d, std=0.5)
    large = [d // 5, d // 2 + 1]
    for n in range(config.depth):
        p = f"{base}blocks.{n}."
        v.norm(p + "norm1", d)
        v.qkv(p + "attn.qkv.weight", p + "attn.qkv.bias", d)
        # sharp attention: tokens must differ for SCRA's cosines to have both signs
        if n == config.depth - 1:
            v.tensors[p + "attn.qkv.weight"][:2 * d] *= 3
        v.linear(p + "attn.proj", d, d)
        v.norm(p + "norm2", d)
        v.linear(p + "mlp.fc1", mlp, d)
        v.linear(p + "mlp.fc2", d, mlp)
        for which in ("ls1", "ls2"):
            name = f"{p}{which}.{config.scale_name}"
            v.normal(name, d, std=0.6)
            v.tensors[name][large] *= 4
        v.tensors[p + "mlp.fc2.bias"][large] += torch.tensor([1.5, -1.5])
    if config.model_norm:
        v.norm(base + "norm", d)
    if config.normalizer:
        v.normal("_feature_normalizer.mean", d, std=0.5)
        v.normal("_feature_normalizer.tx", d, d, std=0.5 * d ** -0.5)
        v.tensors["_feature_normalizer.tx"] += torch.diag(torch.linspace(0.5, 1.5, d))
    widths = [56, config.embed, 52, 36], [60, config.embed, 52, config.sam_outputs]
    for index, teacher in enumerate(TEACHERS):
        key = teacher["name"] if config.heads_by == "name" else index
        for group, outputs in zip(("_heads", "_feature_projections"), widths):
            if config.name == "b" and index in (0, 2):        # large, and nothing reads them
                continue
            hidden = config.hidden + (0 if index == 1 else 4 * index)
            mlp_head(v, f"{group}.{key}.", d, hidden, outputs[index], config)
    return v.tensors if config.ema else parametrized(v, config)


def parametrized(v, config):
    if config.spectral in ("backbone", "both", "backbone-dict"):
        for n in range(config.depth):
            for name, parts in (("attn.qkv", 3), ("attn.proj", 1), ("mlp.fc1", 1), ("mlp.fc2", 1)):
                parametrize(v, f"base_model.blocks.{n}.{name}", parts, config)
    if config.spectral in ("heads", "both"):
        for name in [n for n, t in v.tensors.items() if n.startswith(("_heads", "_feature_proj"))
                     and t.ndim == 2]:
            parametrize(v, name.removesuffix(".weight"), 1, config)
    return v.tensors


def radio_args(config):
    args = Namespace(
        model="vit_base_patch16_v2_224", pretrained=False, in_chans=None, input_size=[3, 256, 256],
        num_classes=0, drop=0.0, drop_path=None, drop_block=None, gp="token", bn_momentum=None, bn_eps=None,
        torchscript=False, initial_checkpoint="", model_kwargs={}, cpe_max_size=16 * config.grid,
        cls_token_per_teacher=True, register_multiple=8, mlp_version=config.version,
        spectral_reparam=bool(config.spectral in ("backbone", "both")),
        spectral_heads=config.spectral in ("heads", "both"), model_norm=config.model_norm,
        teachers=[dict(t) for t in TEACHERS])
    if config.spectral == "backbone-dict":
        args.spectral_reparam = {"n_power_iterations": 2, "eps": 1e-5}
    if config.name != "b":
        args.model_kwargs = dict(embed_dim=config.width, depth=config.depth, num_heads=config.heads,
                                 mlp_ratio=config.mlp_ratio)
    if config.odd_args:
        vars(args).update({"dtype": torch.float32, "amp_dtype": torch.float16, "hardware": Device(),
                           "damp": None, "enable-cudnn-attention": True, "device": torch.device("cpu")})
    return args


def write_radio(config, tensors, path):
    kept = {n: t.half() if config.half and t.is_floating_point() else t for n, t in tensors.items()}
    if config.module:
        kept = {("module." if n.startswith("_") else "") + n: t for n, t in kept.items()}
    kept |= {"input_conditioner.norm_mean": torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1),
             "input_conditioner.norm_std": torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1),
             "_loss_states.0.mean": torch.zeros(4), "adaloss.weight": torch.ones(4),
             "weight_balance_mask": torch.ones(4)}
    content = {"arch": "vit_base_patch16_v2_224", "epoch": 12, "state_dict": kept, "args": radio_args(config)}
    if config.ema:
        # The EMA is plain; the weights beside it are others, and parametrized where the arguments say so.
        v = toys.Values(0, "beside", 1)
        v.tensors = {n: t.float() + 0.25 if n.endswith("bias") else t.float() for n, t in kept.items()}
        content["state_dict_ema"] = kept
        content["state_dict"] = {n: t.half() if t.is_floating_point() else t
                                 for n, t in parametrized(v, config).items()}
    if config.odd_args:
        import sys
        import types
        sys.modules["training"] = types.ModuleType("training")
        sys.modules["training.hardware"] = types.SimpleNamespace(Device=Device)
        try:
            torch.save(content, path)
        finally:
            del sys.modules["training"], sys.modules["training.hardware"]
    else:
        torch.save(content, path)


@torch.no_grad()
def centre(config, tensors, path):
    """Shifts two biases by what they add everywhere: the last block's `proj`, so that SCRA's cosines have
    both signs, and the language head's last linear, so that features differ by place."""
    import radio_weights
    import radseg
    o = radseg.Options(short_side=config.short_side, window=config.window, stride=config.stride)
    photos = [synthetic(config.short_side, config.short_side * 4 // 3, seed)
              for seed in range(99 if config.name == "b" else 90, 100)]
    key = TEACHERS[1]["name"] if config.heads_by == "name" else 1
    head = f"_heads.{key}." + ("final.2" if config.version == "v2" else "fc2") + ".bias"
    for name, tap in ((f"base_model.blocks.{config.depth - 1}.attn.proj.bias", "scra.first.0"),
                      (head, "head.features")):
        write_radio(config, tensors, path)
        model = radio_weights.from_checkpoint(path)
        found = [radseg.segment(model, photo, [["a"], ["b"]], o, torch.eye(config.embed)[:2])[1][tap]
                 for photo in photos]
        tensors[name] -= torch.from_numpy(np.concatenate(found).mean(0))


def make_radio(config, path, seed=1):
    """Writes the checkpoint; returns the path. Values are ones that float16 holds."""
    rounded = lambda tensors: {n: t.half().float() if t.is_floating_point() else t
                               for n, t in tensors.items()}
    tensors = rounded(radio_tensors(config, seed))
    centre(config, tensors, path)
    write_radio(config, rounded(tensors), path)
    return path


# ------------------------------------------------------------------ the text tower

@dataclass
class Text:
    width: int = 144
    depth: int = 2
    heads: int = 2
    mlp: int = 200
    context: int = 64
    pieces: int = 512
    embed: int = TEXT_WIDTH
    grain: int = 1


SO400M = Text(1152, 27, 16, 4304, 64, 256000, 1152, 0)


def text_tensors(config, seed):
    """Names as `Siglip2Model` publishes them, `text_model.` in front."""
    v = toys.Values(seed, "siglip", config.grain)
    d, p = config.width, "text_model."
    v.normal(p + "embeddings.token_embedding.weight", config.pieces, d)
    v.tensors[p + "embeddings.token_embedding.weight"][:2] *= 0.25        # the vector is taken at a pad token
    v.normal(p + "embeddings.position_embedding.weight", config.context, d, std=0.2)
    for n in range(config.depth):
        b = f"{p}encoder.layers.{n}."
        for part in ("q_proj", "k_proj"):
            v.linear(f"{b}self_attn.{part}", d, d, 1.4)
        v.linear(b + "self_attn.v_proj", d, d)
        v.linear(b + "self_attn.out_proj", d, d, 1.5)
        v.norm(b + "layer_norm1", d)
        v.norm(b + "layer_norm2", d)
        v.linear(b + "mlp.fc1", config.mlp, d)
        v.linear(b + "mlp.fc2", d, config.mlp, 0.5)
    v.norm(p + "final_layer_norm", d)
    v.linear(p + "head", config.embed, d)
    return v.tensors


def train_tokenizer(path, pieces):
    """A SentencePiece model shaped like Gemma's: BPE, byte fallback, no normalisation, `<pad> <eos> <bos>
    <unk>` first."""
    import sentencepiece
    lines = [siglip.clean(t.replace("{}", phrase)) for t in TEMPLATES for phrase in PHRASES]
    written = io.BytesIO()                                    # no file names in it: the same bytes everywhere
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines + ["köln 10 20 30"]), model_writer=written, model_type="bpe",
        vocab_size=pieces, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>",
        eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>", split_digits=True, num_threads=1,
        user_defined_symbols=["<start_of_turn>", "\n", "▁▁", "▁▁▁"], character_coverage=1.0, minloglevel=2)
    with open(path, "wb") as out:
        out.write(written.getvalue())


def write_tokenizer_json(model, path):
    """The same table as Hugging Face's tokenizer.json has it: merges in the order of the scores of what they
    make."""
    import sentencepiece
    p = sentencepiece.SentencePieceProcessor(model_file=model)
    names = [p.id_to_piece(i) for i in range(p.get_piece_size())]
    ids = {name: i for i, name in enumerate(names)}
    special = [i for i in range(len(names)) if p.is_control(i) or p.is_unknown(i)]
    with open(model, "rb") as file:
        kinds = piece_kinds(file.read())
    merges = []
    for i in sorted((i for i in range(len(names)) if kinds[i] == 1), key=lambda i: -p.get_score(i)):
        splits = [(names[i][:k], names[i][k:]) for k in range(1, len(names[i]))]
        merges += sorted(((a, b) for a, b in splits if a in ids and b in ids),
                         key=lambda ab: (ids[ab[0]], ids[ab[1]]))
    added = [{"id": i, "content": names[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": i in special} for i in range(len(names)) if i in special
             or kinds[i] == 4]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                          "invert": False},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": ids, "merges": merges}}
    with open(path, "w") as out:
        json.dump(content, out, ensure_ascii=False, indent=0)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def piece_kinds(data):
    """Field 3 of every piece of a SentencePiece model: 1 normal, 2 unknown, 3 control, 4 user-defined, 6
    byte."""
    kinds, at = [], 0
    while at < len(data):
        tag, at = varint(data, at)
        assert tag & 7 in (0, 2), tag
        length, at = varint(data, at)
        if tag == 10:
            end, kind = at + length, 1
            while at < end:
                inner, at = varint(data, at)
                if inner & 7 == 5:
                    at += 4
                else:
                    value, at = varint(data, at)
                    kind = value if inner == 24 else kind
                    at += value if inner & 7 == 2 else 0
            kinds.append(kind)
        elif tag & 7 == 2:
            at += length
    return kinds


@torch.no_grad()
def make_text(config, folder, seed=1, half=True):
    """Writes model.safetensors, tokenizer.model and tokenizer.json; returns the two that siglip.py reads."""
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    join = lambda name: os.path.join(folder, name)
    train_tokenizer(join("tokenizer.model"), min(config.pieces, 512))
    write_tokenizer_json(join("tokenizer.model"), join("tokenizer.json"))
    rounded = lambda t: t.half().float()
    tensors = {n: rounded(t) for n, t in text_tensors(config, seed).items()}
    if config.pieces == 512:                                  # text vectors must differ by class
        model = siglip.Model()
        siglip.add_siglip(model, {n.removeprefix("text_model."): t for n, t in tensors.items()}, config.heads)
        pieces = siglip.Pieces(join("tokenizer.model"))
        found = [siglip.encode(model, pieces(t.replace("{}", p), config.context)) for p in PHRASES
                 for t in TEMPLATES[::20]]
        tensors["text_model.head.bias"] = rounded(tensors["text_model.head.bias"] - 0.95
                                                  * torch.stack(found).mean(0))
    beside = {"logit_scale": torch.tensor([4.7]), "logit_bias": torch.tensor([-16.5]),
              "vision_model.post_layernorm.weight": torch.ones(config.width),
              "vision_model.post_layernorm.bias": torch.zeros(config.width)}
    save_file({n: t.half() if half else t for n, t in (tensors | beside).items()}, join("model.safetensors"),
              metadata={"format": "pt"})
    return join("model.safetensors"), join("tokenizer.model")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config", choices=[*CONFIGS, "text", "so400m"])
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    os.makedirs(a.directory, exist_ok=True)
    if a.config in ("text", "so400m"):
        paths = make_text(Text() if a.config == "text" else SO400M, a.directory, a.seed)
    else:
        paths = [make_radio(CONFIGS[a.config], os.path.join(a.directory, a.config + ".pth.tar"), a.seed)]
    for path in paths:
        print(path, os.path.getsize(path))


if __name__ == "__main__":
    main()
