#!/usr/bin/env python3
"""Trident beside other runtimes: the same photo, weights and threads, in one run, turn by turn.

    compare.py --trident .build/release/trident [--method trident] [--model M.gguf] [--cache DIR] [--rounds 3]
               [--record FILE.json]

METHOD: trident, radseg or sc-clip, each beside the same network in other runtimes.

Every peer is a process of its own that prepares, warms up and then takes turns with `trident segment`, so
that both see the same machine; peers come one after another, since together they would not fit. Prints a
table of medians, peaks (VmHWM) and ratios to trident's median beside that peer. Without --model it makes
random checkpoints of the published shapes and quantizes them (needs trident-quantize beside trident).
Peers compute networks only and are warm; trident's time is its whole process, from start to PNG. Two more
columns compare like with like: the peer to trident's networks alone (its stages but photo and labels), and
the peer's time from the start of its process to its first answer (with what it prepares already there).
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE.parent.parent / "Tests/Reference"
WORDS = ("sky; cloud,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorbike,person,"  # noqa: E501
         "potted plant,sheep,sofa,train,television").split(",")
# What is run, how attention is written for it (the faster of both, measured), and its name in the table.
PEERS = {
    "torch-fp32/plain": ("plain", "PyTorch fp32, attention as the published code writes it"),
    "torch-fp32": ("fused", "PyTorch fp32, fused attention"),
    "torch-bf16": ("fused", "PyTorch bf16, jemalloc"),
    "ort-int8": ("plain", "ONNX Runtime dynamic INT8"),
    "openvino-bf16": ("fused", "OpenVINO bf16"),
    "openvino-int8": ("fused", "OpenVINO INT8 + bf16 (NNCF)"),
}


def jemalloc():
    places = pathlib.Path("/usr/lib").glob("*/libjemalloc.so.2")
    return next((str(p) for p in places), None)


def amx_leaves(cache):
    """The library that gives AMX to peers on machines that hide its cpuid leaves; None where there is no AMX
    or no compiler."""
    if "amx_int8" not in pathlib.Path("/proc/cpuinfo").read_text():
        return None
    library = cache / "amx_leaves.so"
    made = subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "amx_leaves.c"])
    return str(library) if made.returncode == 0 else None


class Peer:
    def __init__(self, kind, a, extra):
        self.kind, self.seconds, self.beside, self.peak, self.agreement = kind, [], [], 0.0, None
        self.networks_beside, self.first = [], None
        attention, self.name = PEERS.get(kind, ("fused", kind))
        preload = [a.leaves] if a.leaves else []
        self.env = dict(os.environ, OMP_NUM_THREADS=str(a.threads), TOKENIZERS_PARALLELISM="false")
        if kind == "torch-bf16" and jemalloc():
            preload.append(jemalloc())
            self.env["MALLOC_CONF"] = "oversize_threshold:1,background_thread:true,metadata_thp:auto,thp:always"  # noqa: E501
        if preload:
            self.env["LD_PRELOAD"] = ":".join(preload)
        self.command = [sys.executable, str(HERE / "peer.py"), kind.split("/")[0], "--model", str(a.model),
                        "--threads",
                        str(a.threads), "--attention", attention, *extra]

    def prepare(self):
        log = subprocess.run([*self.command, "--prepare"], env=self.env, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
        if log.returncode:
            raise SystemExit(f"{self.kind}: preparing failed\n{log.stderr[-2000:]}")

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{self.kind}: did not start; run: {' '.join(self.command)}")

    def once(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, peak, agreement = map(float, self.process.stdout.readline().split())
        self.peak, self.agreement = peak, agreement
        return seconds

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Trident:
    """The whole program, cold process every time, model pages in the file cache."""

    def __init__(self, name, a, arguments):
        self.name, self.seconds, self.peak, self.report, self.networks = name, [], 0.0, {}, 0.0
        self.command = [a.trident, *arguments, "--model", str(a.model), "--threads", str(a.threads)]

    def once(self):
        start = time.monotonic()
        done = subprocess.run(self.command, capture_output=True, check=True)
        seconds = time.monotonic() - start
        self.report = json.loads(done.stdout)
        self.networks = sum(stage["seconds"] for stage in self.report.get("stages", [])
                            if stage["name"] not in ("photo", "labels"))
        if "photo" in self.report:
            self.report["photo"] = pathlib.Path(self.report["photo"]).name
        self.peak = max(self.peak, self.report.get("memory", {}).get("peak_resident_bytes", 0) / 2**20)
        return seconds


def make_model(a):
    """Random weights of the published shapes, quantized."""
    quantize = [str(pathlib.Path(a.trident).parent / "trident-quantize"), "--output", a.model]
    folder = a.cache / "checkpoints"
    if a.method == "radseg":
        subprocess.run([sys.executable, REFERENCE / "radseg_toys.py", "b", folder], check=True)
        subprocess.run([*quantize, "--radio", folder / "b.pth.tar"], check=True)
        return
    from toys import published_vocabulary
    subprocess.run([sys.executable, REFERENCE / "toys.py", "b", folder], check=True)
    clip = next(folder.glob("clip*"))
    others = ["--dino", folder / "dino.pth", "--sam", folder / "sam.pth"] if a.method == "trident" else []
    subprocess.run([*quantize, "--clip", clip, *others, "--vocab", published_vocabulary()], check=True)


def random_vocabulary(a):
    """Words of a text tower that is not here: directions at random, named as the model file asks."""
    import numpy as np
    import radio_weights
    radio = radio_weights.from_gguf(a.model).radio
    phrases = [(n, phrase.strip()) for n, line in enumerate(WORDS) for phrase in line.split(";")]
    vectors = np.random.default_rng(1).standard_normal((len(phrases), radio.embed_dim)).astype(np.float32)
    a.vocabulary = a.cache / "classes.npz"
    np.savez(a.vocabulary, vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
             class_index=np.array([n for n, _ in phrases], np.int32),
             phrases=np.array([phrase for _, phrase in phrases]), text_model=np.array(radio.text_model))


def inputs(a):
    """Photo, class list, vocabulary."""
    from photos import synthetic
    from PIL import Image
    a.photo, a.words, a.vocabulary = a.cache / "photo.jpg", a.cache / "classes.txt", a.cache / "classes.tvoc"
    Image.fromarray(synthetic(448, 448, 3)).save(a.photo, quality=92)
    a.words.write_text("\n".join(WORDS) + "\n")
    if a.method == "radseg":
        return random_vocabulary(a)
    subprocess.run([a.trident, "text", "-m", a.model, "--classes", a.words, "-o", a.vocabulary, "--quiet"],
                   check=True)


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True,
                            text=True).stdout
    names = ("torch", "openvino", "nncf", "onnx", "onnxruntime")
    return {"date": datetime.date.today().isoformat(), "cpu": cpu, "cores": os.cpu_count(),
            "system": platform.platform(), "commit": commit.strip(),
            "packages": {n: importlib.metadata.version(n) for n in names}}


def table(peers, ours):
    row = lambda name, r, *rest: (
        f"| {name} | {statistics.median(r.seconds):.2f} | {min(r.seconds):.2f}-{max(r.seconds):.2f} | {r.peak:,.0f} "  # noqa: E501
        f"| {' | '.join(rest)} |")
    lines = ["| | seconds | range | peak MiB | times trident | its networks | first answer | agreement |",
             "|---|---|---|---|---|---|---|---|"]
    for r in sorted(peers, key=lambda r: -statistics.median(r.seconds)):
        whole, networks = (statistics.median(x / y for x, y in zip(r.seconds, beside)) if all(beside) else 0
                           for beside in (r.beside, r.networks_beside))
        lines.append(row(r.name, r, f"{whole:.2f}", f"{networks:.2f}" if networks else "", f"{r.first:.1f} s",
                         f"{r.agreement:.4f}" if r.agreement else ""))
    return "\n".join([*lines, row(ours.name, ours, "1", "", f"{statistics.median(ours.seconds):.2f} s", "")])


def take_turns(peer, ours, rounds):
    start = time.monotonic()
    peer.start()
    peer.once()
    peer.first = time.monotonic() - start
    ours.once()
    for _ in range(rounds):
        peer.seconds.append(peer.once())
        peer.beside.append(ours.once())
        peer.networks_beside.append(ours.networks)
    ours.seconds += peer.beside
    peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trident", default=".build/release/trident")
    parser.add_argument("--method", choices=["trident", "radseg", "sc-clip"], default="trident")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, default=".build/peers")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", action="store_true", help="compare text encoding instead of a photo")
    parser.add_argument("--no-amx", action="store_true",
                        help="as on a machine without AMX, for all (AVX-512 at most)")
    parser.add_argument("--prepare", action="store_true", help="only make what the peers need")
    parser.add_argument("--record", type=pathlib.Path, help="write everything measured here (.json)")
    a = parser.parse_args()
    kinds = [kind for kind in a.peers.split(",") if kind]
    for kind in kinds:
        if kind not in PEERS:
            parser.error(f"--peers: '{kind}' is none of {', '.join(PEERS)}")
    a.cache = a.cache.resolve() / ("" if a.method == "trident" else a.method)
    a.cache.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(REFERENCE))
    if a.text and a.method != "trident":
        parser.error("--text is Trident's text tower")
    if a.model is None:
        a.model = a.cache / f"{a.method}-b.gguf"
        if not a.model.exists():
            make_model(a)
    inputs(a)
    if "torch-bf16" in kinds and not jemalloc():
        raise SystemExit("torch-bf16 is measured with jemalloc, as its tuned form: apt install libjemalloc2")
    if a.no_amx:
        os.environ.update(ONEDNN_MAX_CPU_ISA="AVX512_CORE_FP16", TRIDENT_CPU="avx512_vnni")
    a.leaves = None if a.no_amx else amx_leaves(a.cache)
    if a.text:
        ours = Trident("trident text", a,
                       ["text", "--classes", a.words, "-o", a.cache / "out.tvoc", "--no-cache", "--json"])
        peers = [Peer("torch-text-fp32", a, ["--words", str(a.words)])]
    else:
        segment = ["segment", "--vocabulary", a.vocabulary, a.photo, "-o", a.cache / "out.png", "--overwrite",
                   "--json", *(["--method", a.method] if a.method == "sc-clip" else [])]
        ours = Trident("trident", a, segment)
        ours.once()
        regions = 0
        if a.method == "trident":
            regions = ours.report["regions"]["refined"] + ours.report["regions"]["failed"]
        reference = a.cache / "reference.npy"
        common = ["--photo", str(a.photo), "--regions", str(regions), "--reference", str(reference),
                  "--method", a.method]
        if not reference.exists():
            Peer("reference", a, common).prepare()
        peers = []
        for kind in kinds:
            peer = Peer(kind, a, [*common, "--cache", str(a.cache / kind.split("-")[0])])
            if not kind.startswith("torch"):
                peer.prepare()
            peers.append(peer)
    if a.prepare:
        return
    for peer in peers:
        take_turns(peer, ours, a.rounds)
        print(peer.name, peer.seconds, peer.beside, file=sys.stderr, flush=True)
    print(table(peers, ours))
    if a.record:
        rows = [{"kind": r.kind, "name": r.name, "seconds": r.seconds, "trident_beside": r.beside,
                 "trident_networks_beside": r.networks_beside, "first_answer_seconds": r.first,
                 "peak_mib": r.peak,
                 "agreement": r.agreement} for r in peers]
        facts = {"machine": machine(), "method": a.method, "threads": a.threads, "rounds": a.rounds,
                 "no_amx": a.no_amx, "amx_leaves_given": bool(a.leaves),
                 "trident_peak_mib": ours.peak, "results": rows, "trident": ours.report}
        a.record.parent.mkdir(parents=True, exist_ok=True)
        a.record.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
