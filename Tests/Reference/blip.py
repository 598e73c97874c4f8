"""BLIP's image-text matching network, plainly: checkpoints of Salesforce and Hugging Face, forward passes of
both towers, and the gradient that PnP-OVSS takes, by autograd and in closed form.

Written from the behaviour pinned for this project; it shares no code with the programs it judges. Every
function works in the precision of the weights it is given. `stored` makes the weights what our file holds:
linear layers and the word table INT8 with a scale a row, max|row| / 127, half to even.
"""

import math
import re

import numpy as np
import torch
import torch.nn.functional as F

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
HEAD = 64

# Hugging Face to Salesforce; the text tower and the heads have one name in both.
RENAMES = (
    (r"vision_model\.embeddings\.class_embedding", r"visual_encoder.cls_token"),
    (r"vision_model\.embeddings\.position_embedding", r"visual_encoder.pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.", r"visual_encoder.patch_embed.proj."),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.", r"visual_encoder.blocks.\1.norm\2."),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.qkv\.", r"visual_encoder.blocks.\1.attn.qkv."),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection\.",
     r"visual_encoder.blocks.\1.attn.proj."),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.", r"visual_encoder.blocks.\1.mlp."),
    (r"vision_model\.post_layernorm\.", r"visual_encoder.norm."),
)
LEFT_ALONE = ("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.", "image_queue",
              "text_queue", "idx_queue", "ptr_queue", "temp", "text_encoder.embeddings.position_ids")


def read(path):
    """The network's tensors under Salesforce's names, as float32; from our model file, too."""
    if path.endswith(".gguf"):
        return {name: value.float() for name, value in published(stored_tensors(path)[0]).items()}
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("model", state)
    out = {}
    for name, value in state.items():
        if name.startswith(LEFT_ALONE):
            continue
        for pattern, ours in RENAMES:
            name = re.sub("^" + pattern, ours, name)
        out[name] = value.float()
    return out


def stored_tensors(path):
    """Tensors of our model file under its own names, and the word list. Heads are 64 wide and widths
    multiples of 16, so that nothing is padded."""
    import gguf
    import weights
    reader = gguf.GGUFReader(path)
    raw = {t.name: t for t in reader.tensors}
    out = {}
    for name, tensor in raw.items():
        stem, _, leaf = name.rpartition(".")
        shape = [int(n) for n in tensor.shape]            # fastest first
        if leaf in ("scale", "sum"):
            continue
        values = np.asarray(tensor.data)
        if tensor.tensor_type.name == "I8":
            rows = values.view(np.int8)
            rows = rows.reshape(shape[::-1]) if stem == "bert.token" else weights.unpack_panels(rows, *shape)
            values = rows.astype(np.float32) * np.asarray(raw[stem + ".scale"].data).reshape(-1, 1)
        kind = torch.float16 if tensor.tensor_type.name == "F16" else torch.float32
        out[name] = torch.from_numpy(np.array(values, order="C")).reshape(shape[::-1]).to(kind)
    return out, list(reader.fields["tokenizer.ggml.tokens"].contents())


