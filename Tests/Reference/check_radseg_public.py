#!/usr/bin/env python3
"""Compares radseg.py and siglip.py with what the public code computes, map by map.

    check_radseg_public.py --case FOLDER    a stored case: case.json, expected.npz, checkpoint, photo
    check_radseg_public.py --radseg CHECKOUT --radio CHECKOUT [--sam-code CHECKOUT] [--count 10] [--seed 1]
    check_radseg_public.py --text           transformers' own text tower and tokenizers

CHECKOUT are working copies of RADSeg-OVSS/RADSeg, NVlabs/RADIO and facebookresearch/segment-anything, used
where they lie and never copied into this repository. The second form draws models, photos and options
(random_radseg.py) and runs the public `RADSegEncoder`, constructor included, on the CPU in float32: RADIO's
own loader reads the same checkpoint. Replaced are: `torch.hub.load` (by the checkout), the text models that
`transformers` would download (by the toy tower in transformers' own class and by sentencepiece), and, with a
toy SAM, RADSeg's literals 64, 1024 and 256 in a temporary copy.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import types

import numpy as np
import pipeline
import radio_weights
import radseg
import radseg_toys
import siglip
import torch
from check_against_public import _edit, lenient_torchvision
from photos import synthetic
from PIL import Image
from public_code import sam_of
from templates import TEMPLATES

flat = lambda planes: np.asarray(planes).reshape(len(planes), -1).T


class Table:
    """Largest differences by map, beside the largest value seen."""

    def __init__(self):
        self.rows = {}

    def add(self, name, ours, theirs):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
        if not theirs.size:
            return
        difference, size = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
        before = self.rows.get(name, (0.0, 0.0, 0))
        self.rows[name] = max(before[0], difference), max(before[1], size), before[2] + 1

    def show(self):
        for name, (difference, size, count) in self.rows.items():
            print(f"  {name:24} {difference:.1e} of {size:9.4g}"
                  + (f"   ({count} arrays)" if count > 1 else ""))


# ------------------------------------------------------------------ a stored case

def check_case(folder):
    with open(os.path.join(folder, "case.json")) as file:
        case = json.load(file)
    want = np.load(os.path.join(folder, "expected.npz"))
    checkpoint = next(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".pth.tar"))
    model = radio_weights.from_checkpoint(checkpoint)
    photo = np.asarray(Image.open(os.path.join(folder, "photo.png")).convert("RGB"))
    o = radseg.Options(short_side=case["short"], long_side=case["long_cap"], window=case["crop"],
                       stride=case["stride"])
    raw = want["text_raw"] / np.linalg.norm(want["text_raw"], axis=-1, keepdims=True)
    labels, taps = radseg.segment(model, photo, [[c] for c in case["classes"]], o, want["text"])
    table = Table()
    table.add("text (mean of 80)", raw.mean(1), want["text"])
    prompts = [siglip.clean(t.replace("{}", case["classes"][0])) for t in TEMPLATES]
    assert prompts == case["canonical_first_class"], "cleaned prompts differ"
    assert siglip.clean(TEMPLATES[0].replace("{}", case["classes"][1])) == case["canonical_second"]
    table.add("resized photo, 8 bit", taps["image.radio_u8"], want["resized"])
    last = len(want["windows"]) - 1
    origins = want["windows"][:, :2] * model.radio.patch
    table.add("windows", taps["windows.origins"], origins)
    for place, index in enumerate((0, last)):
        if place >= len(want["tokens"]) or f"radio.embed.{index}" not in taps:
            continue
        table.add("tokens", taps[f"radio.embed.{index}"], want["tokens"][place])
        for n in range(model.radio.depth):
            table.add(f"block {n}", taps[f"radio.blocks.{n}.{index}"], want["blocks"][n, place])
        table.add("SCRA, first product", taps[f"scra.first.{index}"], want["scra_first"][place])
        table.add("SCRA", taps[f"scra.output.{index}"], want["scra_out"][place])
    for name, tap in (("spliced", "splice.canvas"), ("scga", "scga.features"), ("language", "head.features")):
        table.add(name, taps[tap], flat(want[name]))
    table.add("probabilities, grid", taps["scores.grid"], want["grid_probs"])
    table.add("probabilities, photo", taps["scores.probabilities"], want["probs"])
    table.add("largest of a class", taps["scores.best"], want["class_best"])
    print(f"{case['case']}: photo {photo.shape[1]}x{photo.shape[0]}, {len(origins)} windows, 80 cleaned "
          f"prompts equal")
    table.show()
    wrong = int((labels != want["labels"]).sum())
    print(f"  labels differ on {wrong} of {labels.size} pixels")
    return wrong


# ------------------------------------------------------------------ the public code

def import_public(a, sam):
    """The public modules; with a toy SAM, from a copy in which three literals are smaller."""
    lenient_torchvision()
    import timm.layers
    timm.layers.use_fused_attn = lambda *_: False
    copy = tempfile.mkdtemp()
    folder = os.path.join(copy, "public_radseg")             # `radseg` is our own module
    shutil.copytree(os.path.join(a.radseg, "radseg"), folder)
    for name in ("radseg.py", "base.py"):
        _edit(os.path.join(folder, name), [("from radseg.", "from public_radseg.")])
    if sam and sam.grid != 64:
        path = os.path.join(folder, "radseg.py")
        _edit(path, [("64 - feat_w", f"{sam.grid} - feat_w"), ("64 - feat_h", f"{sam.grid} - feat_h"),
                     ("* 64 /H", f"* {sam.grid} /H"), ("* 64 / W", f"* {sam.grid} / W"),
                     ("target_size=1024", f"target_size={sam.side}")])
        _edit(os.path.join(folder, "sam_utils.py"),
              [(", 256)", f", {4 * sam.grid})"), ("256-new_", f"{4 * sam.grid}-new_")])
    sys.path[:0] = [copy, a.radio] + ([a.sam_code] if a.sam_code else [])
    if not a.sam_code:
        sys.modules["segment_anything"] = types.SimpleNamespace(sam_model_registry={}, SamPredictor=None)
    import public_radseg.radseg
    return public_radseg.radseg


class PublicText:
    """The toy text tower in transformers' class behind the adaptor's two calls."""

    def __init__(self, config, folder):
        self.tower = transformers_tower(config, os.path.join(folder, "model.safetensors"))
        self.pieces = siglip.Pieces(os.path.join(folder, "tokenizer.model"))

    def processor(self, text, max_length, **_):
        # the text is cleaned already
        cut = [self.pieces.processor.encode(t)[:max_length - 1] + [1] for t in text]
        return Ids({"input_ids": torch.tensor([ids + [0] * (max_length - len(ids)) for ids in cut])})


class Ids(dict):
    def to(self, device):
        return self


def transformers_tower(config, path):
    from safetensors.torch import load_file
    from transformers import Siglip2TextConfig, Siglip2TextModel
    made = Siglip2TextConfig(
        vocab_size=config.pieces, hidden_size=config.width, intermediate_size=config.mlp,
        num_hidden_layers=config.depth, num_attention_heads=config.heads,
        max_position_embeddings=config.context, projection_size=config.embed)
    tower = Siglip2TextModel(made).eval()
    wanted = set(tower.state_dict())
    state = load_file(path)
    state = {n.removeprefix("" if n in wanted else "text_model."): t.float() for n, t in state.items()
             if n.startswith("text_model.")}
    print("text tower:", tower.load_state_dict(state, strict=False))
    return tower


def load_public(a, public, checkpoint, words, o, text, sam_path, sam):
    """The public encoder, constructor included, on RADIO's own loader."""
    import hubconf
    import transformers
    towers = types.SimpleNamespace(text_model=text.tower)
    transformers.AutoModel.from_pretrained = lambda version, **_: towers
    transformers.AutoProcessor.from_pretrained = lambda version, **_: text.processor

    def load(repository, name, version, progress, skip_validation, adaptor_names):
        return hubconf.radio_model(version, adaptor_names=adaptor_names)

    torch.hub.load = load
    more = {}
    if o.refine:
        public.sam_model_registry["vit_h"] = lambda checkpoint: public_sam(sam, checkpoint)
        more = dict(sam_refinement=True, sam_ckpt=sam_path, coarse_thresh=o.coarse_threshold,
                    minimal_area=o.minimal_area, sam_mask_coff=o.mask_alpha, sam_iou_thresh=o.iou_threshold)
    encoder = public.RADSegEncoder(
        device="cpu", model_version=checkpoint, lang_model="siglip2", predict=True, classes=words,
        prompt_denoising_thresh=o.class_gate, scra_scaling=o.scra_scale, scga_scaling=o.scga_scale,
        slide_crop=0 if o.windows == "none" else o.window, slide_stride=o.stride, **more)
    encoder.model.make_preprocessor_external()
    return encoder


