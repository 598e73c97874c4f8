#!/usr/bin/env python3
"""Memory limits at the edge, with the real program: what the kernel counts never passes the limit.

    limits.py --programs .build/release [--runs 300] [--start 0]

Each run draws a model and method, a photo's size, words, options and threads (seeded), asks `trident plan
--smallest` what they need at least, and segments with that limit, or one up to twice as large; every other
run shows progress. Private memory (RssAnon) is read as often as the system allows, some thousand times a
second. A refusal (exit code 5) is no problem where the plan for the words, too, is larger. Exit code 1 if a
run passed its limit or ended badly.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

DEMO = "models/demo"
SAM, OTHERS = ["sam", "sam"], ["pamr", "crf", "none"]


def photo(path, width, height, seed):
    rng = random.Random(seed)
    row = bytes(rng.randrange(256) for _ in range(3 * width))
    with open(path, "wb") as file:
        file.write(b"P6\n%d %d\n255\n" % (width, height))
        for y in range(height):
            shift = 3 * (y * 7 % width)
            file.write(row[shift:] + row[:shift])


def watch(command, environment):
    """Exit code, messages and the highest private memory of a run, bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    peak = samples = 0
    try:
        with open(f"/proc/{process.pid}/status", "rb", buffering=0) as status:
            while process.poll() is None:
                text = os.pread(status.fileno(), 4096, 0)
                place = text.find(b"RssAnon:")
                if place >= 0 and b"\nName:\tpython" not in b"\n" + text[:20]:
                    peak = max(peak, int(text[place + 8 : text.index(b"kB", place)]) * 1024)
                    samples += 1
    except (FileNotFoundError, ProcessLookupError):
        pass
    message = process.communicate()[1].decode(errors="replace").strip()
    return process.returncode, message, peak, samples


def draw(rng):
    """A method of a model in the box, options and words."""
    flags = ["--threads", str(rng.randrange(1, 4)), "--short-side", str(rng.choice([112, 160, 224]))]
    flags += ["--window", "112", "--stride", "112"]
    method = rng.choice(["trident", "trident", "fast", "purify", "sc-clip", "radseg"])
    if method == "radseg":
        flags += ["--model", f"{DEMO}/radseg.gguf", "--vocabulary", f"{DEMO}/words.tvoc"]
        return [*flags, "--refine", rng.choice(OTHERS)]
    flags += ["--model", f"{DEMO}/demo.gguf"]
    if method == "sc-clip":
        flags += ["--method", "sc-clip", "--low-block", "1", "--mid-block", "2", "--levels", "1-2"]
        flags += ["--class-weight", "0.3"]
    if method == "fast":
        flags += ["--profile", "fast"]
    if method == "purify":
        flags += ["--absent", "purify"]
    flags += ["--refine", rng.choice(SAM + OTHERS if method in ("trident", "purify") else OTHERS)]
    for word in range(rng.choice([1, 2, 8, 60])):
        flags += ["--class", f"word number {word}"]
    return flags


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", required=True)
    parser.add_argument("--start", type=int, default=0, help="the first run's number")
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    trident = os.path.abspath(os.path.join(arguments.programs, "trident"))
    problems = samples = refused = 0
    closest = 0.0
    with tempfile.TemporaryDirectory(prefix="trident-limits-") as work:
        environment = dict(os.environ, XDG_CACHE_HOME=os.path.join(work, "cache"))
        for index in range(arguments.start, arguments.start + arguments.runs):
            rng = random.Random(index)
            path = os.path.join(work, "photo.ppm")
            photo(path, rng.choice([40, 200, 640, 1500]), rng.choice([40, 150, 480, 900]), index)
            flags = draw(rng)
            plan = subprocess.run(
                [trident, "plan", *flags, "--photo", path, "--smallest", "--json"],
                capture_output=True,
                text=True,
                env=environment,
                check=True,
            )
            least = -(-json.loads(plan.stdout)["peak_bytes"] >> 20)
            limit = least + (rng.randrange(least) if rng.random() < 0.5 else 0)
            more = ["--memory-limit", f"{limit}M", "--output", os.path.join(work, "labels.png")]
            if index % 2:
                more.append("--quiet")
            if rng.random() < 0.5:
                more.append("--no-cache")
            code, message, peak, count = watch([trident, "segment", *flags, *more, path], environment)
            samples += count
            refused += code == 5
            if code == 0:
                closest = max(closest, peak / (limit << 20))
            if code not in (0, 5) or peak > limit << 20 or (code == 5 and limit > 2 * least):
                problems += 1
                print(
                    f"run {index}: limit {limit} MiB, {peak / 2**20:.1f} MiB measured, "
                    f"exit code {code}: {message}"
                )
    print(
        f"limits: {arguments.runs} runs, {samples} samples, {refused} refused, "
        f"at most {100 * closest:.1f} % of a limit; "
        f"{problems} problems"
    )
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
