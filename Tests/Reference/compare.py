#!/usr/bin/env python3
"""Differences, stage by stage, between two results.

    compare.py A.taps B.taps              every array both hold: greatest difference, cosine
    compare.py A.png B.png                label maps: share of equal pixels, and per class intersection over
    union compare.py A.npy B.npy                scores [classes, h, w]: greatest difference, cosine, equal arg
    max compare.py A.npy B.taps [--tap scores.classes]     also .png against labels.final in a taps file
"""

import argparse
import sys

import numpy as np
from PIL import Image
from taps import read_taps


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-300))


def row_cosine(a, b):
    a, b = a.astype(np.float64).reshape(-1, a.shape[-1]), b.astype(np.float64).reshape(-1, b.shape[-1])
    n = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return float(((a * b).sum(1)[n > 0] / n[n > 0]).mean()) if (n > 0).any() else 1.0


def show(name, a, b):
    if a.shape != b.shape:
        print(f"{name:28s} shapes {a.shape} and {b.shape}")
        return
    difference = np.abs(a.astype(np.float64) - b).max(initial=0)
    print(f"{name:28s} max abs {difference:.3e}  of {np.abs(b).max(initial=0):9.4g}  cosine "
          f"{cosine(a, b):.7f}  mean row cosine {row_cosine(a, b):.7f}")


def show_labels(a, b):
    if a.shape != b.shape:
        print("sizes differ:", a.shape, b.shape)
        return
    print(f"equal on {(a == b).mean():.4%} of {a.size} pixels")
    for k in sorted(set(np.unique(a)) | set(np.unique(b))):
        both, either = ((a == k) & (b == k)).sum(), ((a == k) | (b == k)).sum()
        print(f"  class {k:3d}: {(a == k).sum():8d} {(b == k).sum():8d} pixels, intersection over union "
              f"{both / either:.4f}")


def load(path, tap):
    if path.endswith(".npy"):
        return np.load(path)
    if path.endswith(".png"):
        return np.asarray(Image.open(path)).astype(np.int64)
    rows, shape, step, *_ = read_taps(path)[tap]
    if step != 1:
        sys.exit(f"{path}: {tap} keeps only every {step}th row")
    return rows.reshape(shape)


def main():
    parser = argparse.ArgumentParser(description="Differences, stage by stage.")
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--tap")
    o = parser.parse_args()
    if o.a.endswith(".taps") and o.b.endswith(".taps"):
        a, b = read_taps(o.a), read_taps(o.b)
        for name in a:
            if name not in b:
                print(f"{name:28s} only in {o.a}")
                continue
            rows_a, shape_a, step_a, *_ = a[name]
            rows_b, shape_b, step_b, *_ = b[name]
            if shape_a != shape_b:
                print(f"{name:28s} shapes {shape_a} and {shape_b}")
                continue
            common = np.lcm(step_a, step_b)
            show(name, rows_a[:: common // step_a], rows_b[:: common // step_b])
        for name in b:
            if name not in a:
                print(f"{name:28s} only in {o.b}")
        return
    labels = o.a.endswith(".png") or o.b.endswith(".png")
    tap = o.tap or ("labels.final" if labels else "scores.classes")
    a, b = load(o.a, tap), load(o.b, tap)
    if labels:
        show_labels(a, b)
    else:
        show(tap, a, b)
        print(f"arg max equal on {(a.argmax(0) == b.argmax(0)).mean():.4%} of {a[0].size} cells")


if __name__ == "__main__":
    main()
