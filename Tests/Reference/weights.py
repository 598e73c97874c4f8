"""Weights under the names of docs/model-file.md, as float32, from published checkpoints or from our GGUF file.

`Model.tensors` holds plain matrices `[outputs, inputs]` (heads not padded), whatever the source packed.
"""

import re
from types import SimpleNamespace

import numpy as np
import torch

from tokenizer import read_vocabulary


class Model:
    def __init__(self):
        self.tensors = {}
        self.clip = self.text = self.dino = self.sam = None
        self.activation = "quickgelu"
        self.merges = None

    def __getitem__(self, name):
        return self.tensors[name]

    def get(self, name):
        return self.tensors.get(name)


def _side(count):
    side = round(count ** 0.5)
    assert side * side == count, count
    return side


def _depth(names, pattern):
    return 1 + max(int(m[1]) for n in names if (m := re.match(pattern, n)))


def _head_width(width):
    """The family's head width: 64, but 80 in CLIP's H/14 (1280) and in widths 64 does not divide."""
    return 80 if width == 1280 or width % 64 else 64


# ------------------------------------------------------------------ CLIP

def read_clip(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file
        state = load_file(path)
    else:
        try:
            state = torch.jit.load(path, map_location="cpu").state_dict()
        except RuntimeError:
            state = torch.load(path, map_location="cpu", weights_only=False)
    if "state_dict" in state:
        state = state["state_dict"]
    state = {n.removeprefix("module."): t for n, t in state.items()}
    if "visual_projection.weight" in state:
        state = _from_huggingface(state)
    return {n: t.float() for n, t in state.items()}


def _from_huggingface(state):
    out = {"visual.proj": state["visual_projection.weight"].T, "text_projection": state["text_projection.weight"].T,
           "logit_scale": state["logit_scale"]}
    simple = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "vision_model.pre_layrnorm": "visual.ln_pre", "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final"}
    block = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}
    for name, t in state.items():
        stem, _, leaf = name.rpartition(".")
        if name in simple:
            out[simple[name]] = t
        elif stem in simple:
            out[f"{simple[stem]}.{leaf}"] = t
        elif match := re.fullmatch(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.*)", stem):
            prefix = ("visual." if match[1] == "vision" else "") + f"transformer.resblocks.{match[2]}."
            if match[3] in block:
                out[f"{prefix}{block[match[3]]}.{leaf}"] = t
            elif match[3] == "self_attn.q_proj":
                parts = [state[name.replace("q_proj", x + "_proj")] for x in "qkv"]
                out[f"{prefix}attn.in_proj_{leaf}"] = torch.cat(parts)
    return out


