#!/usr/bin/env python3
"""Compares pipeline.py with the public Trident code, stage by stage, on the same weights and photo.

    check_against_public.py --trident CHECKOUT --dino-code CHECKOUT [--config toy-b] [--seed 1] [--photo P |
    --size 96x128]
                            [--checkpoints DIRECTORY] [--halves] ...

CHECKOUT are working copies of YuHengsss/Trident and facebookresearch/dino, used where they lie and never
copied into this repository. The public code runs as it is, on the CPU, in float32 instead of float16; the
packages of the evaluation framework are replaced by empty ones. Its literals 64 (SAM grid) and 256 (mask
prompt side) are edited in a temporary copy when the toy SAM is smaller, and nothing else.
"""

import argparse
import os
import shutil
import sys
import tempfile
import types
from functools import partial

import cv2
import numpy as np
import pipeline
import torch
import torch.nn.functional as F
import toys
import weights
from photos import synthetic
from PIL import Image
from public_code import fake_framework, sam_of
from torch import nn


def lenient_torchvision():
    """Imports torchvision; a CUDA build of it beside the CPU build of torch lacks its compiled operators, and
    none is used here."""
    plain = torch.library.register_fake

    def lenient(name, *rest, **options):
        def keep(function):
            try:
                return plain(name, *rest, **options)(function)
            except RuntimeError:
                return function
        return keep

    torch.library.register_fake = lenient
    import torchvision  # noqa: F401
    torch.library.register_fake = plain


def prepare_imports(trident, dino, sam):
    """Empty stand-ins for the evaluation framework, float32 for float16, a temporary copy for the two
    literals."""
    lenient_torchvision()

    fake_framework({"openpyxl": {}, "pamr": {"PAMR": None}})
    torch.Tensor.half = lambda self, **_: self.float()
    nn.Module.half = lambda self: self.float()

    copy = tempfile.mkdtemp()
    for name in ("trident.py", "myutils.py", "open_clip", "segment_anything", "seg_utils", "prompts"):
        source = os.path.join(trident, name)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(copy, name))
    if sam.grid != 64:
        edit = lambda path, pairs: _edit(os.path.join(copy, path), pairs)
        edit("trident.py", [("int(sam_r * 64)", f"int(sam_r * {sam.grid})")])
        edit("seg_utils/utils.py", [(", 256)", f", {4 * sam.grid})"), ("256-new_", f"{4 * sam.grid}-new_")])
    sys.path[:0] = [copy, dino]
    return copy


def _edit(path, pairs):
    with open(path) as file:
        text = file.read()
    for old, new in pairs:
        assert old in text, (path, old)
        text = text.replace(old, new)
    with open(path, "w") as file:
        file.write(text)


