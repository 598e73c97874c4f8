#!/usr/bin/env python3
"""One runtime in one process: prepares the networks, then answers every line on standard input with seconds.

    peer.py KIND --model M.gguf --photo P.jpg --regions N --cache DIR [--method METHOD] [--threads 2]
            [--prepare]

KIND: torch-fp32, torch-bf16, ort-int8, openvino-bf16, openvino-int8; reference writes plain float32 scores;
torch-text-fp32 encodes classes instead. METHOD: trident, radseg, sc-clip; the last two have no decoder.
Weights are those of the model file, as float32. `--prepare` converts (and quantizes) into the cache and ends,
so that a measured process holds only what it runs. A run: both copies of the photo are there as floats;
scores of the grid, embedding, and N calls of the mask decoder come out. Decoding, resizing, upsampling,
region search and PNG are left out.
"""

import argparse
import os
import sys
import time

import methods
import networks
import numpy as np
import pipeline
import torch
import weights
from PIL import Image
from templates import TEMPLATES
from tokenizer import Tokenizer

PHRASES = 21


def inputs_of(m, photo, o):
    """float32 clip [windows, 3, w, w], dino, sam [1, 3, s, s], text [21, embed]."""
    tensor = lambda values: torch.tensor(values).view(3, 1, 1)
    image = pipeline.clip_copy(photo, o, m.clip.patch, pipeline.Taps())
    windows = torch.stack([image[:, y:y + o.window, x:x + o.window]
                           for y, x in pipeline.window_origins(*image.shape[1:], o.window, o.stride)])
    plain = windows * tensor(pipeline.CLIP_STD) + tensor(pipeline.CLIP_MEAN)
    dino = (plain - tensor(pipeline.DINO_MEAN)) / tensor(pipeline.DINO_STD)
    small = torch.from_numpy(pipeline.sam_copy(photo, m.sam.side).copy()).permute(2, 0, 1).float()
    sam = (small - tensor(pipeline.SAM_MEAN)) / tensor(pipeline.SAM_STD)
    text = torch.nn.functional.normalize(
        torch.randn(PHRASES, m["clip.proj.weight"].shape[0], generator=torch.Generator().manual_seed(1)),
        dim=1)
    return windows, dino, sam[None], text


def prompts(m, regions):
    """(point, box, mask prompt) of each region."""
    side, low = float(m.sam.side), 4 * m.sam.grid
    mask = torch.rand(low, low, generator=torch.Generator().manual_seed(2)) * 0.005
    return [(torch.tensor([side * (n + 1) / (regions + 1), side / 2]),
             torch.tensor([0.1, 0.2, 0.8, 0.9]) * side, mask)
            for n in range(regions)]


class TridentJob:
    """What a peer of Trident is given, and what it is compared with."""

    def __init__(self, path, photo):
        self.m, self.photo = weights.from_gguf(path), photo

    def inputs(self, phrases):
        return inputs_of(self.m, self.photo, pipeline.Options())

    def module(self, fused):
        return networks.Encoders(self.m, pipeline.Options(), self.photo.shape[0], fused).eval()

    def reference(self, text):
        _, taps = pipeline.segment(self.m, self.photo, [[str(n)] for n in range(PHRASES)],
                                   pipeline.Options(refine=False), text)
        return taps["scores.phrases"]


def decoder_of(m):
    return networks.Decoder(m, pipeline.Options()).eval()


def torch_runner(job, inputs, regions, precision, fused):
    m, encoders = job.m, job.module(fused)
    decoder = decoder_of(m) if regions else None
    if precision == "bf16":
        encoders = encoders.bfloat16()
        inputs = [t.bfloat16() for t in inputs]
        m.tensors = {name: t.bfloat16() for name, t in m.tensors.items()}

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            made = encoders(*inputs)
            for prompt in regions:
                decoder(made[1], *prompt)
        return (made[0] if regions else made).float()
    return run


def export(job, inputs, regions, plain, fused, write):
    """Calls write(name, module, example) for the graphs whose file is not there yet."""
    graphs = [("encoders", job.module(fused), inputs)]
    if regions:
        m = job.m
        embedding = torch.randn(1, m.sam.neck, m.sam.grid, m.sam.grid)
        graphs.append(("decoder", decoder_of(m), [embedding, *regions[0]]))
    for name, module, example in graphs:
        if not os.path.exists(plain(name)):
            with torch.no_grad():
                write(name, module, tuple(example))


def openvino_prepare(job, inputs, regions, cache, precision, fused):
    import openvino as ov
    plain = lambda name: f"{cache}/{name}-bf16.xml"

    def write(name, module, example):
        model = ov.convert_model(module, example_input=example, input=[list(t.shape) for t in example])
        ov.save_model(model, plain(name), compress_to_fp16=False)

    export(job, inputs, regions, plain, fused, write)
    if precision == "int8" and not os.path.exists(f"{cache}/encoders-int8.xml"):
        import nncf
        feed = {port: t.numpy() for port, t in enumerate(inputs)}
        # Bias correction changes no speed.
        model = nncf.quantize(
            ov.Core().read_model(plain("encoders")), nncf.Dataset([feed]), subset_size=1,
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True))
        ov.save_model(model, f"{cache}/encoders-int8.xml", compress_to_fp16=False)