def add_clip(model, state, activation):
    t = model.tensors
    model.activation = activation
    block = {"ln_1": "norm1", "ln_2": "norm2", "attn.out_proj": "out", "mlp.c_fc": "mlp_in", "mlp.c_proj": "mlp_out"}
    for name, value in state.items():
        if match := re.match(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.*)$", name):
            prefix = ("clip" if match[1] else "text") + f".blocks.{match[2]}."
            if match[3].startswith("attn.in_proj_"):
                t[prefix + "qkv." + match[3][13:]] = value
            else:
                stem, _, leaf = match[3].rpartition(".")
                t[f"{prefix}{block[stem]}.{leaf}"] = value
    conv = state["visual.conv1.weight"]
    t["clip.patch.weight"] = conv.flatten(1)
    t["clip.class_embedding"] = state["visual.class_embedding"]
    t["clip.position"] = state["visual.positional_embedding"]
    for ours, theirs in (("clip.norm_pre", "visual.ln_pre"), ("clip.norm_post", "visual.ln_post"),
                         ("text.norm_post", "ln_final")):
        for leaf in ("weight", "bias"):
            t[f"{ours}.{leaf}"] = state[f"{theirs}.{leaf}"]
    t["clip.proj.weight"] = state["visual.proj"].T
    t["text.proj.weight"] = state["text_projection"].T
    t["text.token"] = state["token_embedding.weight"]
    t["text.position"] = state["positional_embedding"]
    width, text_width = conv.shape[0], t["text.token"].shape[1]
    model.clip = SimpleNamespace(
        width=width, patch=conv.shape[-1], grid=_side(len(t["clip.position"]) - 1), epsilon=1e-5,
        depth=_depth(t, r"clip\.blocks\.(\d+)\."), heads=max(width // _head_width(width), 1))
    model.text = SimpleNamespace(
        width=text_width, context=len(t["text.position"]), vocab=len(t["text.token"]), epsilon=1e-5,
        depth=_depth(t, r"text\.blocks\.(\d+)\."), heads=text_width // 64)


def suppress_channels(state, blocks):
    """GCLIP's channel suppression in a state dict of `read_clip`, in place: in the MLP's second matrix of each
    image block, counted from one, the row of the largest norm gets the mean norm of the others. Returns
    (block, row, its norm, its factor) each. Source: arXiv 2502.06818, known at second hand only.
    """
    found = []
    for block in blocks:
        weight = state[f"visual.transformer.resblocks.{block - 1}.mlp.c_proj.weight"]
        norms = torch.linalg.vector_norm(weight.double(), dim=1)
        row = int(norms.argmax())
        others = torch.cat([norms[:row], norms[row + 1:]])
        factor = (others.mean() / norms[row]).float()
        weight[row] *= factor
        found.append((block, row, float(norms[row].float()), float(factor)))
    return found


# ------------------------------------------------------------------ DINO and SAM

def read_dino(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=False)
    if "teacher" in state:
        state = {n.removeprefix("module."): t for n, t in state["teacher"].items()}
        state = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
    return state


def add_dino(model, state):
    import dinov2
    if dinov2.is_dinov2(state):
        dinov2.add(model, state)
        return
    t = model.tensors
    block = {"norm1": "norm1", "norm2": "norm2", "attn.qkv": "qkv", "attn.proj": "out", "mlp.fc1": "mlp_in",
             "mlp.fc2": "mlp_out"}
    for name, value in state.items():
        if match := re.match(r"blocks\.(\d+)\.(.*)\.(weight|bias)$", name):
            t[f"dino.blocks.{match[1]}.{block[match[2]]}.{match[3]}"] = value.float()
    conv = state["patch_embed.proj.weight"].float()
    t["dino.patch.weight"], t["dino.patch.bias"] = conv.flatten(1), state["patch_embed.proj.bias"].float()
    t["dino.class_embedding"] = state["cls_token"].float().flatten()
    t["dino.position"] = state["pos_embed"].float()[0]
    for leaf in ("weight", "bias"):
        t[f"dino.norm_post.{leaf}"] = state[f"norm.{leaf}"].float()
    model.dino = SimpleNamespace(
        width=conv.shape[0], patch=conv.shape[-1], grid=_side(len(t["dino.position"]) - 1), epsilon=1e-6,
        depth=_depth(t, r"dino\.blocks\.(\d+)\."), heads=conv.shape[0] // 64)


def read_sam(path):
    return {n: v.float() for n, v in torch.load(path, map_location="cpu", weights_only=False).items()}


def add_sam(model, state, decoder_heads=8):
    t = model.tensors
    renames = [
        (r"image_encoder\.blocks\.(\d+)\.norm(\d)\.(.*)", r"sam.blocks.\1.norm\2.\3"),
        (r"image_encoder\.blocks\.(\d+)\.attn\.qkv\.(.*)", r"sam.blocks.\1.qkv.\2"),
        (r"image_encoder\.blocks\.(\d+)\.attn\.proj\.(.*)", r"sam.blocks.\1.out.\2"),
        (r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_(.)", r"sam.blocks.\1.rel_\2"),
        (r"image_encoder\.blocks\.(\d+)\.mlp\.lin1\.(.*)", r"sam.blocks.\1.mlp_in.\2"),
        (r"image_encoder\.blocks\.(\d+)\.mlp\.lin2\.(.*)", r"sam.blocks.\1.mlp_out.\2"),
        (r"image_encoder\.neck\.1\.(.*)", r"sam.neck.norm1.\1"),
        (r"image_encoder\.neck\.3\.(.*)", r"sam.neck.norm2.\1"),
        (r"prompt_encoder\.mask_downscaling\.(\d)\.(.*)", r"sam.prompt.mask.\1.\2"),
        (r"prompt_encoder\.not_a_point_embed\.weight", r"sam.prompt.not_a_point"),
        (r"prompt_encoder\.no_mask_embed\.weight", r"sam.prompt.no_mask"),
        (r"mask_decoder\.iou_token\.weight", r"sam.decoder.iou_token"),
        (r"mask_decoder\.mask_tokens\.weight", r"sam.decoder.mask_tokens"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.self_attn\.(\w+)_proj\.(.*)", r"sam.decoder.layers.\1.self_attn.\2.\3"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.cross_attn_token_to_image\.(\w+)_proj\.(.*)",
         r"sam.decoder.layers.\1.cross_token.\2.\3"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.cross_attn_image_to_token\.(\w+)_proj\.(.*)",
         r"sam.decoder.layers.\1.cross_image.\2.\3"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.mlp\.lin1\.(.*)", r"sam.decoder.layers.\1.mlp_in.\2"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.mlp\.lin2\.(.*)", r"sam.decoder.layers.\1.mlp_out.\2"),
        (r"mask_decoder\.transformer\.layers\.(\d)\.norm(\d)\.(.*)", r"sam.decoder.layers.\1.norm\2.\3"),
        (r"mask_decoder\.transformer\.final_attn_token_to_image\.(\w+)_proj\.(.*)", r"sam.decoder.final.\1.\2"),
        (r"mask_decoder\.transformer\.norm_final_attn\.(.*)", r"sam.decoder.final.norm.\1"),
        (r"mask_decoder\.output_upscaling\.(\d)\.(.*)", r"sam.decoder.upscale.\1.\2"),
        (r"mask_decoder\.output_hypernetworks_mlps\.0\.layers\.(\d)\.(.*)", r"sam.decoder.hyper.\1.\2"),
        (r"mask_decoder\.iou_prediction_head\.layers\.(\d)\.(.*)", r"sam.decoder.iou.\1.\2"),
    ]
    for name, value in state.items():
        for pattern, ours in renames:
            if match := re.fullmatch(pattern, name):
                t[match.expand(ours)] = value
                break
    conv = state["image_encoder.patch_embed.proj.weight"]
    t["sam.patch.weight"], t["sam.patch.bias"] = conv.flatten(1), state["image_encoder.patch_embed.proj.bias"]
    t["sam.position"] = state["image_encoder.pos_embed"][0].flatten(0, 1)
    t["sam.neck.conv1.weight"] = state["image_encoder.neck.0.weight"].flatten(1)
    t["sam.neck.conv2.weight"] = state["image_encoder.neck.2.weight"].permute(0, 2, 3, 1).flatten(1)   # (ky, kx, channel)
    t["sam.prompt.gaussian"] = state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    t["sam.prompt.points"] = torch.cat([state[f"prompt_encoder.point_embeddings.{n}.weight"] for n in range(4)])
    for n in ("0", "3"):
        weight = t[f"sam.decoder.upscale.{n}.weight"]                                                  # [in, out, 2, 2]
        t[f"sam.decoder.upscale.{n}.weight"] = weight.permute(2, 3, 1, 0).flatten(0, 2)               # [(ky, kx, out), in]
        t[f"sam.decoder.upscale.{n}.bias"] = t[f"sam.decoder.upscale.{n}.bias"].repeat(4)
    for n in ("not_a_point", "no_mask"):
        t["sam.prompt." + n] = t["sam.prompt." + n].flatten()
    width, grid = conv.shape[0], _side(len(t["sam.position"]))
    depth = _depth(t, r"sam\.blocks\.(\d+)\.")
    sides = [(len(t[f"sam.blocks.{n}.rel_h"]) + 1) // 2 for n in range(depth)]
    model.sam = SimpleNamespace(
        width=width, depth=depth, heads=width // t["sam.blocks.0.rel_h"].shape[1], patch=conv.shape[-1], grid=grid,
        side=grid * conv.shape[-1], window=min(sides), global_blocks=[n for n, s in enumerate(sides) if s == grid],
        neck=len(t["sam.neck.norm1.weight"]), epsilon=1e-6, decoder_heads=decoder_heads,
        decoder_depth=_depth(t, r"sam\.decoder\.layers\.(\d+)\."))


def from_checkpoints(clip, dino, sam, vocab, activation):
    model = Model()
    add_clip(model, read_clip(clip), activation)
    add_dino(model, read_dino(dino))
    add_sam(model, read_sam(sam))
    model.merges = read_vocabulary(vocab)
    return model


# ------------------------------------------------------------------ quantized as our file does it

def quantize_rows(matrix):
    """Symmetric INT8, one scale a row, half to even; given back as float32."""
    scale = matrix.abs().amax(1, keepdim=True) / 127
    scale[scale == 0] = 1
    return (matrix / scale).round() * scale


def quantized(model):
    """The same model with the weights our file would hold (docs/model-file.md)."""
    out = Model()
    out.__dict__.update(model.__dict__)
    out.tensors = {}
    for name, t in model.tensors.items():
        parts = name.split(".")
        stays = t.ndim != 2 or parts[-1] in ("rel_h", "rel_w", "gaussian", "points", "mask_tokens", "iou_token", "registers", "position") \
            or ".hyper." in name or ".iou." in name or ".prompt." in name
        if name == "text.token" or not stays:
            t = quantize_rows(t)
        out.tensors[name] = t
    return out


# ------------------------------------------------------------------ our GGUF file

def unpack_panels(data, depth, outputs):
    """Bytes in panel16x4 order to integers [outputs, depth] (both padded)."""
    panels = np.asarray(data).view(np.int8).reshape(outputs // 16, depth // 4, 16, 4)
    return panels.transpose(0, 2, 1, 3).reshape(outputs, depth)


def _spread(width, heads):
    """Positions of the real rows among heads padded to a multiple of 16."""
    head = width // heads
    padded = -(-head // 16) * 16
    return np.concatenate([np.arange(head) + h * padded for h in range(heads)]), padded * heads


def from_gguf(path):
    import gguf
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields[name].contents()
    raw = {t.name: t for t in reader.tensors}
    model = Model()
    read = lambda net, names: SimpleNamespace(**{n.split("=")[0]: key(f"trident.{net}.{n.split('=')[-1]}") for n in names.split()})
    common = "width depth heads"
    model.clip = read("clip", common + " patch grid epsilon=norm_epsilon embed_dim")
    model.text = read("text", common + " context vocab")
    model.text.epsilon = model.clip.epsilon
    if "trident.dino.width" in reader.fields:
        model.dino = read("dino", common + " patch grid epsilon=norm_epsilon")
        if "trident.dino.position_rule" in reader.fields:          # DINOv2
            model.dino.position_rule = key("trident.dino.position_rule")
        if "trident.dino.mlp" in reader.fields:
            model.dino.mlp = key("trident.dino.mlp")
    if "trident.sam.width" in reader.fields:
        model.sam = read("sam", common + " patch grid window side=image_side neck=neck_width epsilon=norm_epsilon "
                         "decoder_depth=decoder.depth decoder_heads=decoder.heads")
        model.sam.global_blocks = list(key("trident.sam.global_blocks"))
    model.activation = key("trident.clip.activation")
    model.merges = [tuple(m.split(" ")) for m in key("tokenizer.ggml.merges")]

    def real_size(stem):
        """[outputs, inputs] before padding, of a packed layer."""
        net = stem.split(".")[0]
        c = getattr(model, net)
        mlp = lambda: key(f"trident.{net}.mlp_width")
        if stem == "clip.patch" or stem == "dino.patch" or stem == "sam.patch":
            return c.width, 3 * c.patch * c.patch
        if stem.endswith("clip.proj") or stem.endswith("text.proj"):
            return model.clip.embed_dim, c.width
        if ".blocks." in stem:
            last = stem.rsplit(".", 1)[1]
            return {"qkv": (3 * c.width, c.width), "out": (c.width, c.width),
                    "mlp_in": (mlp() * (2 if hasattr(c, "mlp") else 1), c.width), "mlp_out": (c.width, mlp())}[last]
        d = model.sam.neck
        inner = key("trident.sam.decoder.attention_width")
        hidden = key("trident.sam.decoder.mlp_width")
        table = {"sam.neck.conv1": (d, model.sam.width), "sam.neck.conv2": (d, 9 * d),
                 "sam.decoder.upscale.0": (d, d), "sam.decoder.upscale.3": (d // 2, d // 4)}
        if stem in table:
            return table[stem]
        if stem.endswith("mlp_in"):
            return hidden, d
        if stem.endswith("mlp_out"):
            return d, hidden
        width = d if ".self_attn." in stem else inner
        return (d, width) if stem.endswith(".out") else (width, d)

    for name, tensor in raw.items():
        shape = [int(n) for n in tensor.shape]            # fastest first
        kind = tensor.tensor_type.name
        if kind == "I8" and name != "text.token.weight":
            stem = name.removesuffix(".weight")
            depth, outputs = shape
            matrix = unpack_panels(tensor.data, depth, outputs).astype(np.float32)
            matrix *= np.asarray(raw[stem + ".scale"].data).reshape(-1, 1)
            bias = np.asarray(raw[stem + ".bias"].data).copy() if stem + ".bias" in raw else None
            n, k = real_size(stem)
            if ".blocks." in stem and stem.endswith((".qkv", ".out")):
                c = getattr(model, stem.split(".")[0])
                rows, padded = _spread(c.width, c.heads)
                if stem.endswith(".qkv"):
                    rows = np.concatenate([rows + part * padded for part in range(3)])
                    matrix, bias = matrix[rows, :k], bias[rows]
                else:
                    matrix, bias = matrix[:n, rows], bias[:n]
            else:
                matrix = matrix[:n, :k]
                bias = None if bias is None else bias[:n]
            model.tensors[name] = torch.from_numpy(np.ascontiguousarray(matrix))
            if bias is not None:
                model.tensors[stem + ".bias"] = torch.from_numpy(np.ascontiguousarray(bias))
        elif name == "text.token.weight":
            table = np.asarray(tensor.data).view(np.int8).reshape(shape[1], shape[0]).astype(np.float32)
            model.tensors["text.token"] = torch.from_numpy(table * np.asarray(raw["text.token.scale"].data).reshape(-1, 1))
        elif kind in ("F32", "F16"):
            stem, _, leaf = name.rpartition(".")
            if leaf in ("scale",) or (leaf == "bias" and raw.get(stem + ".weight") is not None
                                      and raw[stem + ".weight"].tensor_type.name == "I8"):
                continue
            values = np.asarray(tensor.data).astype(np.float32).reshape(shape[::-1])
            model.tensors[name] = torch.from_numpy(np.ascontiguousarray(values))
    # Shapes as the checkpoint reader leaves them. Dimensions are fastest first, so numpy's order is the plain one,
    # except that the file lists some tables with rows and columns named the other way round.
    t = model.tensors
    if model.sam:
        t["sam.prompt.gaussian"] = t["sam.prompt.gaussian"].reshape(2, -1)
        t["sam.decoder.iou_token"] = t["sam.decoder.iou_token"].reshape(1, -1)
    return model