def public_sam(s, path):
    sam = sam_of(s)
    sam.load_state_dict({n: t.float() for n, t in torch.load(path, weights_only=True).items()})
    return sam


def watch(encoder, o):
    """Notes what passes through the encoder; returns the notes, lists by name."""
    notes = {}
    note = lambda name, value: notes.setdefault(name, []).append(value.detach().clone())
    network = encoder.model.model
    network.patch_generator.register_forward_hook(lambda m, i, out: note("tokens", out))
    for n, block in enumerate(network.blocks):
        block.register_forward_hook(lambda m, i, out, n=n: note(f"block {n}", out))
    network.blocks[-1].attn.proj.register_forward_hook(lambda m, i, out: note("proj", out.permute(1, 0, 2)))
    if o.refine:
        encoder.sam_predictor.model.image_encoder.neck.register_forward_hook(
            lambda m, i, out: note("neck", out))
        encoder.sam_predictor.model.prompt_encoder.register_forward_hook(
            lambda m, i, named, out: note("points", named["points"][0][:, 0]), with_kwargs=True)
        decoder = encoder.sam_predictor.model.mask_decoder
        decoder.register_forward_hook(lambda m, i, out: note("logits", out[0]))
        decoder.register_forward_hook(lambda m, i, out: note("iou", out[1]))

    def wrap(name):
        plain = getattr(encoder, name)

        def noted(*arguments, **named):
            out = plain(*arguments, **named)
            note(name, out)
            return out
        setattr(encoder, name, noted)

    for name in ("_sliding_inference", "_single_inference", "_self_correlating_global_aggregation",
                 "_get_seg_logits", "align_spatial_features_with_language", "_get_sam_spatial_features"):
        wrap(name)
    return notes


