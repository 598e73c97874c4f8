#!/usr/bin/env python3
"""Lets every call of a run fail, one at a time, with the real programs.

    faults.py --programs .build/release --work FOLDER [--only segment] [--step 1] [--start 0]

A program is run once as it is, and its calls to the system are counted (fault.c); then once for each call and
mode: that call fails, is interrupted, or does less than it was asked. Each of these runs must end by itself
within a minute, with an exit code of the programs' own, say why unless it is 0, give the outputs of the
undisturbed run where it is 0, and leave neither temporary files nor an output that is not whole. A file that
was there before is as it was, or replaced by a whole one, or gone if it vouched for others. `--step 7`: every
seventh call only, from `--start` on. Exit code 1 for any problem.
"""

import argparse
import collections
import os
import shutil
import subprocess
import sys

MODES = {
    "fail": None,
    "interrupt": {
        "read",
        "pread",
        "pread64",
        "write",
        "pwrite",
        "pwrite64",
        "open",
        "open64",
        "flock",
        "ftruncate",
        "ftruncate64",
    },
    "short": {"read", "pread", "pread64", "write", "pwrite", "pwrite64"},
}
CODES = {0, 2, 3, 4, 5, 6}


class Run:
    """A command with its own folders, which are made anew each time."""

    def __init__(self, name, work, command, outputs, before=None):
        self.name, self.work, self.command, self.outputs, self.before = name, work, command, outputs, before
        self.folder = os.path.join(work, "run")

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("out", "cache", "tmp"):
            os.makedirs(os.path.join(self.folder, name), mode=0o700)
        if self.before:
            self.before(self.folder)

    def start(self, **more):
        environment = dict(
            os.environ,
            XDG_CACHE_HOME=os.path.join(self.folder, "cache"),
            TMPDIR=os.path.join(self.folder, "tmp"),
            **more,
        )
        return subprocess.run(
            self.command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )

    def files(self):
        found = {}
        for base, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(base, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.folder)] = file.read()
        return found


def litter(files):
    return [name for name in files if name.endswith(".part") or name.startswith("tmp/")]


def problem(run, result, good, old):
    """What is wrong with a run, or nothing."""
    files = run.files()
    if result.returncode not in CODES:
        return f"exit code {result.returncode}"
    if result.returncode != 0 and not result.stderr.strip():
        return "no message"
    if litter(files):
        return f"litter: {litter(files)}"
    for name in run.outputs:
        if result.returncode == 0 and files.get(name) != good.get(name):
            return f"another {name}"
        if name in files and files[name] not in (good.get(name), old.get(name)):
            return f"a broken {name}"
    return None


