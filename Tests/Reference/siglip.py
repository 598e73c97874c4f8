#!/usr/bin/env python3
"""SigLIP 2's text tower once, plainly, in float32: phrases in, unit vectors out.

    siglip.py --text model.safetensors --tokenizer tokenizer.model [--stored] --class "cat; kitten" ...
        --output words.npz

Prompts are cleaned as SigLIP 2 was trained (section 10 of the pinned behaviour) and tokenized by the
`sentencepiece` package itself. Every prompt fills 64 positions; padding is attended, nothing is causal, and
the vector is taken at the last position.
"""

import argparse
import glob
import json
import math
import os
import string
from types import SimpleNamespace

import numpy as np
import pipeline
import torch
import torch.nn.functional as F
from radio_weights import Model, quantized
from templates import TEMPLATES

PAD, END = 0, 1
DELETED = str.maketrans("", "", string.punctuation)


def clean(text):
    """Underscores to spaces, punctuation deleted, lower case, runs of white space to one space."""
    return " ".join(text.replace("_", " ").translate(DELETED).lower().split())


class Pieces:
    """Token ids of cleaned text, by SentencePiece."""

    def __init__(self, path):
        import sentencepiece
        self.processor = sentencepiece.SentencePieceProcessor(model_file=path)

    def __call__(self, text, context):
        """`context` ids: pieces, the end, padding; too many pieces are cut in front of the end."""
        ids = self.processor.encode(clean(text))[:context - 1] + [END]
        return ids + [PAD] * (context - len(ids))


# ------------------------------------------------------------------ weights

def read_text(path):
    """The tensors `text_model.*` of a safetensors file, of an index of several, or of a folder with
    either."""
    from safetensors.torch import load_file
    if os.path.isdir(path):
        path = (glob.glob(os.path.join(path, "*.safetensors.index.json"))
                + [os.path.join(path, "model.safetensors")])[0]
    if path.endswith(".json"):
        with open(path) as file:
            names = sorted(set(json.load(file)["weight_map"].values()))
        state = {}
        for name in names:
            state |= load_file(os.path.join(os.path.dirname(path), name))
    else:
        state = load_file(path)
    return {n.removeprefix("text_model."): t.float() for n, t in state.items() if n.startswith("text_model.")}


def add_siglip(model, state, heads=None):
    """`heads`: 16 in So400m (width 1152); the widths of toys say nothing, so their number is given."""
    t = model.tensors
    t["siglip.token"] = state["embeddings.token_embedding.weight"]
    t["siglip.position"] = state["embeddings.position_embedding.weight"]
    parts = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "out", "mlp.fc1": "mlp_in",
             "mlp.fc2": "mlp_out"}
    depth = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("encoder.layers."))
    for n in range(depth):
        theirs, ours = f"encoder.layers.{n}.", f"siglip.blocks.{n}."
        for leaf in ("weight", "bias"):
            for a, b in parts.items():
                t[f"{ours}{b}.{leaf}"] = state[f"{theirs}{a}.{leaf}"]
            t[f"{ours}qkv.{leaf}"] = torch.cat([state[f"{theirs}self_attn.{x}_proj.{leaf}"] for x in "qkv"])
    for leaf in ("weight", "bias"):
        t["siglip.norm_post." + leaf] = state["final_layer_norm." + leaf]
        t["siglip.head." + leaf] = state["head." + leaf]
    width = t["siglip.token"].shape[1]
    model.siglip = SimpleNamespace(
        width=width, depth=depth, heads=heads or width // 72, epsilon=1e-6, context=len(t["siglip.position"]),
        vocab=len(t["siglip.token"]), embed_dim=len(t["siglip.head.bias"]))


def from_checkpoint(text, tokenizer, heads=None):
    model = Model()
    add_siglip(model, read_text(text), heads)
    model.pieces = Pieces(tokenizer)
    return model


# ------------------------------------------------------------------ the tower

def block(m, n, x):
    """One pre-norm block on [positions, width]: attention over all of them, tanh GELU."""
    c, name = m.siglip, f"siglip.blocks.{n}"
    y = pipeline.linear(m, name + ".qkv", pipeline.norm(m, name + ".norm1", x, c.epsilon))
    q, k, v = (pipeline.heads_of(part, c.heads) for part in y.chunk(3, 1))
    a = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    x = x + pipeline.linear(m, name + ".out", (a @ v).transpose(0, 1).reshape(x.shape))
    y = pipeline.linear(m, name + ".mlp_in", pipeline.norm(m, name + ".norm2", x, c.epsilon))
    return x + pipeline.linear(m, name + ".mlp_out", F.gelu(y, approximate="tanh"))


def encode(m, ids, taps=None):
    """The vector [e] of one prompt, of any length."""
    x = m["siglip.token"][ids] + m["siglip.position"]
    if taps is not None:
        taps.put("siglip.embed", x)
    for n in range(m.siglip.depth):
        x = block(m, n, x)
        if taps is not None:
            taps.put(f"siglip.blocks.{n}", x)
    x = pipeline.norm(m, "siglip.norm_post", x[-1], m.siglip.epsilon)
    return pipeline.linear(m, "siglip.head", x)


@torch.no_grad()
def text_vectors(m, phrases, templates, taps):
    """Unit vectors [phrases, e]: the mean over the templates of unit prompts, divided by its length.

    Taps: `text.tokens` of all prompts, blocks and vector (`text.pooled`, any length) of the first prompt,
    `text.vectors`.
    """
    tokens, out = [], []
    for q, phrase in enumerate(phrases):
        vectors = []
        for n, template in enumerate(templates):
            ids = m.pieces(template.replace("{}", phrase), m.siglip.context)
            tokens.append(ids)
            first = q == 0 and n == 0
            vector = encode(m, ids, taps if first else None)
            if first:
                taps.put("text.pooled", vector)
            vectors.append(F.normalize(vector, dim=0))
        out.append(F.normalize(torch.stack(vectors).mean(0), dim=0))
    taps.put("text.tokens", np.array(tokens, np.int32))
    taps.put("text.vectors", torch.stack(out))
    return torch.stack(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--text", required=True, help="safetensors, their index, or the folder")
    parser.add_argument("--tokenizer", required=True, help="SentencePiece's .model")
    parser.add_argument("--heads", type=int)
    parser.add_argument("--stored", action="store_true", help="weights as our file holds them")
    parser.add_argument("--class", dest="classes", action="append", required=True)
    parser.add_argument("--templates", type=int, default=80)
    parser.add_argument("--output", required=True)
    a = parser.parse_args()
    model = from_checkpoint(a.text, a.tokenizer, a.heads)
    if a.stored:
        model = quantized(model)
    classes = [[p.strip() for p in line.split(";")] for line in a.classes]
    phrases = [p for names in classes for p in names]
    vectors = text_vectors(model, phrases, TEMPLATES[:a.templates], pipeline.Taps())
    index = [k for k, names in enumerate(classes) for _ in names]
    np.savez(a.output, vectors=vectors.numpy(), class_index=np.array(index, np.int32),
             phrases=np.array(phrases))


if __name__ == "__main__":
    main()
