"""The loop of the scripts that draw configurations at random and hold the programs against the reference."""

import argparse
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import torch
from PIL import Image


def parser(description):
    """The flags that all of them have."""
    made = argparse.ArgumentParser(description=description,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=20)
    made.add_argument("--first", type=int, default=1)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--bin", type=pathlib.Path, default=pathlib.Path(".build/release"))
    made.add_argument("--scores", type=float, default=1e-3,
                      help="largest difference of scores that float32 may have")
    made.add_argument("--keep", type=pathlib.Path, help="leave the files of every case here")
    return made


def segment(command, extra, folder):
    """Labels and scores of the program."""
    subprocess.run(command + [*extra, "--output", folder / "labels.png", "--scores", folder / "scores.npy",
                              "--overwrite"], check=True)
    return np.asarray(Image.open(folder / "labels.png")), np.load(folder / "scores.npy")


def agreement(command, folder, reference, taps):
    """By precision: the largest difference of scores, and the share of equal labels where the two best
    probabilities are 1e-3 apart. And INT8's labels and scores."""
    p = np.sort(taps["scores.probabilities"], 0)
    clear = p[-1] - p[-2] > 1e-3 if len(p) > 1 else np.ones(p.shape[1:], bool)
    found = {}
    for precision in ("float32", "int8"):
        labels, scores = segment(command, ["--precision", precision], folder)
        difference = float(np.abs(scores - taps["scores.classes"]).max())
        found[precision] = difference, float((labels == reference)[clear].mean()) if clear.any() else 1.0
    return found, labels, scores


def main(a, run):
    """Calls `run(a, folder, number)`, which returns "ok", "cut" or "BAD", for every draw; the exit code."""
    torch.set_num_threads(1)
    verdicts = {}
    for number in range(a.first, a.first + a.count):
        folder = a.keep / f"{a.seed}-{number}" if a.keep else pathlib.Path(tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        try:
            verdicts[number] = run(a, folder, number)
        except Exception as error:
            print(f"{number:3} BAD: {error!r}", flush=True)
            verdicts[number] = "BAD"
        finally:
            if not a.keep:
                shutil.rmtree(folder)
    by = {v: [n for n, found in verdicts.items() if found == v] for v in ("ok", "cut", "BAD")}
    print(f"{len(by['ok'])} of {a.count} agree; {len(by['cut'])} differ by an entry on a cut {by['cut']}"
          + (f"; not {by['BAD']}" if by["BAD"] else ""))
    return 1 if by["BAD"] else 0