def compare_maps(table, m, taps, notes, encoder, vectors, probabilities, o):
    table.add("text vectors", vectors, torch.nn.functional.normalize(encoder.text_embeds, dim=1))
    origins = taps["windows.origins"]
    last = len(origins) - 1
    for index in sorted({0, last}):
        table.add("tokens", taps[f"radio.embed.{index}"], notes["tokens"][0][index])
        for n in range(m.radio.depth):
            table.add(f"block {n}", taps[f"radio.blocks.{n}.{index}"], notes[f"block {n}"][0][index])
        table.add("SCRA, first product", taps[f"scra.first.{index}"], notes["proj"][0][index])
        table.add("SCRA", taps[f"scra.output.{index}"], notes["proj"][1][index])
    spliced = notes["_single_inference" if o.windows == "none" else "_sliding_inference"][0]
    away = float(taps["scga.margin"][0]) > 1e-6
    table.add("spliced", taps["splice.canvas"], flat(spliced[0]))
    ending = "" if away else " (on a cut)"
    table.add("scga" + ending, taps["scga.features"],
              flat(notes["_self_correlating_global_aggregation"][0][0]))
    table.add("language" + ending, taps["head.features"],
              flat(notes["align_spatial_features_with_language"][0][0]))
    table.add("probabilities, grid" + ending, taps["scores.grid"], notes["_get_seg_logits"][0][0])
    if not o.refine:
        gated = np.abs(taps["scores.best"] - o.class_gate).min() < 1e-4
        table.add("probabilities, photo" + (ending or " (at the gate)" * bool(gated)),
                  taps["scores.probabilities"], probabilities[0])
        return
    table.add("tokens, SAM's pass", taps["radio.embed.sam"], notes["tokens"][1][0])
    table.add("last block, SAM's pass", taps[f"radio.blocks.{m.radio.depth - 1}.sam"],
              notes[f"block {m.radio.depth - 1}"][1][0])
    table.add("sam projection", taps["sam.features"], flat(notes["_get_sam_spatial_features"][0][0]))
    table.add("neck", taps["sam.neck"], flat(notes["neck"][0][0]))
    if "logits" in notes and "refine.iou" in taps:
        iou = torch.cat(notes["iou"])[:, 0].numpy()
        if len(iou) == len(taps["refine.iou"]):
            logits = torch.cat(notes["logits"])[:, 0]
            moved = np.abs(taps["refine.regions"][:, 8:10] - torch.cat(notes["points"]).numpy()).max(1) > 1e-3
            for n in range(len(iou)):
                ending = " (point moved)" * bool(moved[n])
                table.add("mask logits" + ending, taps[f"refine.logits.{n}"], logits[n])
                table.add("predicted IoU" + ending, taps["refine.iou"][n:n + 1], iou[n:n + 1])
            ending = " (point moved)" * bool(moved.any())
    table.add("refined scores" + ending, taps["refine.scores"], probabilities[0])