def openvino_runner(inputs, regions, cache, precision, threads):
    import openvino as ov
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads}
    # NNCF makes a decoder that does not load: it stays bf16.
    load = lambda name: core.compile_model(f"{cache}/{name}.xml", "CPU", settings).create_infer_request()
    encoders, decoder = load(f"encoders-{precision}"), load("decoder-bf16") if regions else None
    inputs = [t.numpy() for t in inputs]
    regions = [[t.numpy() for t in region] for region in regions]

    def run():
        made = list(encoders.infer(inputs, share_inputs=True, share_outputs=True).values())
        for region in regions:
            decoder.infer([made[1], *region], share_inputs=True, share_outputs=True)
        return made[0]
    return run


def ort_prepare(job, inputs, regions, cache, precision, fused):
    plain = lambda name: f"{cache}/{name}-fp32.onnx"
    export(job, inputs, regions, plain, fused, lambda name, module, example: torch.onnx.export(
        module, example, plain(name), dynamo=True, external_data=False))
    if precision == "int8":
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        for name in ("encoders", "decoder") if regions else ("encoders",):
            if os.path.exists(f"{cache}/{name}-int8.onnx"):
                continue
            model = onnx.load(plain(name))
            del model.graph.value_info[:]  # some of the exporter's shapes contradict onnx's own
            quantize_dynamic(model, f"{cache}/{name}-int8.onnx", weight_type=QuantType.QInt8,
                             op_types_to_quantize=["MatMul", "Gemm"])


def ort_runner(inputs, regions, cache, precision, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    load = lambda name: onnxruntime.InferenceSession(f"{cache}/{name}-{precision}.onnx", options,
                                                     ["CPUExecutionProvider"])
    encoders, decoder = load("encoders"), load("decoder") if regions else None
    feed = lambda session, values: {port.name: t for port, t in zip(session.get_inputs(), values)}
    inputs = feed(encoders, [t.numpy() for t in inputs])
    regions = [[t.numpy() for t in region] for region in regions]

    def run():
        made = encoders.run(None, inputs)
        for region in regions:
            decoder.run(None, feed(decoder, [made[1], *region]))
        return made[0]
    return run


def text_runner(m, words):
    """80 templates a class, one class a batch, padded to the context as the published code does."""
    tower, tokenizer = networks.Text(m).eval(), Tokenizer(m.merges, m.text.context)

    def run():
        for word in words:
            ids = [tokenizer(template.replace("{}", word)) for template in TEMPLATES]
            ids = torch.tensor([row + [0] * (m.text.context - len(row)) for row in ids])
            with torch.inference_mode():
                vectors = tower(ids).mean(0)
        return vectors
    return run


def agreement(reference, scores):
    """Mean cosine over the grid's cells between the plain float32 scores and a runtime's, each less its
    mean."""
    a, b = (np.asarray(t, np.float32).reshape(PHRASES, -1) for t in (reference, scores))
    a, b = (t - t.mean(1, keepdims=True) for t in (a, b))
    return float(((a * b).sum(0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0),
                                              1e-12)).mean())


def peak_mib():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kind")
    parser.add_argument("--model", required=True)
    parser.add_argument("--photo")
    parser.add_argument("--method", choices=["trident", *methods.JOBS], default="trident")
    parser.add_argument("--regions", type=int, default=5)
    parser.add_argument("--words", help="class file, for torch-text-fp32")
    parser.add_argument("--cache")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attention", choices=["fused", "plain"], default="fused",
                        help="one call of the runtime's attention, or logits, softmax and mix as separate products")  # noqa: E501
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--reference",
                        help="plain float32 scores to compare with (.npy); KIND reference writes them")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    runtime, _, precision = a.kind.rpartition("-")
    fused = a.attention == "fused"
    if runtime == "torch-text":
        run = text_runner(weights.from_gguf(a.model), open(a.words).read().split("\n")[:-1])
    else:
        photo = np.asarray(Image.open(a.photo).convert("RGB"))
        job = {"trident": TridentJob, **methods.JOBS}[a.method](a.model, photo)
        inputs, m = job.inputs(PHRASES), job.m
        regions = prompts(m, a.regions) if a.method == "trident" else []
        if a.kind == "reference":
            return np.save(a.reference, job.reference(inputs[-1]))
        if a.prepare:
            os.makedirs(a.cache, exist_ok=True)
            prepare = {"ort": ort_prepare, "openvino": openvino_prepare}[runtime]
            return prepare(job, inputs, regions, a.cache, precision, fused)
        if runtime == "torch":
            run = torch_runner(job, inputs, regions, precision, fused)
        else:
            m.tensors.clear()
            run = {"ort": ort_runner, "openvino": openvino_runner}[runtime](
                inputs, regions, a.cache, precision, a.threads)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.monotonic()
        scores = run()
        seconds = time.monotonic() - start
        close = agreement(np.load(a.reference), scores) if a.reference else 0
        print(seconds, peak_mib(), close, flush=True)


if __name__ == "__main__":
    main()
