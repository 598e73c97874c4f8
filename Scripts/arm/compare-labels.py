#!/usr/bin/env python3
"""Compares two label maps (8-bit PNG); fails below the given share of equal pixels. Needs nothing installed.

    compare-labels.py A.png B.png [SHARE, 0.999]
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import plain_png

first, second = plain_png.read(sys.argv[1], 1), plain_png.read(sys.argv[2], 1)
share = float(sys.argv[3]) if len(sys.argv) > 3 else 0.999
if first[:2] != second[:2]:
    sys.exit(f"sizes differ: {first[:2]} and {second[:2]}")
labels, others = b"".join(first[2]), b"".join(second[2])
different = sum(a != b for a, b in zip(labels, others))
print(f"{different} of {len(labels)} pixels differ ({1 - different / len(labels):.4%} equal)")
sys.exit(different > (1 - share) * len(labels))
