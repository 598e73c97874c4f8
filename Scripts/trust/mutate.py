#!/usr/bin/env python3
"""Feeds mutated files to the real programs and checks how each run ends.

    mutate.py --programs .build/release --count 10000 [--format jpeg ...] [--work FOLDER] [--jobs 2]

A run fails the check if it crashes, takes more than 2 s of processor time (or 10 minutes in all), peaks above
the memory limit, ends with an exit code that does not fit its format, is refused without a message, or leaves
a file after a refusal.

Mutant N of a format is the same on every machine. Results go to WORK/FORMAT.json, failing files beside it; a
campaign that was interrupted goes on where it stopped, one that is complete starts nothing.
"""
import argparse
import gzip
import io
import json
import multiprocessing
import os
import pickle
import pickletools
import random
import select
import shutil
import signal
import struct
import sys
import time
import zipfile
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIXTURES = os.path.join(ROOT, "Tests", "Fixtures")
SMALL = ["--short-side", "112", "--window", "112", "--stride", "64", "--minimal-area", "40", "--threads", "1"]
CPU_SECONDS, WALL_SECONDS, PEAK_BYTES = 2, 600, 192 << 20
INTERESTING = [0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 512, 4096, 32767, 32768, 65535, 65536, 1 << 24,
               0x7FFFFFFF,
               0x80000000, 0xFFFFFFFF, 1 << 32, 1 << 62, 0x7FFFFFFFFFFFFFFF, 1 << 63, 0xFFFFFFFFFFFFFFFF]


def read(*parts):
    with open(os.path.join(*parts), "rb") as file:
        return file.read()


def mutate(rng, base, others):
    """One to four changes; three of four places lie near either end, where structure is."""
    data = bytearray(base)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        near = min(len(data), 4096)
        place = (rng.randrange(len(data)), rng.randrange(near), len(data) - 1 - rng.randrange(near),
                 rng.randrange(min(len(data), 256)))[rng.randrange(4)]
        kind = rng.randrange(9)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(INTERESTING) & ((1 << 8 * width) - 1)
            data[place:place + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            del data[place:place + rng.choice((1, 2, 4, 16, 256))]
        elif kind == 5:
            data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 16, 256)))
        elif kind == 6:
            start = rng.randrange(len(data))
            data[place:place] = data[start:start + rng.choice((4, 16, 64, 1024))]
        elif kind == 7:
            data[place:place + 16] = bytes([rng.choice((0, 255, 32, 47))]) * 16
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[place:place + 64] = other[start:start + 64]
    return bytes(data)


def repair_model(data):
    """Puts the header's checksum right, so that what it covers is read."""
    place = data.find(b"trident.header_crc32")
    if place < 0 or place + 28 > len(data):
        return data
    value = place + 24
    data = bytearray(data)
    stored = bytes(data[value:value + 4])
    data[value:value + 4] = bytes(4)
    crc = zlib.crc32(data[:repair_model.data_start])
    data[value:value + 4] = struct.pack("<I", crc) if stored else stored
    return bytes(data)


def repair_vocabulary(data):
    if len(data) < 72:
        return data
    zeroed = data[:68] + bytes(4) + data[72:]
    return zeroed[:68] + struct.pack("<I", zlib.crc32(zeroed)) + zeroed[72:]


def repair_zip(data):
    """Checksums of stored entries."""
    data = bytearray(data)
    place = data.find(b"PK\1\2")
    while 0 <= place <= len(data) - 46:
        method, = struct.unpack_from("<H", data, place + 10)
        size, = struct.unpack_from("<I", data, place + 20)
        local, = struct.unpack_from("<I", data, place + 42)
        if method == 0 and local + 30 <= len(data):
            names = sum(struct.unpack_from("<HH", data, local + 26))
            start = local + 30 + names
            if start + size <= len(data):
                crc = struct.pack("<I", zlib.crc32(data[start:start + size]))
                data[place + 16:place + 20] = crc
                data[local + 14:local + 18] = crc
        place = data.find(b"PK\1\2", place + 4)
    return bytes(data)


