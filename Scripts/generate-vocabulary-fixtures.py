#!/usr/bin/env python3
"""Writes Tests/Fixtures/vocabulary/*.npz with NumPy, for the reader's tests. Run by hand."""
import pathlib

import numpy

folder = pathlib.Path(__file__).resolve().parent.parent / "Tests/Fixtures/vocabulary"
arrays = dict(
    vectors=numpy.array([[1, 0], [0, 1], [-0.6, 0.8]], numpy.float32),
    class_index=numpy.array([0, 0, 1]),
    phrases=numpy.array(["sky", "wall", "caf\u00e9 \U0001f431"]),
    model_id=numpy.array("0123456789abcdef" * 4),
    background=numpy.array(False),
)
numpy.savez(folder / "savez.npz", **arrays)
numpy.savez_compressed(folder / "compressed.npz", **arrays)
