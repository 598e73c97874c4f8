"""C-RADIO with its heads, under the names of docs/decisions/0005-radseg-storage.md, as float32.

Read from a checkpoint of NVlabs/RADIO (`.pth.tar`, every known spelling), from RADSeg's part of our GGUF
file, or from the checkpoint as our file would hold it (`quantized`). Layer scale is always folded: `g1` into
the rows and bias of `out` in every block but the last, `g2` into those of `mlp_out` in every block; the
product of two float32 numbers, rounded once to float32, before a row's scale is taken. The last block's `g1`
is `radio.scale.last`.

What is assumed of the file: linear layers INT8, one scale an output channel, `max|row| / 127`, half to even;
the whole position table as halves, nothing resampled; prefix tokens, norms, biases, the last scale and the
normalizer's mean as float32. Spectral parametrizations are folded in double and rounded once to float32.
"""

import argparse
import pickle
import re
from types import SimpleNamespace

import numpy as np
import torch
import weights

HEADS = {"vit_base": (768, 12), "vit_large": (1024, 16), "vit_so400m": (1152, 16), "vit_huge": (1280, 16),
         "vit_giant": (1536, 24)}
SKIPPED = ("_intermediate_feature_normalizer.", "_loss_states.", "adaloss", "lean_in_expected_losses",
           "weight_balance_mask")


class Model(weights.Model):
    """As for Trident, with `radio` (sizes), `siglip` (sizes) and `pieces` (SentencePiece's table)."""

    def __init__(self):
        super().__init__()
        self.radio = self.siglip = self.pieces = None


# ------------------------------------------------------------------ the file

class Inert:
    """Stands in for an object of a class nobody here knows."""

    def __init__(self, *arguments, **named):
        pass

    def __setstate__(self, state):
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if module.split(".")[0] in ("torch", "collections", "argparse", "numpy", "builtins", "_codecs"):
            return super().find_class(module, name)
        return type(name, (Inert,), {})


def read_checkpoint(path):
    """state dict (EMA first), args (a Namespace, or None where there is none), whether it is the EMA."""
    reader = SimpleNamespace(Unpickler=Unpickler, load=lambda f, **k: Unpickler(f, **k).load(),
                             __name__="inert")
    content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    ema = "state_dict_ema" in content
    state = content["state_dict_ema" if ema else "state_dict"]
    state = {n.removeprefix("module."): t for n, t in state.items()
             if not n.removeprefix("module.").startswith(SKIPPED)}
    args = content.get("args")
    return state, args if isinstance(args, argparse.Namespace) else None, ema


# ------------------------------------------------------------------ spectral reparametrization

def fold_part(weight, state, prefix, steps, epsilon):
    """`weight` [o, i] times its learned norm over its spectral norm; the power steps of the public loader
    come first."""
    if prefix + "scale" not in state:
        return weight.float()
    m = weight.double()
    u, v = state[prefix + "_u"].double(), state[prefix + "_v"].double()
    unit = lambda x: x / max(float(x.norm()), epsilon)
    for _ in range(steps):
        u = unit(m @ v)
        v = unit(m.T @ u)
    sigma = float(u @ (m @ v)) + epsilon
    scale = float(state[prefix + "scale"].double())
    if int(state.get(prefix + "_sn_version", 1)) == 2:
        scale = float(torch.nn.functional.softplus(torch.tensor(scale, dtype=torch.float64))) + 0.05
    return (m * (scale / sigma)).float()