def published(tensors):
    """Our file's tensors under Salesforce's names."""
    out = {}

    def put(ours, *theirs):
        for leaf in ("weight", "bias"):
            parts = tensors[f"{ours}.{leaf}"].chunk(len(theirs))
            for name, part in zip(theirs, parts):
                out[f"{name}.{leaf}"] = part.contiguous()

    v, t, e = "visual_encoder.", "text_encoder.encoder.layer.", "text_encoder.embeddings."
    put("blip.patch", v + "patch_embed.proj")
    kernel = out[v + "patch_embed.proj.weight"]
    side = math.isqrt(kernel.shape[1] // 3)
    out[v + "patch_embed.proj.weight"] = kernel.reshape(len(kernel), 3, side, side)
    out[v + "cls_token"] = tensors["blip.class_embedding"].reshape(1, 1, -1)
    out[v + "pos_embed"] = tensors["blip.position"][None]
    put("blip.norm_post", v + "norm")
    for n in range(depth(tensors, "blip.blocks.")):
        ours, theirs = f"blip.blocks.{n}.", f"{v}blocks.{n}."
        for a, b in (("norm1", "norm1"), ("norm2", "norm2"), ("qkv", "attn.qkv"), ("out", "attn.proj"),
                     ("mlp_in", "mlp.fc1"), ("mlp_out", "mlp.fc2")):
            put(ours + a, theirs + b)
    out[e + "word_embeddings.weight"] = tensors["bert.token.weight"]
    out[e + "position_embeddings.weight"] = tensors["bert.position"]
    put("bert.norm_embed", e + "LayerNorm")
    for n in range(depth(tensors, "bert.blocks.")):
        ours, own, cross = f"bert.blocks.{n}.", f"{t}{n}.attention.", f"{t}{n}.crossattention."
        put(ours + "self_qkv", *(f"{own}self.{x}" for x in ("query", "key", "value")))
        put(ours + "cross_q", cross + "self.query")
        put(ours + "cross_kv", cross + "self.key", cross + "self.value")
        for a, b in (("self_out", own + "output.dense"), ("cross_out", cross + "output.dense"),
                     ("norm1", own + "output.LayerNorm"), ("norm2", cross + "output.LayerNorm"),
                     ("norm3", f"{t}{n}.output.LayerNorm"), ("mlp_in", f"{t}{n}.intermediate.dense"),
                     ("mlp_out", f"{t}{n}.output.dense")):
            put(ours + a, b)
    put("itm", "itm_head")
    put("itc.vision", "vision_proj")
    put("itc.text", "text_proj")
    return out


def hugging_face(state):
    """The same tensors under Hugging Face's names."""
    out = {}
    for name, value in state.items():
        name = name.replace("visual_encoder.cls_token", "vision_model.embeddings.class_embedding")
        name = name.replace("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding")
        name = name.replace("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding.")
        name = name.replace("visual_encoder.norm.", "vision_model.post_layernorm.")
        if match := re.match(r"visual_encoder\.blocks\.(\d+)\.(.*)", name):
            rest = match[2].replace("norm1", "layer_norm1").replace("norm2", "layer_norm2")
            rest = rest.replace("attn.qkv", "self_attn.qkv").replace("attn.proj", "self_attn.projection")
            name = f"vision_model.encoder.layers.{match[1]}.{rest}"
        out[name] = value
    return out


def stored_rows(x):
    rows = x.reshape(len(x), -1)
    scale = rows.abs().amax(1, keepdim=True) / 127
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return ((rows * (1 / scale)).round().clamp(-127, 127) * scale).reshape(x.shape)


def stored(state):
    """The weights as the model file holds them."""
    out = {}
    for name, value in state.items():
        layer = name.endswith("weight") and value.dim() > 1 and "position_embeddings" not in name
        out[name] = stored_rows(value) if layer and not name.startswith("itm_head") else value
    return out


def depth(state, stem):
    return 1 + max(int(m[1]) for n in state if (m := re.match(re.escape(stem) + r"(\d+)\.", n)))


def linear(m, name, x):
    return F.linear(x, m[name + ".weight"], m[name + ".bias"])


def norm(m, name, x, epsilon):
    return F.layer_norm(x, x.shape[-1:], m[name + ".weight"], m[name + ".bias"], epsilon)


def heads(x):
    return x.reshape(len(x), -1, HEAD).transpose(0, 1)


def joined(x):
    return x.transpose(0, 1).reshape(x.shape[1], -1)


# ------------------------------------------------------------------ the image tower

def positions(m, grid):
    table = m["visual_encoder.pos_embed"][0]
    side = math.isqrt(len(table) - 1)
    if grid == side:
        return table
    planes = table[1:].T.reshape(1, -1, side, side)
    planes = F.interpolate(planes, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], planes.flatten(2)[0].T])


def image_tokens(m, image, put=lambda name, value: None):
    """E [n, D] of a normalised image [3, side, side], the class token first."""
    kernel = m["visual_encoder.patch_embed.proj.weight"]
    x = F.conv2d(image[None], kernel, m["visual_encoder.patch_embed.proj.bias"], stride=kernel.shape[-1])
    x = torch.cat([m["visual_encoder.cls_token"].reshape(1, -1), x.flatten(2)[0].T])
    x = x + positions(m, math.isqrt(len(x) - 1))
    put("blip.embed", x)
    for n in range(depth(m, "visual_encoder.blocks.")):
        name = f"visual_encoder.blocks.{n}."
        qkv = linear(m, name + "attn.qkv", norm(m, name + "norm1", x, 1e-6))
        q, k, v = (heads(t) for t in qkv.chunk(3, 1))
        mixed = (q @ k.transpose(1, 2) / 8).softmax(2) @ v
        x = x + linear(m, name + "attn.proj", joined(mixed))
        hidden = F.gelu(linear(m, name + "mlp.fc1", norm(m, name + "norm2", x, 1e-6)))
        x = x + linear(m, name + "mlp.fc2", hidden)
        put(f"blip.blocks.{n}", x)
    x = norm(m, "visual_encoder.norm", x, 1e-6)
    put("blip.tokens", x)
    return x


# ------------------------------------------------------------------ the text tower

class Tape(dict):
    """What one pass kept, by (name, layer)."""


def attend(q, k, v):
    p = (q @ k.transpose(1, 2) / 8).softmax(2)
    return p, p @ v


def plain_norm(x):
    deviation = (x.var(1, unbiased=False, keepdim=True) + 1e-12).sqrt()
    return (x - x.mean(1, keepdim=True)) / deviation, deviation


