#!/usr/bin/env python3
"""Long runs, interrupted runs and full disks, with the real programs.

    campaign.py photos  --photos 2000    one process: memory and descriptors stay flat, outputs equal single
    runs campaign.py pair                     two processes at once on one model and one empty cache
    campaign.py kill    --moments 50     SIGKILL at random moments, then a rerun: the outputs of an
    undisturbed run campaign.py storage                  full disk, read-only target, closed pipe, file size
    limit

All take --programs FOLDER and --model FILE; `photos` and `kill` write a line of figures. Exit code 1 if a
check fails.
"""
import argparse
import filecmp
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

CLASSES = ["cat; kitten", "dog", "grass", "sky", "house"]
failures = 0


def check(name, good, detail=""):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {name} {detail}")
    return good


def make_photos(folder, count):
    """Small photos, all different: a gradient with a box, as PNG."""
    os.makedirs(folder)
    for index in range(count):
        rng = random.Random(index)
        width, height = rng.randrange(60, 100), rng.randrange(50, 90)
        left, top = rng.randrange(width - 30), rng.randrange(height - 30)
        a, b, c = (rng.randrange(256) for _ in range(3))
        rows = b""
        for y in range(height):
            row = bytearray()
            for x in range(width):
                inside = left <= x < left + 30 and top <= y < top + 30
                row += bytes((a, b, c)) if inside else bytes((x * 2 & 255, y * 2 & 255,
                        (x + y + index) & 255))
            rows += b"\0" + row

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        with open(f"{folder}/{index:05}.png", "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) +
                       chunk(b"IEND", b""))


