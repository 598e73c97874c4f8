#!/usr/bin/env python3
"""What INT8 changes: scores and labels of the program beside its own float32 mode, on configurations drawn at
random as random_parity.py draws them.

    int8_loss.py [--count 100] [--seed 7] [--bin .build/release] [--beside FOLDER]

A line a case: mean difference of scores, equal coarse labels, equal final labels. `--beside`: a folder with
another `trident`, measured on the same model files against the same float32. The last lines are medians and
worst cases.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import draws
import numpy as np
import random_parity


def one(program, command, folder, precision):
    """Scores, coarse and final labels."""
    command = [program, *command[1:], "--precision", precision]
    final, scores = draws.segment(command, [], folder)
    coarse = final
    if "--refine" not in command and "--profile" not in command:
        coarse, _ = draws.segment(command, ["--refine", "none"], folder)
    return scores, coarse, final


def measure(a, folder, number):
    *_, kind_and_size, classes, command = random_parity.draw(a, folder, number)
    if len(classes) == 1:
        return None
    scores, coarse, final = one(command[0], command, folder, "float32")
    found = []
    for program in [command[0]] + ([a.beside / "trident"] if a.beside else []):
        other = one(program, command, folder, "int8")
        found.append((float(np.abs(other[0] - scores).mean()), float((other[1] == coarse).mean()),
                      float((other[2] == final).mean())))
    print(f"{number:3} {kind_and_size[1]} {len(classes)} classes: "
          + " beside ".join(f"{s:.1e} {c:.2%} {f:.2%}" for s, c, f in found), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path(".build/release"))
    parser.add_argument("--beside", type=pathlib.Path)
    a = parser.parse_args()
    rows = []
    for number in range(1, a.count + 1):
        folder = pathlib.Path(tempfile.mkdtemp())
        try:
            rows.append(measure(a, folder, number))
        except subprocess.CalledProcessError as error:
            print(f"{number:3} failed: {error}", flush=True)
        finally:
            shutil.rmtree(folder)
    rows = np.array([row for row in rows if row])
    print("| | scores, median | 90th percentile | worst | coarse labels, median | 10th percentile | worst "
          "| final, median |")
    print("|---|---|---|---|---|---|---|---|")
    for n, name in enumerate(["here", "beside"][:rows.shape[1]]):
        s, c, f = rows[:, n].T
        print(f"| {name}, {len(s)} cases | {np.median(s):.1e} | {np.quantile(s, 0.9):.1e} | {s.max():.1e} "
              f"| {np.median(c):.2%} | {np.quantile(c, 0.1):.2%} | {c.min():.2%} | {np.median(f):.2%} |")


if __name__ == "__main__":
    sys.exit(main())
