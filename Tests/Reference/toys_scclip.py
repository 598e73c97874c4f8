"""CLIP checkpoints for SC-CLIP: the toys of toys.py, shifted so that its labels vary."""

import os

import pipeline
import scclip
import torch
import toys
import weights
from photos import synthetic


@torch.no_grad()
def centre(config, clip, merges, o):
    """Shift the biases of the two last norms so that features differ by place and text vectors by class."""
    model = weights.Model()
    weights.add_clip(model, clip, config.activation)
    model.merges = merges
    with toys.last_norms(pipeline, scclip) as norms:
        vectors = pipeline.text_vectors(model, toys.PHRASES, toys.TEMPLATES[::10], pipeline.Taps())
        photo = synthetic(o.short_side, o.short_side * 4 // 3, seed=99)
        scclip.segment(model, photo, [[p] for p in toys.PHRASES], o, vectors)
    clip["visual.ln_post.bias"] -= 0.95 * torch.cat(norms["clip.norm_post"]).mean(0)
    clip["ln_final.bias"] -= 0.9 * torch.cat(norms["text.norm_post"]).mean(0)


def make(config, directory, o, seed=1, half=True):
    """Write CLIP and the vocabulary; returns their paths. `o` are the settings it will run with."""
    os.makedirs(directory, exist_ok=True)
    clip = toys.rounded_to_half(toys.clip_tensors(config, seed))
    centre(config, clip, toys.tiny_merges(), o)
    clip = toys.rounded_to_half(clip)
    paths = {"clip": os.path.join(directory, toys.CLIP_FILES[config.clip_form]),
             "vocab": os.path.join(directory, "vocab.txt.gz")}
    toys.write_clip(config, clip, config.clip_form, paths["clip"], half=half)
    toys.write_vocabulary(paths["vocab"])
    return paths