def check_public(a):
    import random_radseg
    sam_config = None
    if a.sam_code:
        import toys
        sam_config = toys.CONFIGS["toy-b"].sam
    public = import_public(a, sam_config)
    table, wrong, pixels, cut, off = Table(), 0, 0, [], []
    with tempfile.TemporaryDirectory() as scratch:
        text_config = radseg_toys.Text()
        files = radseg_toys.make_text(text_config, scratch, a.seed)
        text = PublicText(text_config, scratch)
        ours = siglip.from_checkpoint(*files, heads=text_config.heads)
        for number in range(a.first, a.first + a.count):
            r = random.Random(7000 + 1000 * a.seed + number)
            config = random_radseg.draw_config(r, f"public-{number}")
            # the only one that RADIO's loader can read: docs/parity-radseg.md
            config.spectral_version = 2
            o = random_radseg.draw_options(r, refine=bool(sam_config) and number % 2 == 0)
            o.logit_scale = 100.0                       # upstream's literal
            if o.refine:
                # upstream then hands SAM the image with its sides already changed
                o.windows = "slide"
            checkpoint = radseg_toys.make_radio(config, os.path.join(scratch, f"{number}.pth.tar"),
                                                a.seed * 1000 + number)
            sam_path = None
            if o.refine:
                sam_path = os.path.join(scratch, "sam.pth")
                if not os.path.exists(sam_path):
                    random_radseg.write_sam(sam_path, a.seed)
            words = r.sample(["sky", "Traffic_light", "building-other", "cat", "green grass", "Köln", "日本",
                              "a dog's bed", "tree", "road"],
                             r.choice([1, 2, 4, 7]))
            photo = synthetic(*random_radseg.draw_size(r), seed=number)
            found, total, taps = run_both(public, a, o, config, checkpoint, sam_path, sam_config, words,
                                          photo, text, ours, table)
            wrong, pixels = wrong + found, pixels + total
            near = random_radseg.on_a_cut(taps, o)
            cut += [number] * near
            off += [number] * (found > 0)
            overlaps = np.round(taps.get("refine.iou", np.zeros(0)), 2)
            refined = f", RADSeg+, iou {overlaps}" if o.refine else ""
            print(f"{number}: {config.width}/{config.heads} depth {config.depth} {config.version} "
                  f"{config.spectral or 'plain'}{' ema' if config.ema else ''}"
                  f"{' normalizer' if config.normalizer else ''}{' norm' if config.model_norm else ''}, "
                  f"photo {photo.shape[1]}x{photo.shape[0]}, {len(taps['windows.origins'])} windows, "
                  f"{len(words)} classes{refined}: labels differ on {found} of {total}"
                  f"{' (on a cut)' if near else ''}", flush=True)
    print(f"{a.count} draws, {pixels} pixels, {wrong} labels differ (draws {off}); draws within 1e-5 "
          f"of a cut or 1e-3 of the gate: {cut}")
    table.show()
    return 0