def try_all(run, preload, step, start, tally):
    run.prepare()
    old = run.files()
    log = os.path.join(run.work, "calls")
    if os.path.exists(log):
        os.remove(log)
    result = run.start(LD_PRELOAD=preload, FAULT_LOG=log)
    if result.returncode != 0:
        print(f"{run.name}: does not run undisturbed: {result.stderr.decode(errors='replace')}")
        return 1
    good = run.files()
    with open(log) as file:
        calls = file.read().split()
    if step > 1:
        # Long runs repeat the same calls: in the short form some three hundred of them are enough.
        step *= max(1, len(calls) // 300)
    problems = 0
    for number in range(1 + start % step, len(calls) + 1, step):
        for mode, names in MODES.items():
            if names is not None and calls[number - 1] not in names:
                continue
            run.prepare()
            try:
                result = run.start(LD_PRELOAD=preload, FAULT_AT=str(number), FAULT_MODE=mode)
                found = problem(run, result, good, old)
                tally[result.returncode] += 1
            except subprocess.TimeoutExpired:
                found = "no end within a minute"
            if found:
                problems += 1
                print(f"{run.name}: call {number} of {len(calls)}, {calls[number - 1]}, {mode}: {found}")
    print(f"{run.name}: {len(calls)} calls")
    return problems


def runs(arguments, work):
    programs = os.path.abspath(arguments.programs)
    model = os.path.abspath(arguments.model)
    golden = os.path.abspath("Tests/Fixtures/golden")
    photo = os.path.join(work, "photo.ppm")
    with open(photo, "wb") as file:
        file.write(b"P6\n40 32\n255\n" + bytes((i * 7) & 255 for i in range(40 * 32 * 3)))
    trident = os.path.join(programs, "trident")
    few = [
        "--class",
        "cat",
        "--class",
        "grass",
        "--threads",
        "1",
        "--quiet",
        "--short-side",
        "64",
        "--window",
        "64",
        "--stride",
        "64",
    ]

    def earlier(folder):
        for name in ("labels.png", "labels.json"):
            shutil.copy(os.path.join(work, "earlier", name), os.path.join(folder, "out", name))

    os.makedirs(os.path.join(work, "earlier"), exist_ok=True)
    subprocess.run(
        [
            trident,
            "segment",
            "-m",
            model,
            *few,
            "--no-cache",
            "--refine",
            "none",
            photo,
            "-o",
            os.path.join(work, "earlier", "labels.png"),
        ],
        check=True,
    )
    yield Run(
        "segment",
        work,
        [
            trident,
            "segment",
            "-m",
            model,
            *few,
            photo,
            "-o",
            "out/labels.png",
            "--overlay",
            "out/overlay.png",
            "--scores",
            "out/scores.npy",
        ],
        ["out/labels.png", "out/labels.json", "out/overlay.png", "out/scores.npy"],
        earlier,
    )
    yield Run(
        "text",
        work,
        [trident, "text", "-m", model, "--class", "cat", "--threads", "1", "--quiet", "-o", "out/words.tvoc"],
        ["out/words.tvoc"],
    )
    scenes = os.path.abspath("models/demo/scenes")
    if os.path.isdir(scenes):
        yield Run(
            "evaluate",
            work,
            [
                trident,
                "evaluate",
                "-m",
                model,
                "--images",
                f"{scenes}/images",
                "--labels",
                f"{scenes}/labels",
                "--limit",
                "1",
                *few,
                "--results",
                "out/results.txt",
            ],
            [],
        )
    checkpoints = [os.path.join(work, name) for name in ("clip.pt", "dino.pth", "sam.pth")]
    for path in checkpoints:
        with open(path, "wb") as file:
            subprocess.run(
                ["gzip", "-dc", f"{golden}/toy-b/{os.path.basename(path)}.gz"], stdout=file, check=True
            )
    yield Run(
        "quantize",
        work,
        [
            os.path.join(programs, "trident-quantize"),
            "--clip",
            checkpoints[0],
            "--dino",
            checkpoints[1],
            "--sam",
            checkpoints[2],
            "--vocab",
            f"{golden}/toy-b/vocab.txt.gz",
            "--output",
            "out/toy.gguf",
            "--report",
            "out/report.json",
            "--quiet",
        ],
        ["out/toy.gguf", "out/report.json"],
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--model", default="models/demo/demo.gguf")
    parser.add_argument("--only", help="one of segment, text, evaluate, quantize")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    arguments = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    work = os.path.abspath(arguments.work)
    os.makedirs(work, exist_ok=True)
    preload = os.path.join(work, "fault.so")
    built = subprocess.run(["cc", "-shared", "-fPIC", "-o", preload, "Scripts/trust/fault.c", "-ldl"])
    if built.returncode != 0:
        print("skipped: no C compiler")
        return
    tally = collections.Counter()
    problems = sum(
        try_all(run, preload, arguments.step, arguments.start, tally)
        for run in runs(arguments, work)
        if arguments.only in (None, run.name)
    )
    ends = ", ".join(f"{count} x {code}" for code, count in sorted(tally.items()))
    print(f"faults: {sum(tally.values())} runs with a failing call, exit codes {ends}; {problems} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
