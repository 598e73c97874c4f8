#!/usr/bin/env python3
"""What channel suppression makes of SC-CLIP's toy checkpoint.

    make_suppressed.py FIXTURES          FIXTURES is Tests/Fixtures; run behind make_scclip.py

Writes FIXTURES/golden-scclip/square/suppressed.txt, a line a block from 2 to 5, counted from one: block, row,
its norm before, its factor; then of the matrix behind it, as the model file holds it: the row's scale and the
sum of its integers, the sum of all scales, the sum of all integers.
"""

import argparse
import gzip
import os
import shutil
import tempfile

import torch
import weights


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixtures")
    folder = os.path.join(parser.parse_args().fixtures, "golden-scclip/square")
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "clip.pt")
        with gzip.open(os.path.join(folder, "clip.pt.gz")) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        state = weights.read_clip(path)
    lines = []
    for block, row, norm, factor in weights.suppress_channels(state, range(2, 6)):
        weight = state[f"visual.transformer.resblocks.{block - 1}.mlp.c_proj.weight"]
        scale = weight.abs().amax(1) / 127
        sums = (weight / scale[:, None]).round().sum(1)
        lines.append(f"{block} {row} {norm:.9g} {factor:.9g} {scale[row]:.9g} {sums[row]:.0f} "
                     f"{scale.double().sum():.12g} {sums.double().sum():.0f}")
    with open(os.path.join(folder, "suppressed.txt"), "w") as out:
        out.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