def plain_weights(state, args):
    """The same state dict with every parametrized linear folded to `NAME.weight`."""
    out, ending = {}, ".parametrizations.weight.original"
    setting = getattr(args, "spectral_reparam", False)
    for name, t in state.items():
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            backbone = stem.startswith("base_model.") and isinstance(setting, dict)
            steps = setting.get("n_power_iterations", 1) if backbone else 1
            epsilon = setting.get("eps", 1e-12) if backbone else 1e-6
            prefix = stem + ".parametrizations.weight.0."
            parts = [n for n in state if n.startswith(prefix + "parts.")]
            if parts:
                pieces = t.split(len(t) // 3)
                out[stem + ".weight"] = torch.cat([fold_part(p, state, f"{prefix}parts.{j}.", steps, epsilon)
                                                   for j, p in enumerate(pieces)])
            else:
                out[stem + ".weight"] = fold_part(t, state, prefix, steps, epsilon)
        elif ".parametrizations." not in name:
            out[name] = t.float() if t.is_floating_point() else t
    return out


# ------------------------------------------------------------------ heads

def teacher(args, kind):
    """Position and entry of the first teacher of that type (its name counts where no type is given)."""
    for index, entry in enumerate(getattr(args, "teachers", None) or []):
        if entry.get("type", entry.get("name")) == kind or (kind == "sam" and entry.get("name") == "sam"):
            return index, entry
    return None


def head_prefix(state, group, index, name):
    for prefix in (f"{group}.{index}.", f"{group}.{name}."):
        if any(n.startswith(prefix) for n in state):
            return prefix
    return None


def language_prefix(state, args):
    """Prefix of the language head and its teacher's entry."""
    if args is not None and (found := teacher(args, "siglip2")):
        index, entry = found
        return head_prefix(state, "_heads", index, entry["name"]), entry
    widths = {}
    for name, t in state.items():
        if match := re.fullmatch(r"(_heads\.[^.]+\.)(final\.2|fc2)\.weight", name):
            widths[match[1]] = t.shape[0]
    chosen = [p for p, width in widths.items() if width == 1152]
    if len(chosen) != 1:
        raise ValueError("no teacher of type siglip2 is named, and not exactly one head has 1152 outputs")
    return chosen[0], {"name": "siglip2", "model": "siglip2-so400m"}


def add_head(tensors, ours, state, prefix):
    """fc1, blocks or norm, last linear as `OURS.in`, `OURS.blocks.J.{norm,out}`, `OURS.norm`, `OURS.out`;
    returns the version."""
    copy = lambda to, name: tensors.update({f"{ours}.{to}.{leaf}": state[f"{prefix}{name}.{leaf}"]
                                            for leaf in ("weight", "bias")})
    copy("in", "fc1")
    if prefix + "final.2.weight" in state:
        count = 0
        while f"{prefix}blocks.{count}.0.weight" in state:
            copy(f"blocks.{count}.norm", f"blocks.{count}.0")
            copy(f"blocks.{count}.out", f"blocks.{count}.2")
            count += 1
        copy("norm", "final.0")
        copy("out", "final.2")
        return "v2"
    if any(n.startswith(prefix + "inner.") for n in state):
        raise ValueError("a head of version v1 with inner layers, which the public code cannot load either")
    copy("norm", "norm")
    copy("out", "fc2")
    return "v1"


# ------------------------------------------------------------------ the model

def heads_of(args, width):
    """`args.model_kwargs.num_heads`, else what the architecture has at this width, else heads of 64."""
    if (given := (getattr(args, "model_kwargs", None) or {}).get("num_heads")) is not None:
        return given
    for name, (usual, heads) in HEADS.items():
        if str(getattr(args, "model", "")).startswith(name) and usual == width:
            return heads
    return width // 64


def add_block(t, state, n, last):
    base, ours = f"base_model.blocks.{n}.", f"radio.blocks.{n}."
    scale = lambda which: next((state[f"{base}{which}.{k}"] for k in ("gamma", "grandma")
                                if f"{base}{which}.{k}" in state), None)
    for to, name in (("norm1", "norm1"), ("qkv", "attn.qkv"), ("out", "attn.proj"), ("norm2", "norm2"),
                     ("mlp_in", "mlp.fc1"), ("mlp_out", "mlp.fc2")):
        weight, bias = state[f"{base}{name}.weight"], state[f"{base}{name}.bias"]
        g = {"out": scale("ls1"), "mlp_out": scale("ls2")}.get(to)
        if g is not None and not (last and to == "out"):
            weight, bias = weight * g[:, None], bias * g
        t[f"{ours}{to}.weight"], t[f"{ours}{to}.bias"] = weight, bias
    if last:
        g = scale("ls1")
        t["radio.scale.last"] = torch.ones(len(t[ours + "norm1.weight"])) if g is None else g


def from_checkpoint(path):
    state, args, ema = read_checkpoint(path)
    state = {n: t.float() if t.is_floating_point() else t
             for n, t in state.items()} if ema else plain_weights(state, args)
    model = Model()
    t = model.tensors
    generator = "base_model.patch_generator."
    t["radio.patch.weight"] = state[generator + "embedder.weight"]
    t["radio.prefix"] = state[generator + "cls_token.token"]
    t["radio.position"] = state[generator + "pos_embed"][0]
    depth = 1 + max(int(m[1]) for n in state if (m := re.match(r"base_model\.blocks\.(\d+)\.", n)))
    for n in range(depth):
        add_block(t, state, n, n == depth - 1)
    normed = bool(getattr(args, "model_norm", False))
    for leaf in ("weight", "bias") if normed else ():
        t["radio.norm_post." + leaf] = state["base_model.norm." + leaf]
    if "_feature_normalizer.mean" in state:
        t["radio.normalizer.mean"] = state["_feature_normalizer.mean"]
        t["radio.normalizer.tx.weight"] = state["_feature_normalizer.tx"]
    prefix, entry = language_prefix(state, args)
    if prefix is None:
        raise ValueError(f"{path} has no language head; get the .pth.tar")
    version = add_head(t, "radio.head", state, prefix)
    sam_version = None
    if args is not None and (found := teacher(args, "sam")):
        if sam_prefix := head_prefix(state, "_feature_projections", found[0], found[1]["name"]):
            sam_version = add_head(t, "radio.sam_head", state, sam_prefix)
    width = len(t["radio.prefix"][0])
    model.radio = SimpleNamespace(
        width=width, depth=depth, heads=heads_of(args, width),
        patch=round((t["radio.patch.weight"].shape[1] // 3) ** 0.5),
        grid=round(len(t["radio.position"]) ** 0.5), prefix=len(t["radio.prefix"]), epsilon=1e-6,
        head_epsilon=1e-5, head_version=version, sam_head_version=sam_version,
        embed_dim=len(t["radio.head.out.bias"]), text_model=entry.get("model"))
    return model


def add_sam_parts(model, path, decoder_heads=8):
    """Neck, prompt encoder and mask decoder of a SAM checkpoint; its image encoder is left out."""
    weights.add_sam(model, weights.read_sam(path), decoder_heads)
    for name in [n for n in model.tensors if n.startswith(("sam.blocks.", "sam.patch."))
                 or n == "sam.position"]:
        del model.tensors[name]


def quantized(model):
    """The same model with the weights our file would hold."""
    out = Model()
    out.__dict__.update(model.__dict__)
    out.tensors = {}
    for name, t in model.tensors.items():
        if name.startswith("sam."):
            kept = ("gaussian", "points", "mask_tokens", "iou_token")
            small = any(p in name for p in (".hyper.", ".iou.", ".prompt."))
            stays = t.ndim != 2 or name.endswith(kept) or small
            t = t if stays else weights.quantize_rows(t)
        elif name == "siglip.token" or (t.ndim == 2 and name.endswith(".weight")):
            t = weights.quantize_rows(t)
        out.tensors[name] = t
    return out


# ------------------------------------------------------------------ our GGUF file

def size_before_padding(model, key, stem, network):
    """[outputs, inputs] of a packed layer."""
    c = getattr(model, network)
    if network == "sam":
        return sam_size_before_padding(c, key, stem)
    mlp = key(f"trident.{network}.mlp_width")
    if stem == "radio.patch":
        return c.width, 3 * c.patch * c.patch
    if stem == "radio.normalizer.tx":
        return c.width, c.width
    if ".blocks." in stem and not stem.startswith(("radio.head.", "radio.sam_head.")):
        return {"qkv": (3 * c.width, c.width), "out": (c.width, c.width), "mlp_in": (mlp, c.width),
                "mlp_out": (c.width, mlp)}[stem.rsplit(".", 1)[1]]
    if stem == "siglip.head":
        return c.embed_dim, c.width
    head = stem.split(".")[1]                                # head or sam_head
    hidden = key(f"trident.radio.{head}.hidden")
    return {"in": (hidden, c.width), "out": (key(f"trident.radio.{head}.outputs"), hidden)}.get(
        stem.removeprefix(f"radio.{head}."), (hidden, hidden))


def sam_size_before_padding(c, key, stem):
    d = c.neck
    inner, hidden = key("trident.sam.decoder.attention_width"), key("trident.sam.decoder.mlp_width")
    table = {"sam.neck.conv1": (d, c.width), "sam.neck.conv2": (d, 9 * d), "sam.decoder.upscale.0": (d, d),
             "sam.decoder.upscale.3": (d // 2, d // 4)}
    if stem in table:
        return table[stem]
    if stem.endswith(("mlp_in", "mlp_out")):
        return (hidden, d) if stem.endswith("mlp_in") else (d, hidden)
    width = d if ".self_attn." in stem else inner
    return (d, width) if stem.endswith(".out") else (width, d)


def from_gguf(path, networks=None):
    """RADSeg's tensors of our file: the integers times their scales, heads unspread."""
    import gguf
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields[name].contents()
    maybe = lambda name: key(name) if name in reader.fields else None
    raw = {t.name: t for t in reader.tensors}
    model = Model()
    networks = networks or sorted({n.split(".")[0] for n in raw})
    for network in networks:
        read = lambda names: {n.split("=")[0]: key(f"trident.{network}.{n.split('=')[-1]}")
                              for n in names.split()}
        if network == "radio":
            c = read("width depth heads patch grid prefix epsilon=norm_epsilon embed_dim text_model "
                     "head_version=head.version")
            c |= dict(head_epsilon=1e-5, sam_head_version=maybe("trident.radio.sam_head.version"))
        elif network == "sam":
            c = read("width patch grid side=image_side neck=neck_width decoder_depth=decoder.depth "
                     "decoder_heads=decoder.heads")
        else:
            c = read("width depth heads context vocab epsilon=norm_epsilon embed_dim")
        setattr(model, network, SimpleNamespace(**c))
    for name, tensor in raw.items():
        network = name.split(".")[0]
        if network not in networks:
            continue
        stem, _, leaf = name.rpartition(".")
        packed = stem + ".weight" in raw and raw[stem + ".weight"].tensor_type.name == "I8"
        if (leaf in ("scale", "sum") and packed) or (leaf == "bias" and packed):
            continue
        shape = [int(n) for n in tensor.shape]
        if name == "siglip.token.weight":
            table = np.asarray(tensor.data).view(np.int8).reshape(shape[::-1]).astype(np.float32)
            scale = np.asarray(raw["siglip.token.scale"].data).reshape(-1, 1)
            model.tensors["siglip.token"] = torch.from_numpy(table * scale)
        elif packed:
            unpack(model, key, raw, stem, network, shape)
        else:
            values = np.asarray(tensor.data).astype(np.float32).reshape(shape[::-1])
            model.tensors[name] = torch.from_numpy(np.ascontiguousarray(values))
    # listed with rows and columns the other way round
    if "sam" in networks:
        model.tensors["sam.prompt.gaussian"] = model["sam.prompt.gaussian"].reshape(2, -1)
        model.tensors["sam.decoder.iou_token"] = model["sam.decoder.iou_token"].reshape(1, -1)
    return model


def unpack(model, key, raw, stem, network, shape):
    """One packed layer: weight and bias without padding, under their plain names."""
    depth, outputs = shape
    matrix = weights.unpack_panels(raw[stem + ".weight"].data, depth, outputs).astype(np.float32)
    matrix *= np.asarray(raw[stem + ".scale"].data).reshape(-1, 1)
    n, k = size_before_padding(model, key, stem, network)
    rows, columns = np.arange(n), np.arange(k)
    if stem.startswith(f"{network}.blocks.") and stem.endswith((".qkv", ".out")):
        c = getattr(model, network)
        spread, padded = weights._spread(c.width, c.heads)
        if stem.endswith(".qkv"):
            rows = np.concatenate([spread + part * padded for part in range(3)])
        else:
            columns = spread
    model.tensors[stem + ".weight"] = torch.from_numpy(np.ascontiguousarray(matrix[rows][:, columns]))
    if stem + ".bias" in raw:
        model.tensors[stem + ".bias"] = torch.from_numpy(np.asarray(raw[stem + ".bias"].data)[rows].copy())
