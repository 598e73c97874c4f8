#!/usr/bin/env python3
"""The same weights in every form that publishers give them: each must become the same model file.

    check_published_forms.py [--bin ../../.build/release] [--seed 1]

Files are written by the libraries themselves (open_clip, transformers, timm, torch), from their own classes
loaded with the toys' weights, so names, nesting, extra entries and configurations are theirs. For
transformers' classes the forward pass is compared with the reference as well. `trident.model_id` says whether
two model files are the same. Needs transformers and timm besides requirements.txt.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pipeline
import torch
import toys
import weights
from check_against_public import lenient_torchvision

lenient_torchvision()

import timm  # noqa: E402
import transformers  # noqa: E402
from open_clip.model import CLIP, CustomTextCLIP, convert_to_custom_text_state_dict  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def dino_to_huggingface(state):
    """transformers' ViTModel names."""
    out = {}
    for name, t in state.items():
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), t.chunk(3)):
                out[name.replace("blocks", "encoder.layer").replace("attn.qkv",
                        f"attention.attention.{part}")] = piece.clone()
            continue
        for a, b in (("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
                     ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
                     (".norm1", ".layernorm_before"),
                     (".norm2", ".layernorm_after"), ("attn.proj", "attention.output.dense"),
                     ("mlp.fc1", "intermediate.dense"),
                     ("mlp.fc2", "output.dense"), ("blocks.", "encoder.layer.")):
            name = name.replace(a, b)
        out["layernorm" + name[4:] if name.startswith("norm.") else name] = t
    return out


def sam_to_huggingface(state):
    """transformers' SamModel names."""
    out = {}
    for name, t in state.items():
        if "prompt_encoder.mask_downscaling." in name:
            for a, b in (("0", "conv1"), ("1", "layer_norm1"), ("3", "conv2"), ("4", "layer_norm2"),
                         ("6", "conv3")):
                name = name.replace(f"mask_downscaling.{a}.", f"mask_embed.{b}.")
        elif ".output_upscaling." in name:
            for a, b in (("0", "upscale_conv1"), ("1", "upscale_layer_norm"), ("3", "upscale_conv2")):
                name = name.replace(f"output_upscaling.{a}.", f"{b}.")
        elif ".neck." in name:
            for a, b in (("0", "conv1"), ("1", "layer_norm1"), ("2", "conv2"), ("3", "layer_norm2")):
                name = name.replace(f".neck.{a}.", f".neck.{b}.")
        elif "mlps." in name or "iou_prediction_head." in name:
            for a, b in (("layers.0.", "proj_in."), ("layers.1.", "layers.0."), ("layers.2.", "proj_out.")):
                if a in name:
                    name = name.replace(a, b)
                    break
        else:
            name = name.replace(".norm_final_attn", ".layer_norm_final_attn")
            for n in "1234":
                name = name.replace(f".norm{n}.", f".layer_norm{n}.")
        name = name.replace("image_encoder.blocks.", "vision_encoder.layers.").replace("image_encoder.",
                "vision_encoder.")
        name = name.replace("patch_embed.proj.", "patch_embed.projection.").replace("point_embeddings.",
                "point_embed.")
        out[name.replace("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
                         "shared_image_embedding.positional_embedding")] = t
    return out


def huggingface_models(config, made, folder):
    """CLIPModel, ViTModel and SamModel, loaded from the names they are published with."""
    tower = lambda t, **more: dict(hidden_size=t.width, num_hidden_layers=t.depth,
                                   num_attention_heads=t.heads, intermediate_size=t.mlp, **more)
    act = "quick_gelu" if config.activation == "quickgelu" else "gelu"
    c, d, s = config.clip, config.dino, config.sam
    end = toys.vocabulary_size(config) - 1
    clip = transformers.CLIPConfig(
        text_config=tower(config.text, vocab_size=end + 1, hidden_act=act, eos_token_id=end,
                          bos_token_id=end - 1),
        vision_config=tower(c, image_size=c.grid * c.patch, patch_size=c.patch, hidden_act=act),
        projection_dim=config.embed)
    dino = transformers.ViTConfig(**tower(d), image_size=d.grid * d.patch, patch_size=d.patch)
    sam = transformers.SamConfig(
        vision_config=dict(hidden_size=s.width, output_channels=s.neck, num_hidden_layers=s.depth,
                           num_attention_heads=s.heads,
                           image_size=s.side, patch_size=s.patch, mlp_dim=s.mlp, window_size=s.window,
                           global_attn_indexes=list(s.globals), num_pos_feats=s.neck // 2),
        prompt_encoder_config=dict(hidden_size=s.neck, image_size=s.side, patch_size=s.patch,
                                   mask_input_channels=s.mask_channels),
        mask_decoder_config=dict(hidden_size=s.neck, mlp_dim=s.decoder_mlp, iou_head_hidden_dim=s.iou_hidden))
    states = {"clip": toys.huggingface_names(made["clip"]), "dino": dino_to_huggingface(made["dino"]),
              "sam": sam_to_huggingface(made["sam"])}
    models = {}
    for name, kind, settings in (("clip", transformers.CLIPModel, clip),
                                 ("dino", transformers.ViTModel, dino), ("sam", transformers.SamModel, sam)):
        published = folder / f"published-{name}"
        settings.save_pretrained(published)
        save_file({n: t.contiguous() for n, t in states[name].items()}, published / "model.safetensors",
                  metadata={"format": "pt"})
        more = dict(add_pooling_layer=False) if name == "dino" else {}
        models[name], loading = kind.from_pretrained(published, output_loading_info=True, dtype=torch.float32,
                                                     **more)
        assert not loading["missing_keys"], (name, loading)
        models[name].eval()
    return models


@torch.no_grad()
def compare_forward(config, made, models):
    """transformers' forward passes against the reference's, on the weights of the checkpoints."""
    m = weights.Model()
    weights.add_clip(m, {n: t.float() for n, t in made["clip"].items()}, config.activation)
    weights.add_dino(m, made["dino"])
    weights.add_sam(m, {n: t.float() for n, t in made["sam"].items()})
    m.merges = toys.tiny_merges()
    d, s = config.dino, config.sam
    torch.manual_seed(0)
    image = torch.randn(3, d.grid * d.patch, d.grid * d.patch)
    ours, _ = pipeline.dino_features(m, image, None, {})
    theirs = models["dino"](image[None]).last_hidden_state[0, 1:]
    print(f"ViTModel: DINO features differ by {float((ours - theirs).abs().max()):.1e} of "
          f"{float(ours.abs().max()):.1f}")
    photo = torch.randint(0, 256, (s.side, s.side, 3), dtype=torch.uint8).numpy()
    neck, _, _ = pipeline.sam_encode(m, photo, pipeline.Taps())
    normal = lambda x: (torch.from_numpy(x).permute(2, 0, 1).float() - torch.tensor(pipeline.SAM_MEAN).view(3,
            1, 1)) \
        / torch.tensor(pipeline.SAM_STD).view(3, 1, 1)
    theirs = models["sam"].get_image_embeddings(normal(photo)[None])
    theirs = (theirs if isinstance(theirs, torch.Tensor) else theirs[0])[0]
    print(f"SamModel: embedding differs by {float((neck - theirs).abs().max()):.1e} of "
          f"{float(neck.abs().max()):.1f}")
    ids = pipeline.Tokenizer(m.merges, config.context)("a photo of a cat.")
    padded = torch.tensor([ids + [ids[-1]] * (config.context - len(ids))])
    theirs = models["clip"].get_text_features(padded)
    theirs = (theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output)[0]
    ours = pipeline.text_vectors(m, ["cat"], ["a photo of a {}."], pipeline.Taps())[0]
    print(f"CLIPModel: text vectors differ by {float((ours - theirs / theirs.norm()).abs().max()):.1e}")


def clip_files(config, state, model, folder):
    """(what, path, flags) of every form of CLIP."""
    activation = ["--activation", config.activation]
    c, t = config.clip, config.text
    build = lambda kind: kind(
        config.embed, dict(image_size=c.grid * c.patch, layers=c.depth, width=c.width, patch_size=c.patch,
                           head_width=c.head_width,
                           mlp_ratio=c.mlp / c.width),
        dict(context_length=config.context, vocab_size=toys.vocabulary_size(config), width=t.width,
             heads=t.heads, layers=t.depth,
             mlp_ratio=t.mlp / t.width), quick_gelu=config.activation == "quickgelu")
    plain, custom = build(CLIP), build(CustomTextCLIP)
    plain.load_state_dict(state)
    custom.load_state_dict(convert_to_custom_text_state_dict(dict(state)))
    head = ["--clip-head-width", str(c.head_width)]
    files = []

    def add(what, name, content, flags, save=torch.save):
        save(content, str(folder / name))
        files.append((what, folder / name, flags))

    add("open_clip state dict", "open_clip_pytorch_model.bin", plain.state_dict(), activation + head)
    add("open_clip training checkpoint", "epoch_32.pt", {
        "epoch": 32, "name": "run", "state_dict": {"module." + n: v for n, v in plain.state_dict().items()},
        "optimizer": torch.optim.AdamW(plain.parameters()).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict()}, activation + head)
    add("open_clip custom text", "custom.pt", custom.state_dict(), activation + head)
    add("open_clip safetensors", "open_clip_model.safetensors",
        {n: v.contiguous() for n, v in plain.state_dict().items()},
        activation + head, save_file)
    (folder / "hub").mkdir()
    add("open_clip hub folder", "hub/open_clip_pytorch_model.bin", plain.state_dict(), [])
    (folder / "hub/open_clip_config.json").write_text(json.dumps({"model_cfg": {
        "embed_dim": config.embed, "quick_gelu": config.activation == "quickgelu",
        "vision_cfg": {"image_size": c.grid * c.patch, "layers": c.depth, "width": c.width,
                       "patch_size": c.patch, "head_width": c.head_width},
        "text_cfg": {"context_length": config.context, "vocab_size": toys.vocabulary_size(config),
                     "width": t.width, "heads": t.heads,
                     "layers": t.depth}}, "preprocess_cfg": {"mean": list(pipeline.CLIP_MEAN),
                             "std": list(pipeline.CLIP_STD)}}))
    if config.activation == "quickgelu":
        openai = toys.torchscript_module(state, config)
        add("OpenAI archive", "ViT.pt", openai, head, lambda module, path: module.save(path))
        add("OpenAI archive saved plainly", "plain.pt", openai.state_dict(), head)
    model.save_pretrained(folder / "hf")
    files.append(("transformers folder", folder / "hf/model.safetensors", []))
    add("transformers .bin with position ids", "hf/pytorch_model.bin", {**model.state_dict(), **{
        n: v for n, v in toys.huggingface_names(state).items() if n.endswith("position_ids")}}, [])
    add("doubles", "double.pt", {n: v.double() for n, v in state.items()}, activation + head)
    whole = torch.cat([v.flatten() for v in state.values()])
    views, start = {}, 0
    for n, v in state.items():
        views[n] = whole[start:start + v.numel()].view(v.shape)
        start += v.numel()
    add("one shared storage", "shared.pt", views, activation + head)
    add("transposed storages", "transposed.pt",
        {n: v.t().contiguous().t() if v.ndim == 2 else v for n, v in state.items()}, activation + head)
    return files


def dino_files(config, state, model, folder):
    d = config.dino
    twin = timm.models.vision_transformer.VisionTransformer(
        img_size=d.grid * d.patch, patch_size=d.patch, embed_dim=d.width, depth=d.depth, num_heads=d.heads,
        mlp_ratio=d.mlp / d.width,
        num_classes=0)
    twin.load_state_dict(state)
    save_file({n: v.contiguous() for n, v in twin.state_dict().items()}, folder / "timm.safetensors")
    toys.write_dino(state, folder / "full.pth", "full")
    toys.write_dino(state, folder / "legacy.pth", "full", legacy=True)
    model.save_pretrained(folder / "hf-dino")
    torch.save({**{"vit." + n: v for n, v in dino_to_huggingface(state).items()},
                "classifier.weight": torch.zeros(3, d.width)}, folder / "classifier.bin")
    names = ["timm.safetensors", "full.pth", "legacy.pth", "hf-dino/model.safetensors", "classifier.bin"]
    return [(f"DINO {n}", folder / n, []) for n in names]


def sam_files(config, state, model, folder):
    model.save_pretrained(folder / "hf-sam")
    torch.save({**model.state_dict(), "prompt_encoder.shared_embedding.positional_embedding":
                model.state_dict()["shared_image_embedding.positional_embedding"]}, folder / "sam.bin")
    torch.save({"model": state, "epoch": 3}, folder / "wrapped.pth")
    return [(f"SAM {n}", folder / n, []) for n in ("hf-sam/model.safetensors", "sam.bin", "wrapped.pth")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("../../.build/release"))
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for name in ("toy-b", "toy-h", "toy-l"):
        config = toys.CONFIGS[name]
        folder = pathlib.Path(tempfile.mkdtemp())
        made = toys.networks(config, a.seed)
        plain = {kind: folder / f"plain-{kind}.pt" for kind in made}
        for kind, path in plain.items():
            torch.save(dict(made[kind]), path)
        toys.write_vocabulary(folder / "vocab.txt.gz")
        head = ["--activation", config.activation, "--clip-head-width", str(config.clip.head_width)]

        def identity(flags, **files):
            command = [a.bin / "trident-quantize", "--quiet", "--overwrite", "--output", folder / "m.gguf",
                       "--vocab", folder / "vocab.txt.gz"]
            for kind in plain:
                command += ["--" + kind, files.get(kind, plain[kind])]
            done = subprocess.run(command + flags, capture_output=True, text=True)
            if done.returncode:
                return done.stderr.strip()
            import gguf
            return gguf.GGUFReader(folder / "m.gguf").fields["trident.model_id"].contents()

        models = huggingface_models(config, made, folder)
        compare_forward(config, made, models)
        expected = identity(head)
        files = [("clip", *f) for f in clip_files(config, made["clip"], models["clip"], folder)]
        files += [("dino", what, path, head) for what, path,
                  _ in dino_files(config, made["dino"], models["dino"], folder)]
        files += [("sam", what, path, head) for what, path,
                  _ in sam_files(config, made["sam"], models["sam"], folder)]
        for kind, what, path, flags in files:
            found = identity(flags, **{kind: path})
            failed += found != expected
            print(f"{name}: {what}: {'the same model' if found == expected else 'NOT THE SAME: ' + found}",
                  flush=True)
        shutil.rmtree(folder)
    print("all forms agree" if failed == 0 else f"{failed} forms do not agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
