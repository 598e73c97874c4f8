"""Writes tiny checkpoints in every flavour the readers know, and what they hold, as expected.json.

Run by hand; the outputs are committed. Needs torch, numpy and safetensors. No randomness: values are small
multiples of 1/64, exact in every float type that stores them.
"""
import argparse
import collections
import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
EXPECTED = {}
TYPES = {
    torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64",
    torch.int64: "int64", torch.int32: "int32", torch.int16: "int16", torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}


def ramp(*shape, dtype=torch.float32, start=-20):
    count = int(numpy.prod(shape)) if shape else 1
    values = torch.arange(start, start + count, dtype=torch.float64) / 64
    if not dtype.is_floating_point:
        values = values * 64
    return values.to(dtype).reshape(shape)


def expect(name, file_format, tensors):
    EXPECTED[name] = {"format": file_format, "tensors": [
        {"name": key, "shape": list(value.shape), "type": TYPES[value.dtype],
         "values": [float(v) for v in value.detach().to(torch.float64).flatten()]}
        for key, value in tensors.items()]}


def every_kind():
    """All element types, views, shared storages, parameters, a scalar, an empty tensor."""
    state = collections.OrderedDict()
    for dtype, name in TYPES.items():
        first = 0 if dtype in (torch.uint8, torch.bool) else -3
        state["types." + name] = ramp(2, 3, dtype=dtype, start=first)
    base = ramp(6, 8)
    state["views.whole"] = base
    state["views.transposed"] = base.t()
    state["views.slice"] = base[1:5, 2:7]
    state["views.steps"] = base[::2, ::3]
    state["views.permuted"] = ramp(2, 3, 4).permute(2, 0, 1)
    state["views.expanded"] = ramp(1, 3).expand(4, 3)
    state["views.row"] = base[3]
    state["scalar"] = torch.tensor(4.6875)
    state["empty"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(ramp(3, 2))
    marked = torch.nn.Parameter(ramp(2, 2))
    marked.is_frozen = True
    state["parameter_with_state"] = marked
    subclassed = ramp(2)
    subclassed.note = "a python attribute"
    state["tensor_with_attribute"] = subclassed
    state.update({"special": torch.tensor([float("inf"), -float("inf"), 6e-8, -6e-5, 65504.0],
                                          dtype=torch.float16)})
    return state


def finite(state):
    return {key: value for key, value in state.items() if key != "special"}


class Part(torch.nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


class Attention(Part):
    def __init__(self):
        super().__init__()
        self.in_proj_weight = torch.nn.Parameter(ramp(6, 2))
        self.in_proj_bias = torch.nn.Parameter(ramp(6))
        self.out_proj = torch.nn.Linear(2, 2)


class Block(Part):
    def __init__(self):
        super().__init__()
        self.attn = Attention()
        self.ln_1 = torch.nn.LayerNorm(2)


class Transformer(Part):
    def __init__(self):
        super().__init__()
        self.resblocks = torch.nn.Sequential(Block(), Block())


class Visual(Part):
    def __init__(self):
        super().__init__()
        self.input_resolution: int = 4
        self.conv1 = torch.nn.Conv2d(3, 2, 2, bias=False)
        self.proj = torch.nn.Parameter(ramp(2, 3))


class Clip(torch.nn.Module):
    """CLIP's names without its arithmetic."""

    def __init__(self):
        super().__init__()
        self.context_length: int = 77
        self.visual = Visual()
        self.transformer = Transformer()
        self.token_embedding = torch.nn.Embedding(5, 2)
        self.positional_embedding = torch.nn.Parameter(ramp(3, 2))
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6875))
        self.register_buffer("vocab_size", torch.tensor(5))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.token_embedding(tokens) * self.logit_scale.exp()


def write_script():
    model = Clip().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim():
                parameter.copy_(ramp(*parameter.shape))
    model = model.half()
    scripted = torch.jit.script(model)
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    # Debug tables hold source paths of the machine that ran this; the format does not need them.
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(HERE / "script.pt", "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    reloaded = torch.jit.load(str(HERE / "script.pt"))
    expect("script.pt", "TorchScript", reloaded.state_dict())


def write_dino():
    names = ["cls_token", "patch_embed.proj.weight", "blocks.0.norm1.weight"]
    backbone = {"module.backbone." + name: ramp(2, 3, start=i) for i, name in enumerate(names)}
    teacher = {key.replace("module.", ""): value + 1 for key, value in backbone.items()}
    student = collections.OrderedDict(backbone)
    student._metadata = collections.OrderedDict({"": {"version": 1}})
    exp_avg = ramp(2, 3)
    checkpoint = {
        "student": student,
        "teacher": teacher,
        "optimizer": {
            "state": {0: {"step": 7, "exp_avg": exp_avg}},
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}],
        },
        "epoch": 100,
        "args": argparse.Namespace(
            arch="vit_base", lr=0.1, crops=(0.25, 1.0), out=pathlib.PurePosixPath("out"),
            device=torch.device("cpu"), dtype=torch.float16, seed=None),
        "dino_loss": collections.OrderedDict(center=ramp(1, 4)),
        "best": numpy.float64(0.5),
        "schedule": numpy.arange(3.0),
        "seen": {1, 2},
        "fp16_scaler": {"scale": 65536.0, "growth_interval": 2000},
        "rng_state": ramp(4, dtype=torch.uint8, start=0),
    }
    expected = {"student." + key: value for key, value in student.items()}
    expected.update({"teacher." + key: value for key, value in teacher.items()})
    expected["optimizer.state.0.exp_avg"] = exp_avg
    expected["dino_loss.center"] = checkpoint["dino_loss"]["center"]
    expected["rng_state"] = checkpoint["rng_state"]
    torch.save(checkpoint, HERE / "dino-full.pth")
    expect("dino-full.pth", "PyTorch zip", expected)
    torch.save(checkpoint, HERE / "dino-full-legacy.pth", _use_new_zipfile_serialization=False)
    expect("dino-full-legacy.pth", "PyTorch legacy", expected)