def public_networks(config, paths):
    import vision_transformer
    from open_clip.model import CLIP
    c, t, d, s = config.clip, config.text, config.dino, config.sam
    clip = CLIP(config.embed,
                dict(image_size=c.grid * c.patch, layers=c.depth, width=c.width, patch_size=c.patch,
                     head_width=c.head_width, mlp_ratio=c.mlp / c.width),
                dict(context_length=config.context, vocab_size=toys.vocabulary_size(config), width=t.width,
                     heads=t.heads,
                     layers=t.depth, mlp_ratio=t.mlp / t.width),
                quick_gelu=config.activation == "quickgelu")
    state = {n: v for n, v in weights.read_clip(paths["clip"]).items()
             if n not in ("input_resolution", "context_length", "vocab_size")}
    print("CLIP  ", clip.load_state_dict(state, strict=True))
    dino = vision_transformer.VisionTransformer(
        img_size=[d.grid * d.patch], patch_size=d.patch, embed_dim=d.width, depth=d.depth, num_heads=d.heads,
        mlp_ratio=d.mlp / d.width, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    print("DINO  ", dino.load_state_dict({n: v.float() for n, v in weights.read_dino(paths["dino"]).items()},
                                         strict=True))
    sam = sam_of(s)
    print("SAM   ", sam.load_state_dict(weights.read_sam(paths["sam"]), strict=True))
    return clip.eval(), dino.eval(), sam.eval()


def public_photo(photo, o):
    """The evaluation framework's loading: keep-ratio resize, then its mean and deviation rounded to
    1/1000."""
    h, w = photo.shape[:2]
    scale = min(o.long_side / max(h, w), o.short_side / min(h, w))
    small = cv2.resize(photo, (int(w * scale + 0.5), int(h * scale + 0.5)), interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy(small).permute(2, 0, 1).float()
    mean, deviation = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
    return ((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1))[None]


def run_public(config, paths, photo_path, classes, o):
    """The public class with its constructor; returns (taps, coarse labels, final labels)."""
    import open_clip.tokenizer
    import trident
    clip, dino, sam = public_networks(config, paths)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(paths.get("vocab", toys.published_vocabulary()))
    trident.create_model = lambda *a, **k: clip
    trident.tokenizer = types.SimpleNamespace(tokenize=tokenizer)
    trident.sam_model_registry = {"vit_b": lambda checkpoint: sam}
    torch.hub.load = lambda *a, **k: dino
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as names:
        names.write("\n".join("; ".join(c) for c in classes))
    trident.openai_imagenet_template = trident.openai_imagenet_template[:len(o.templates)]
    model = trident.Trident(
        "openai", f"ViT-X-{config.clip.patch}", "dino", names.name, device=torch.device("cpu"),
        prob_thd=o.probability_threshold, logit_scale=o.logit_scale, beta=o.beta, gamma=o.gamma,
        slide_stride=o.stride,
        slide_crop=o.window, debug=True, sam_refinement=True, sam_model_type="vit_b",
        coarse_thresh=o.coarse_threshold,
        minimal_area=o.minimal_area, sam_mask_coff=o.mask_alpha, cos_fac=o.cos_factor,
        refine_neg_cos=o.refine_negative_cosine, sam_iou_thresh=o.iou_threshold,
        dataset_type="CityscapesDataset" if o.halves else "PascalVOCDataset")
    model.sam_heads = config.sam.heads
    taps, sims = {"text.vectors": model.query_features}, []

    visual = clip.visual
    plain_attn, plain_sim = visual.custom_attn, visual.get_sam_sim

    def custom_attn(*a, **k):
        taps["dino.features"] = k["ex_feats"].flatten(2).permute(0, 2, 1)
        y = plain_attn(*a, **k)
        taps["proxy.output"] = y.permute(1, 0, 2)
        return y

    def get_sam_sim(*a, **k):
        y = plain_sim(*a, **k)
        sims.append(y[0, 0, :16].clone())
        return y

    visual.custom_attn, visual.get_sam_sim = custom_attn, get_sam_sim
    visual.ln_post.register_forward_hook(lambda m, i, y: taps.__setitem__("affinity.features", i[0][0]))
    sam.image_encoder.register_forward_hook(lambda m, i, y: taps.__setitem__("sam.neck", y[0].flatten(1).T))
    for n, blk in enumerate(sam.image_encoder.blocks):
        blk.register_forward_hook(lambda m, i, y,
                                  n=n: taps.__setitem__(f"sam.blocks.{n}", y[0][0].flatten(0, 1)))
    plain_predict, calls = model.sam_predictor.predict_torch, []

    def predict(**k):
        masks, iou, logits = plain_predict(**k)
        calls.append((k["point_coords"], k["boxes"], k["mask_input"], iou, logits))
        return masks, iou, logits

    model.sam_predictor.predict_torch = predict
    photo = np.asarray(Image.open(photo_path).convert("RGB"))
    meta = [{"ori_shape": photo.shape[:2]}]
    logits = model.get_trident_seg(public_photo(photo, o), photo_path, meta)
    taps["affinity"] = sims
    taps["logits"] = logits[0]
    model.sam_refine = False
    coarse, taps["probabilities"] = model.postprocess_result(logits, None, photo_path)
    model.sam_refine = True
    final, _ = model.postprocess_result(logits, None, photo_path)
    if calls:
        taps["points"] = torch.cat([c[0][:, 0] for c in calls])
        taps["boxes"] = torch.cat([c[1] for c in calls])
        taps["prompts"] = torch.cat([c[2] for c in calls])
        taps["iou"] = torch.cat([c[3][:, 0] for c in calls])
        taps["low"] = torch.cat([c[4][:, 0] for c in calls])
    return taps, coarse[0].numpy(), final[0].numpy()


def report(name, ours, theirs):
    ours, theirs = (torch.as_tensor(np.asarray(x)).double() for x in (ours, theirs))
    if ours.shape != theirs.shape:
        print(f"  {name:24s} SHAPES {tuple(ours.shape)} {tuple(theirs.shape)}")
        return
    a, b = ours.flatten(), theirs.flatten()
    cosine = float(F.cosine_similarity(a, b, dim=0)) if a.numel() else 1
    print(f"  {name:24s} max abs {float((a - b).abs().max()):.3e}   scale {float(b.abs().max()):9.3f}   "
          f"cosine {cosine:.9f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trident", required=True)
    parser.add_argument("--dino-code", required=True)
    parser.add_argument("--config", default="toy-b", choices=toys.CONFIGS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoints",
                        help="a directory made by toys.py; made in a temporary one if absent")
    parser.add_argument("--photo")
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--photo-seed", type=int, default=1)
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--replace-negative-cosine", action="store_true")
    parser.add_argument("--cos-factor", type=float, default=1.2)
    parser.add_argument("--probability-threshold", type=float, default=0.0)
    parser.add_argument("--coarse-threshold", type=float, default=0.2)
    parser.add_argument("--minimal-area", type=int)
    parser.add_argument("--templates", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    config = toys.CONFIGS[a.config]
    folder = a.checkpoints or tempfile.mkdtemp()
    if not a.checkpoints:
        toys.make(config, folder, a.seed)
    paths = {"clip": os.path.join(folder, toys.CLIP_FILES[config.clip_form]),
             "dino": os.path.join(folder, "dino.pth"),
             "sam": os.path.join(folder, "sam.pth")}
    if config.vocabulary == "tiny":
        paths["vocab"] = os.path.join(folder, "vocab.txt.gz")
    if a.photo:
        photo_path = a.photo
    else:
        h, w = map(int, a.size.split("x"))
        photo_path = os.path.join(tempfile.mkdtemp(), "photo.png")
        Image.fromarray(synthetic(h, w, a.photo_seed)).save(photo_path)
    photo = np.asarray(Image.open(photo_path).convert("RGB"))
    area = a.minimal_area or (225 if config.vocabulary == "full" else 40)
    o = pipeline.Options(short_side=config.short_side, window=config.window, stride=config.stride,
                         minimal_area=area,
                         halves=a.halves, refine_negative_cosine=not a.replace_negative_cosine,
                         cos_factor=a.cos_factor,
                         probability_threshold=a.probability_threshold, coarse_threshold=a.coarse_threshold,
                         templates=tuple(pipeline.TEMPLATES[:a.templates]))
    classes = [["sky", "wall", "water"], ["cat"], ["sofa"], ["green grass"], ["tree"]]

    model = weights.from_checkpoints(paths["clip"], paths["dino"], paths["sam"],
                                     paths.get("vocab", toys.published_vocabulary()), config.activation)
    labels, taps = pipeline.segment(model, photo, classes, o)
    prepare_imports(os.path.abspath(a.trident), os.path.abspath(a.dino_code), config.sam)
    with torch.no_grad():
        public, coarse, final = run_public(config, paths, photo_path, classes, o)

    print(f"{a.config}, photo {photo.shape[1]}x{photo.shape[0]}, halves {a.halves}, cos factor "
          f"{a.cos_factor}")
    report("text vectors", taps["text.vectors"], public["text.vectors"])
    last = len(taps["windows.origins"]) - 1
    for n in sorted({0, last}):
        report(f"dino features {n}", taps[f"dino.features.{n}"], public["dino.features"][n])
        report(f"proxy output {n}", taps[f"proxy.output.{n}"], public["proxy.output"][n])
    for n in range(config.sam.depth):
        report(f"sam block {n}", taps[f"sam.blocks.{n}"], public[f"sam.blocks.{n}"])
    report("sam neck", taps["sam.neck"], public["sam.neck"])
    for n, matrix in enumerate(public["affinity"]):
        report(f"affinity strip {n}", taps[f"affinity.{n}.strip" if a.halves else "affinity.strip"],
               matrix[:16])
    report("aggregated features", taps["affinity.features"], public["affinity.features"])
    report("scores at photo size",
           pipeline.bilinear(torch.from_numpy(taps["scores.phrases"]), *photo.shape[:2]),
           public["logits"])
    report("probabilities", taps["scores.probabilities"], public["probabilities"])
    if "points" in public:
        regions = taps["refine.regions"]
        report("points (SAM pixels)", regions[:, 8:10], public["points"])
        report("boxes (SAM pixels)", regions[:, 10:14], public["boxes"])
        own = list(dict.fromkeys(regions[:, 0].astype(int).tolist()))
        report("mask prompts", np.stack([taps[f"refine.mask_prompt.{k}"] for k in own]), public["prompts"])
        report("mask logits", np.stack([taps[f"refine.logits.{n}"] for n in range(len(regions))]),
               public["low"])
        report("predicted IoU", taps["refine.iou"], public["iou"])
        print(f"  regions {len(regions)}, failed {int((taps['refine.iou'] <= o.iou_threshold).sum())}")
    print(f"  coarse pixels by class {np.bincount(coarse.ravel(), minlength=len(classes)).tolist()}, "
          f"final {np.bincount(final.ravel(), minlength=len(classes)).tolist()}")
    print(f"  coarse labels differ on {(taps['labels.coarse'] != coarse).mean():.6%}, final labels on "
          f"{(labels != final).mean():.6%}; refinement changes {(coarse != final).mean():.3%}")


if __name__ == "__main__":
    main()