@torch.no_grad()
def run_both(public, a, o, config, checkpoint, sam_path, sam_config, words, photo, text, ours, table):
    m = radio_weights.from_checkpoint(checkpoint)
    if o.refine:
        radio_weights.add_sam_parts(m, sam_path)
    vectors = siglip.text_vectors(ours, words, TEMPLATES, pipeline.Taps())
    labels, taps = radseg.segment(m, photo, [[w] for w in words], o, vectors)
    encoder = load_public(a, public, checkpoint, words, o, text, sam_path, sam_config)
    notes = watch(encoder, o)
    image = torch.from_numpy(public_input(photo, o))[None]
    change = encoder._preprocess_image
    if o.windows == "none":
        image = change(image, 16, 16)
    elif o.round_sides == "patch":
        encoder._preprocess_image = lambda image, stride, crop: change(image, 16, crop)
    table.add("input", taps["image.radio_input"],
              (image if o.windows == "none" else encoder._preprocess_image(image, o.stride, o.window))[0])
    with torch.no_grad():
        probabilities, predicted = encoder.encode_image_to_feat_map(
            image, photo.shape[:2], return_preds=True, ignore_label=False)
    compare_maps(table, m, taps, notes, encoder, vectors, probabilities, o)
    return int((predicted[0, 0].numpy() != labels).sum()), labels.size, taps


def public_input(photo, o):
    """The evaluation framework's loading: keep-ratio resize with OpenCV, its mean and deviation."""
    import cv2
    h, w = photo.shape[:2]
    scale = min(o.long_side / max(h, w), o.short_side / min(h, w))
    small = cv2.resize(photo, (int(w * scale + 0.5), int(h * scale + 0.5)), interpolation=cv2.INTER_LINEAR)
    mean = torch.tensor([122.771, 116.746, 104.094]).view(3, 1, 1)
    return ((torch.from_numpy(small).permute(2, 0, 1).float() - mean)
            / torch.tensor([68.501, 66.632, 70.323]).view(3, 1, 1)).numpy()


# ------------------------------------------------------------------ the text tower

@torch.no_grad()
def check_text(seed):
    """transformers' Siglip2TextModel and the tokenizers package on the toy."""
    from make_radseg_taps import PHRASES
    from tokenizers import Tokenizer
    table = Table()
    config = radseg_toys.Text()
    with tempfile.TemporaryDirectory() as scratch:
        files = radseg_toys.make_text(config, scratch, seed, half=False)
        tower = transformers_tower(config, files[0])
        model = siglip.from_checkpoint(*files, heads=config.heads)
        fast = Tokenizer.from_file(os.path.join(scratch, "tokenizer.json"))
        prompts = [t.replace("{}", p) for p in PHRASES for t in TEMPLATES[::3]] + PHRASES
        different = 0
        for prompt in prompts:
            ids = model.pieces(prompt, config.context)
            quick = fast.encode(siglip.clean(prompt), add_special_tokens=False).ids[:config.context - 1] + [1]
            different += ids != quick + [0] * (config.context - len(quick))
            out = tower(input_ids=torch.tensor([ids]), output_hidden_states=True)
            taps = pipeline.Taps()
            pooled = siglip.encode(model, ids, taps)
            table.add("embedding", taps["siglip.embed"], out.hidden_states[0][0])
            if len(out.hidden_states) == config.depth + 1:
                table.add("block 0", taps["siglip.blocks.0"], out.hidden_states[1][0])
            table.add("vector", pooled, out.pooler_output[0])
    print(f"{len(prompts)} prompts: {different} differ in a token between sentencepiece and tokenizers")
    table.show()
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case")
    parser.add_argument("--radseg")
    parser.add_argument("--radio")
    parser.add_argument("--sam-code")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    bad = 0
    if a.case:
        bad += check_case(a.case)
    if a.text:
        bad += check_text(a.seed)
    if a.radseg:
        bad += check_public(a)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