def repack(source, target, method, zip64):
    limit = zipfile.ZIP64_LIMIT
    if zip64:
        zipfile.ZIP64_LIMIT = 0
    with zipfile.ZipFile(HERE / source) as old, zipfile.ZipFile(HERE / target, "w", method) as new:
        for entry in old.infolist():
            name = "other folder/" + entry.filename.split("/", 1)[1]
            fresh = zipfile.ZipInfo(name)
            fresh.compress_type = method
            new.writestr(fresh, old.read(entry))
    zipfile.ZIP64_LIMIT = limit
    EXPECTED[target] = EXPECTED[source]


class StorageKey:
    def __init__(self, *parts):
        self.parts = parts


class ViewPickler(pickle.Pickler):
    """Persistent ids with a storage view, as old files have for slices of shared storages."""

    def persistent_id(self, value):
        return value.parts if isinstance(value, StorageKey) else None


def write_legacy_view():
    values = ramp(12)
    root = ("storage", torch.FloatStorage, "7", "cpu", 12)
    buffer = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001,
                 {"protocol_version": 1001, "little_endian": True,
                  "type_sizes": {"short": 2, "int": 4, "long": 4}}):
        pickle.dump(head, buffer, 2)

    class Lazy:
        def __init__(self, *arguments):
            self.arguments = arguments

        def __reduce__(self):
            return torch._utils._rebuild_tensor, self.arguments

    state = {
        "whole": Lazy(StorageKey(*root, None), 0, (3, 4), (4, 1)),
        "view": Lazy(StorageKey(*root, ("8", 4, 6)), 1, (2, 2), (2, 1)),
    }
    ViewPickler(buffer, 2).dump(state)
    pickle.dump(["7"], buffer, 2)
    buffer.write(struct.pack("<q", 12) + values.numpy().tobytes())
    (HERE / "legacy-view.pth").write_bytes(buffer.getvalue())
    expect("legacy-view.pth", "PyTorch legacy",
           {"whole": values.reshape(3, 4), "view": values[4:10][1:5].reshape(2, 2)})


def main():
    state = every_kind()
    torch.save(state, HERE / "zip.pt")
    expect("zip.pt", "PyTorch zip", finite(state))
    torch.save(state, HERE / "zip-protocol4.pt", pickle_protocol=4)
    expect("zip-protocol4.pt", "PyTorch zip", finite(state))
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    expect("legacy.pth", "PyTorch legacy", finite(state))
    torch.save(state, HERE / "legacy-protocol5.pth", _use_new_zipfile_serialization=False, pickle_protocol=5)
    expect("legacy-protocol5.pth", "PyTorch legacy", finite(state))
    repack("zip.pt", "zip64.pt", zipfile.ZIP_STORED, zip64=True)
    repack("zip.pt", "deflated.pt", zipfile.ZIP_DEFLATED, zip64=False)
    write_script()
    write_dino()
    write_legacy_view()
    tiny = {"a.weight": ramp(2, 3), "b": ramp(4, dtype=torch.float16)}
    torch.save(tiny, HERE / "tiny.pt")
    expect("tiny.pt", "PyTorch zip", tiny)
    torch.save(tiny, HERE / "tiny-legacy.pth", _use_new_zipfile_serialization=False)
    expect("tiny-legacy.pth", "PyTorch legacy", tiny)
    save_file(tiny, HERE / "tiny.safetensors")
    expect("tiny.safetensors", "safetensors", {key: tiny[key] for key in tiny})
    dense = {key: value.detach().contiguous().clone() for key, value in finite(state).items()}
    save_file(dense, HERE / "all.safetensors", metadata={"format": "pt", "note": "\u00e9\n\"quoted\""})
    expect("all.safetensors", "safetensors", dense)
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, separators=(",", ":")) + "\n")


main()