def text_states(m, tokens, image=None, tape=None, watched=None):
    """States [T, d] behind the last layer; without an image the text alone. `watched`: a layer from 0 whose
    probabilities of cross-attention become the leaf (`tape["leaf"]`) that autograd differentiates by."""
    e = "text_encoder.embeddings."
    x = m[e + "word_embeddings.weight"][tokens] + m[e + "position_embeddings.weight"][: len(tokens)]
    x = norm(m, e + "LayerNorm", x, 1e-12)
    tape = Tape() if tape is None else tape

    def normed(name, value, key, layer):
        tape[key, layer], tape["s" + key, layer] = plain_norm(value)
        return tape[key, layer] * m[name + ".weight"] + m[name + ".bias"]

    for n in range(depth(m, "text_encoder.encoder.layer.")):
        name = f"text_encoder.encoder.layer.{n}."
        q, k, v = (heads(linear(m, f"{name}attention.self.{t}", x)) for t in ("query", "key", "value"))
        a, mixed = attend(q, k, v)
        tape["q", n], tape["k", n], tape["v", n], tape["A", n] = q, k, v, a
        y = normed(name + "attention.output.LayerNorm",
                   x + linear(m, name + "attention.output.dense", joined(mixed)), "x1", n)
        if image is not None:
            c = name + "crossattention."
            qc = heads(linear(m, c + "self.query", y))
            kc, vc = heads(linear(m, c + "self.key", image)), heads(linear(m, c + "self.value", image))
            p = (qc @ kc.transpose(1, 2) / 8).softmax(2)
            if watched == n:
                p = p.detach().requires_grad_(True)
                tape["leaf"] = p
            context = p @ vc
            tape["qc", n], tape["kc", n], tape["vc", n], tape["P", n], tape["c", n] = qc, kc, vc, p, context
            y = normed(c + "output.LayerNorm", y + linear(m, c + "output.dense", joined(context)), "x2", n)
        tape["H", n] = linear(m, name + "intermediate.dense", y)
        hidden = linear(m, name + "output.dense", F.gelu(tape["H", n]))
        x = normed(name + "output.LayerNorm", y + hidden, "x3", n)
    return x


def match_logits(m, states):
    return F.linear(states[0], m["itm_head.weight"], m["itm_head.bias"])


def itc(m, image, states):
    """Cosine of an image's class token and a text of its own."""
    v = F.normalize(linear(m, "vision_proj", image[0]), dim=0)
    return v @ F.normalize(linear(m, "text_proj", states[0]), dim=0)


# ------------------------------------------------------------------ the gradient

def autograd_gradient(m, tokens, image, layer, head):
    """P [T, n] and d logits[1] / d P of one head; layer and head from 1."""
    tape = Tape()
    with torch.enable_grad():
        logits = match_logits(m, text_states(m, tokens, image, tape, watched=layer - 1))
        logits[1].backward()
    leaf = tape["leaf"]
    return leaf.detach()[head - 1], leaf.grad[head - 1], logits.detach()


def norm_back(m, name, dy, unit, deviation):
    q = m[name + ".weight"] * dy
    return (q - q.mean(1, keepdim=True) - unit * (q * unit).mean(1, keepdim=True)) / deviation


def closed_gradient(m, tape, layer, head):
    """d logits[1] / d P of one head's cross-attention [T, n], from what the forward pass kept."""
    total = depth(m, "text_encoder.encoder.layer.")
    dx = torch.zeros_like(tape["x3", total - 1])
    dx[0] = m["itm_head.weight"][1]
    for n in range(total - 1, layer - 2, -1):
        name = f"text_encoder.encoder.layer.{n}."
        weight = lambda part, name=name: m[name + part + ".weight"]
        r3 = norm_back(m, name + "output.LayerNorm", dx, tape["x3", n], tape["sx3", n])
        h = tape["H", n]
        slope = 0.5 * (1 + torch.erf(h / math.sqrt(2))) + h * torch.exp(-h * h / 2) / math.sqrt(2 * math.pi)
        dz = r3 + ((r3 @ weight("output.dense")) * slope) @ weight("intermediate.dense")
        r2 = norm_back(m, name + "crossattention.output.LayerNorm", dz, tape["x2", n], tape["sx2", n])
        dc = heads(r2 @ weight("crossattention.output.dense"))
        if n == layer - 1:
            return dc[head - 1] @ tape["vc", n][head - 1].T
        ds = tape["P", n] * (dc @ tape["vc", n].transpose(1, 2) - (dc * tape["c", n]).sum(2, keepdim=True))
        dy = r2 + joined(ds @ tape["kc", n] / 8) @ weight("crossattention.self.query")
        r1 = norm_back(m, name + "attention.output.LayerNorm", dy, tape["x1", n], tape["sx1", n])
        do = heads(r1 @ weight("attention.output.dense"))
        a = tape["A", n]
        da = do @ tape["v", n].transpose(1, 2)
        dv = a.transpose(1, 2) @ do
        ds = a * (da - (da * a).sum(2, keepdim=True))
        dq, dk = ds @ tape["k", n] / 8, ds.transpose(1, 2) @ tape["q", n] / 8
        dx = r1 + joined(dq) @ weight("attention.self.query") + joined(dk) @ weight("attention.self.key") \
            + joined(dv) @ weight("attention.self.value")
    raise ValueError(f"no layer {layer}")