def repair_png(data):
    """Checksums of whole chunks."""
    data = bytearray(data)
    place = 8
    while place + 12 <= len(data):
        size, = struct.unpack_from(">I", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        data[end:end + 4] = struct.pack(">I", zlib.crc32(data[place + 4:end]))
        place = end + 4
    return bytes(data)


def deflated(path):
    """A zip with every entry compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in archive.infolist():
            out.writestr(zipfile.ZipInfo(entry.filename), archive.read(entry), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def legacy(path):
    """A zip checkpoint as torch.save wrote it before version 1.6."""
    widths = {"FloatStorage": 4, "HalfStorage": 2, "LongStorage": 8}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        folder = names[0].partition("/")[0]
        body = archive.read(folder + "/data.pkl")
        types = {}
        kind = None
        for code, value, _ in pickletools.genops(body):
            if code.name == "GLOBAL" and value.split()[-1] in widths:
                kind = widths[value.split()[-1]]
            elif code.name == "BINUNICODE" and value.isdigit():
                types.setdefault(value, kind)
        keys = sorted(types)
        storages = [archive.read(f"{folder}/data/{key}") for key in keys]
    system = {"protocol_version": 1001, "little_endian": True,
              "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    tail = [struct.pack("<Q", len(data) // types[key]) + data for key, data in zip(keys, storages)]
    return b"".join(heads) + body + pickle.dumps(keys, 2) + b"".join(tail)


class Campaign:
    """The formats, their valid files, and the command that reads each."""

    def __init__(self, programs, work):
        self.trident = os.path.join(programs, "trident")
        self.quantize = os.path.join(programs, "trident-quantize")
        self.base = os.path.join(work, "base")
        os.makedirs(self.base, exist_ok=True)
        self.prepare()
        raster = os.path.join(FIXTURES, "raster", "files")
        checkpoints = os.path.join(FIXTURES, "checkpoints")
        photos = sorted(os.listdir(raster))
        toy = {name: os.path.join(self.base, name) for name in os.listdir(self.base)}

        def files(folder, names):
            return [read(folder, name) for name in names]

        def photo(path):
            return self.segment(toy["toy.gguf"]) + ["--vocabulary", toy["words.tvoc"], path]

        def vocabulary(path):
            return self.segment(toy["toy.gguf"]) + ["--vocabulary", path, toy["photo.ppm"]]

        def clip(path):
            return [self.quantize, "--clip", path, "--dino", toy["dino.pth"], "--sam", toy["sam.pth"],
                    "--vocab",
                    toy["vocab.txt.gz"], "--quiet", "--output", "out/model.gguf"]

        def hugging_face(path):
            return clip(path) + ["--activation", "quickgelu"]

        def dino(path):
            return [self.quantize, "--clip", toy["clip.pt"], "--dino", path, "--sam", toy["sam.pth"],
                    "--vocab",
                    toy["vocab.txt.gz"], "--quiet", "--output", "out/model.gguf"]

        def merges(path):
            return [self.quantize, "--clip", toy["clip.pt"], "--dino", toy["dino.pth"], "--sam",
                    toy["sam.pth"],
                    "--vocab", path, "--quiet", "--output", "out/model.gguf"]

        def classes(path):
            return [self.trident, "text", "--model", toy["toy.gguf"], "--classes", path, "--no-cache",
                    "--quiet",
                    "--threads", "1", "--output", "out/words.tvoc"]

        def model(path):
            return self.segment(path) + ["--class", "cat", "--no-cache", toy["photo.ppm"]]

        def verify(path):
            return [self.trident, "verify", "--quiet", path]

        def keep(data):
            return data

        ppm = read(toy["photo.ppm"])
        words = read(toy["words.tvoc"])
        # Name: valid files, repair of half the mutants, command, exit codes that fit.
        self.formats = {
            "jpeg": (files(raster, [n for n in photos if n.endswith(".jpg")]), keep, photo, {0, 3, 5}),
            "png": (files(raster, [n for n in photos if n.endswith(".png")]), repair_png, photo, {0, 3, 5}),
            "ppm": ([ppm, ppm[:11] + ppm[11:600]], keep, photo, {0, 3, 5}),
            "classes": ([b"# words\nsky; wall; water\ncat; kitten\n\ncaf\xc3\xa9; \xe7\x8c\xab\r\n"
                         b"I'll &amp; don\xe2\x80\x99t 42\n"],
                        keep, classes, {0, 2, 4, 5}),
            "tvoc": ([words], repair_vocabulary, vocabulary, {0, 4, 5}),
            "npz": ([read(toy["words.npz"])], repair_zip, vocabulary, {0, 4, 5}),
            "gguf": ([read(toy["toy.gguf"])], repair_model, model, {0, 2, 4, 5}),
            "verify": ([read(toy["toy.gguf"])], keep, verify, {4}),
            "zip": ([read(toy["dino.pth"]), deflated(toy["dino.pth"])]
                    + files(checkpoints, ["zip.pt", "zip64.pt", "deflated.pt", "zip-protocol4.pt"]),
                    repair_zip, dino, {0, 4}),
            "script": ([read(toy["clip.pt"])] + files(checkpoints, ["script.pt"]), repair_zip, clip, {0, 4}),
            "legacy": ([legacy(toy["dino.pth"])]
                       + files(checkpoints, ["legacy.pth", "legacy-protocol5.pth", "legacy-view.pth",
                                             "tiny-legacy.pth",
                                             "dino-full-legacy.pth"]), keep, dino, {0, 4}),
            "safetensors": ([read(toy["clip.safetensors"])]
                            + files(checkpoints, ["all.safetensors", "tiny.safetensors"]),
                            keep, hugging_face, {0, 4}),
            "merges": ([gzip.decompress(read(toy["vocab.txt.gz"])), read(toy["vocab.txt.gz"]),
                        read(toy["tokenizer.json"])],
                       keep, merges, {0, 4}),
        }

    def segment(self, model):
        return [self.trident, "segment", "--model", model, *SMALL, "--quiet", "--memory-limit", "64M",
                "--output",
                "out/labels.png"]

    def prepare(self):
        """The toy model, a vocabulary of it and a photo."""
        golden = os.path.join(FIXTURES, "golden")
        for name in ("clip.pt", "dino.pth", "sam.pth"):
            with open(os.path.join(self.base, name), "wb") as file:
                file.write(gzip.decompress(read(golden, "toy-b", name + ".gz")))
        with open(os.path.join(self.base, "clip.safetensors"), "wb") as file:
            file.write(gzip.decompress(read(golden, "toy-l", "clip-hf.safetensors.gz")))
        shutil.copy(os.path.join(golden, "toy-b", "vocab.txt.gz"), self.base)
        lines = gzip.decompress(read(self.base, "vocab.txt.gz")).decode().split("\n")[1:]
        with open(os.path.join(self.base, "tokenizer.json"), "w") as file:
            json.dump({"model": {"type": "BPE", "merges": [line for line in lines if " " in line]}}, file)
        with open(os.path.join(self.base, "photo.ppm"), "wb") as file:
            file.write(b"P6\n48 40\n255\n" + bytes(i * 7 & 255 for i in range(48 * 40 * 3)))
        model = os.path.join(self.base, "toy.gguf")

        def do(*command):
            if os.spawnv(os.P_WAIT, command[0], command) != 0:
                sys.exit("cannot prepare: " + " ".join(command))

        inputs = [os.path.join(self.base, name)
                  for name in ("clip.pt", "dino.pth", "sam.pth", "vocab.txt.gz")]
        do(self.quantize, "--clip", inputs[0], "--dino", inputs[1], "--sam", inputs[2], "--vocab", inputs[3],
           "--quiet", "--overwrite", "--output", model)
        for name in ("words.tvoc", "words.npz"):
            do(self.trident, "text", "--model", model, "--class", "cat; kitten", "--class", "sky",
               "--no-cache",
               "--quiet", "--output", os.path.join(self.base, name))
        data = bytearray(read(model))
        value = data.find(b"trident.header_crc32") + 24
        stored, = struct.unpack_from("<I", data, value)
        data[value:value + 4] = bytes(4)
        repair_model.data_start = next(
            end for end in range(64, len(data), 64) if end > value and zlib.crc32(data[:end]) == stored)


def run(command, folder):
    """Exit status, processor seconds, peak bytes, what was said, files left."""
    out = os.path.join(folder, "out")
    os.makedirs(out, exist_ok=True)
    log = os.path.join(folder, "log")
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, log, write, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    start = time.monotonic()
    ended = select.poll()
    descriptor = os.pidfd_open(child)
    ended.register(descriptor, select.POLLIN)
    while not ended.poll(5000):
        # On a busy machine a run may wait long without running.
        if processor_seconds(child) > CPU_SECONDS or time.monotonic() - start > WALL_SECONDS:
            os.kill(child, signal.SIGKILL)
    os.close(descriptor)
    _, status, usage = os.wait4(child, 0)
    left = os.listdir(out)
    for name in left:
        os.unlink(os.path.join(out, name))
    return (os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10,
            read(log).decode("utf-8", "replace"), left)


def processor_seconds(child):
    """So far."""
    with open(f"/proc/{child}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def judge(code, seconds, peak, text, left, expected):
    if code < 0:
        return f"signal {-code}: {text[-300:]}"
    if code not in expected:
        return f"exit code {code}: {text[-300:]}"
    if seconds > CPU_SECONDS:
        return f"{seconds:.1f} s of processor time"
    if peak > PEAK_BYTES:
        return f"peak {peak >> 20} MiB"
    if code != 0 and not text.strip():
        return f"exit code {code} without a message"
    if code != 0 and left:
        return f"exit code {code} leaves {left}"
    return None


def worker(*arguments):
    results = arguments[-1]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run_mutants(*arguments)
    finally:
        results.put(None)


def run_mutants(campaign, name, first, count, step, work, results):
    folder = os.path.join(work, f"{name}-{first % step}")
    # Whatever an interrupted campaign left there.
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.chdir(folder)
    bases, repair, command, expected = campaign.formats[name]
    for index in range(first, count, step):
        rng = random.Random(f"{name} {index}")
        # The first file is one that the program accepts whole.
        data = mutate(rng, rng.choice((bases[0], rng.choice(bases))), bases)
        if index % 2:
            data = repair(data)
        if name == "verify" and data in bases:
            results.put((index, 4, 0.0, 0, None))
            continue
        with open("mutant", "wb") as file:
            file.write(data)
        code, seconds, peak, text, left = run(command(os.path.join(folder, "mutant")), folder)
        problem = judge(code, seconds, peak, text, left, expected)
        if problem:
            shutil.copy("mutant", os.path.join(work, f"{name}.{index}"))
        results.put((index, code, seconds, peak, problem))


def campaign_of(campaign, name, count, jobs, work):
    path = os.path.join(work, name + ".json")
    state = {"done": 0, "codes": {}, "worst_seconds": 0.0, "worst_peak": 0, "problems": {}}
    if os.path.exists(path):
        with open(path) as file:
            state = json.load(file)
    # Finished in blocks, so that an interrupted campaign knows exactly what is done.
    while state["done"] < count:
        end = min(state["done"] + 200 * jobs, count)
        results = multiprocessing.Queue()
        processes = [
            multiprocessing.Process(
                target=worker, args=(campaign, name, state["done"] + job, end, jobs, work, results),
                daemon=True)
            for job in range(jobs)
        ]
        for process in processes:
            process.start()
        waiting = jobs
        while waiting:
            result = results.get()
            if result is None:
                waiting -= 1
                continue
            index, code, seconds, peak, problem = result
            state["codes"][str(code)] = state["codes"].get(str(code), 0) + 1
            state["worst_seconds"] = max(state["worst_seconds"], seconds)
            state["worst_peak"] = max(state["worst_peak"], peak)
            if problem:
                state["problems"][str(index)] = problem
                print(f"{name} {index}: {problem}", flush=True)
        for process in processes:
            process.join()
            if process.exitcode != 0:
                sys.exit("a worker failed; run again to go on")
        state["done"] = end
        with open(path + ".new", "w") as file:
            json.dump(state, file)
        os.rename(path + ".new", path)
    codes = ", ".join(f"{count} x {code}" for code,
                      count in sorted(state["codes"].items(), key=lambda item: int(item[0])))
    print(f"{name}: {state['done']} mutants; exit codes {codes}; at most {state['worst_seconds']:.2f} s and"
          f" {state['worst_peak'] / 2**20:.0f} MiB; {len(state['problems'])} problems", flush=True)
    return not state["problems"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help="folder of trident and trident-quantize")
    parser.add_argument("--count", type=int, default=10000, help="mutants a format")
    parser.add_argument("--format", action="append", help="only these formats")
    parser.add_argument("--work", default="out/mutants", help="folder of results")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    # An ending with its cleaning up: workers go with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = os.path.abspath(arguments.work)
    campaign = Campaign(os.path.abspath(arguments.programs), work)
    names = arguments.format or list(campaign.formats)
    # Every format is run, whatever the ones before gave.
    good = [campaign_of(campaign, name, arguments.count, arguments.jobs, work) for name in names]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