class Runs:
    def __init__(self, arguments, work):
        self.work = work
        self.started = []
        self.trident = os.path.abspath(os.path.join(arguments.programs, "trident"))
        self.fixed = ["--model", os.path.abspath(arguments.model), "--quiet", *arguments.options.split()]
        for phrase in CLASSES:
            self.fixed += ["--class", phrase]
        os.environ["XDG_CACHE_HOME"] = os.path.join(work, "cache")

    def command(self, photos, output, *more):
        return [self.trident, "segment", *self.fixed, "--output", output, *more,
                *([photos] if photos else [])]

    def start(self, photos, output):
        self.started.append(subprocess.Popen(self.command(photos, output)))
        return self.started[-1]

    def stop(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def run(self, photos, output, *more, **options):
        return subprocess.run(self.command(photos, output, *more), stderr=subprocess.PIPE, text=True,
                              **options)


def same(left, right):
    """Both folders hold the same files with the same bytes."""
    names = sorted(os.listdir(left))
    if names != sorted(os.listdir(right)):
        return False
    return filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def status(process):
    values = {}
    with open(f"/proc/{process.pid}/status") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if key in ("RssAnon", "RssFile"):
                values[key] = int(rest.split()[0])
    return values["RssAnon"], values["RssFile"], len(os.listdir(f"/proc/{process.pid}/fd"))


def photos(runs, arguments):
    """Samples once a photo or so; the last half may not exceed the first quarter by more than 1 MiB."""
    make_photos(f"{runs.work}/photos", arguments.photos)
    start = time.monotonic()
    process = runs.start(f"{runs.work}/photos", f"{runs.work}/many")
    samples = []
    while process.poll() is None:
        try:
            done = len(os.listdir(f"{runs.work}/many")) // 2
            samples.append((done, *status(process)))
        except (FileNotFoundError, ProcessLookupError, KeyError):
            pass
        time.sleep(0.05)
    seconds = time.monotonic() - start
    check("exit code", process.returncode == 0, str(process.returncode))
    check("all photos", len(os.listdir(f"{runs.work}/many")) == 2 * arguments.photos)
    early = [sample for sample in samples if 2 <= sample[0] < arguments.photos / 4]
    late = [sample for sample in samples if sample[0] >= arguments.photos / 2]
    if check("samples", len(early) >= 3 and len(late) >= 3):
        peaks = [[max(sample[column] for sample in part) for part in (early, late)] for column in (1, 2, 3)]
        check("private memory is flat", peaks[0][1] <= peaks[0][0] + 1024, str(peaks[0]))
        # A photo and an output come and go between samples.
        check("descriptors are flat", peaks[2][1] <= peaks[2][0] + 2, str(peaks[2]))
        print(f"{arguments.photos} photos in {seconds:.0f} s, {len(samples)} samples; first quarter and "
              f"second half: private {peaks[0][0] / 1024:.1f} and {peaks[0][1] / 1024:.1f} MiB,"
              f" of files {peaks[1][0] / 1024:.1f} and {peaks[1][1] / 1024:.1f} MiB,"
              f" descriptors {peaks[2][0]} and {peaks[2][1]}")
    os.mkdir(f"{runs.work}/single")
    step = max(1, arguments.photos // 50)
    equal = 0
    for index in range(0, arguments.photos, step):
        name = f"{index:05}.png"
        runs.run(f"{runs.work}/photos/{name}", f"{runs.work}/single/{name}", "--no-cache")
        good = all(filecmp.cmp(f"{runs.work}/{folder}/{file}", f"{runs.work}/single/{file}", shallow=False)
                   for folder in ("many",) for file in (name, name.replace(".png", ".json")))
        equal += check("equals its single run", good, name)
    print(f"{equal} of {len(range(0, arguments.photos, step))} photos compared with single runs are equal")


def pair(runs, arguments):
    count = min(arguments.photos, 40)
    make_photos(f"{runs.work}/photos", count)
    runs.run(f"{runs.work}/photos", f"{runs.work}/alone", "--no-cache")
    for round_number in range(5):
        shutil.rmtree(f"{runs.work}/cache", ignore_errors=True)
        outputs = [f"{runs.work}/{side}{round_number}" for side in "ab"]
        both = [runs.start(f"{runs.work}/photos", output) for output in outputs]
        codes = [process.wait() for process in both]
        check("both end well", codes == [0, 0], str(codes))
        for output in outputs:
            check("same outputs", same(output, f"{runs.work}/alone"), output)
        cached = os.listdir(f"{runs.work}/cache/trident/text")
        check("no litter in the cache", all(name.endswith(".tvec") for name in cached), str(cached))
    print(f"5 rounds of two processes on {count} photos and one empty cache: outputs equal")


def kill(runs, arguments):
    count = min(arguments.photos, 6)
    make_photos(f"{runs.work}/photos", count)
    start = time.monotonic()
    runs.run(f"{runs.work}/photos", f"{runs.work}/calm", "--no-cache")
    duration = time.monotonic() - start
    rng = random.Random(1)
    killed = done = litter = 0
    for moment in range(arguments.moments):
        output = f"{runs.work}/killed"
        shutil.rmtree(output, ignore_errors=True)
        shutil.rmtree(f"{runs.work}/cache", ignore_errors=True)
        process = runs.start(f"{runs.work}/photos", output)
        time.sleep(rng.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if os.path.isdir(output):
            names = os.listdir(output)
            done += sum(name.endswith(".json") for name in names)
            litter += sum(name.endswith(".part") for name in names)
        result = runs.run(f"{runs.work}/photos", output)
        check("rerun ends well", result.returncode == 0, result.stderr)
        check("the outputs of an undisturbed run", same(output, f"{runs.work}/calm"),
              f"moment {moment}: {os.listdir(output)}")
        folders = [f"{runs.work}/cache/trident/text"]
        left = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)
                if name.endswith(".part")]
        check("no litter in the cache", not left, str(left))
    print(f"{killed} of {arguments.moments} runs were killed, with {done} of {arguments.moments * count} "
          f"photos done and {litter} temporary files left; after the reruns all outputs equal an "
          f"undisturbed run's")


def storage(runs, _):
    make_photos(f"{runs.work}/photos", 3)
    photo = f"{runs.work}/photos/00000.png"
    runs.run(photo, f"{runs.work}/good.png")

    def refused(name, code, folder, result, keep=()):
        check(name + ": exit code", result.returncode == code, f"{result.returncode}: {result.stderr}")
        check(name + (": a message" if code > 0 else ": no message"),
              bool((result.stderr or "").strip()) == (code > 0))
        check(name + ": no litter", sorted(os.listdir(folder)) == sorted(keep), str(os.listdir(folder)))

    small = f"{runs.work}/small"
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small],
                      stderr=subprocess.DEVNULL).returncode == 0:
        try:
            shutil.copy(f"{runs.work}/good.png", f"{small}/old.png")
            with open(f"{small}/filler", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 512)
                except OSError:
                    pass
            for flags in (["--output", f"{small}/old.png"],
                          ["--output", f"{runs.work}/x.png", "--scores", f"{small}/s.npy"]):
                result = subprocess.run([runs.trident, "segment", *runs.fixed, *flags, photo],
                                        stderr=subprocess.PIPE, text=True)
                refused("full disk", 6, small, result, ["filler", "old.png"])
            check("the old file stands",
                  filecmp.cmp(f"{small}/old.png", f"{runs.work}/good.png", shallow=False))
            result = subprocess.run([runs.trident, "text", "--model", runs.fixed[1], "--class", "cat",
                                     "--no-cache", "-q",
                                     "--output", f"{small}/words.tvoc"], stderr=subprocess.PIPE, text=True)
            refused("full disk, text", 6, small, result, ["filler", "old.png"])
            subprocess.run(["mount", "-o", "remount,ro", small], check=True)
            result = runs.run(photo, f"{small}/new.png")
            refused("read-only target", 6, small, result, ["filler", "old.png"])
        finally:
            subprocess.run(["umount", small])
    else:
        print("skipped: full disk and read-only target (no right to mount)")
    limited = f"{runs.work}/limited"
    os.mkdir(limited)
    result = runs.run(photo, f"{limited}/a.png",
                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    refused("file size limit", 6, limited, result)
    reader, writer = os.pipe()
    os.close(reader)
    result = runs.run(photo, f"{limited}/a.png", "--json", stdout=writer)
    os.close(writer)
    refused("closed pipe", -signal.SIGPIPE, limited, result, ["a.json", "a.png"])
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            result = runs.run(photo, f"{limited}/a.png", "--json", stdout=full)
        refused("full standard output", 6, limited, result, ["a.json", "a.png"])
    print("full disk, read-only target, file size limit, closed pipe: checked")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["photos", "pair", "kill", "storage"])
    parser.add_argument("--programs", default=".build/release")
    parser.add_argument("--model", default="models/demo/demo.gguf")
    parser.add_argument("--options", default="--short-side 112 --window 112 --stride 112 --threads 2")
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--moments", type=int, default=50)
    arguments = parser.parse_args()
    # An ending with its cleaning up: the folder, a mounted disk and running programs go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="trident-campaign-") as work:
        runs = Runs(arguments, work)
        try:
            globals()[arguments.campaign](runs, arguments)
        finally:
            runs.stop()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
