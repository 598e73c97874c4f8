#!/usr/bin/env python3
"""How memory does not grow: peaks of runs on photos of several sizes, with several numbers of classes, of two
models, and under limits. Prints the table of docs/lab/memory.md and the stages of docs/memory.md.

    memory.py --model B.gguf --photo P.jpg [--large H.gguf] [--trident .build/release/trident] [--folder
    COUNT]

Needs Pillow. Figures are the kernel's (RssAnon and VmHWM through `trident segment --json`).
"""

import argparse
import json
import pathlib
import re
import resource
import subprocess
import tempfile

from PIL import Image

MIB = 1 << 20
Image.MAX_IMAGE_PIXELS = None


def segment(a, photo, *flags, model=None, data_limit=None):
    """Peaks of one run in MiB: (private, resident, planned)."""
    command = [a.trident, "segment", "-m", model or a.model, "--threads", "2", "--json", "--quiet",
               *map(str, flags), photo]
    limit = (lambda: resource.setrlimit(resource.RLIMIT_DATA,
                                        (data_limit, data_limit))) if data_limit else None
    memory = json.loads(subprocess.run(command, check=True, capture_output=True,
                                       preexec_fn=limit).stdout)["memory"]
    return [memory[f"{name}_bytes"] / MIB
            for name in ("peak_anonymous", "peak_resident", "planned_anonymous")]


def row(name, peaks):
    print(f"| {name} | {peaks[0]:.1f} | {peaks[1]:.1f} | {peaks[2]:.1f} |", flush=True)
    return peaks


def words(folder, count):
    path = folder / f"{count}.txt"
    path.write_text("".join(f"thing {n}\n" for n in range(count)))
    return path


def sizes(a, folder, photo):
    """0.2, 12 and 100 megapixels; text vectors from a file."""
    vectors = folder / "21.tvoc"
    subprocess.run([a.trident, "text", "-m", a.model, "--classes", words(folder, 21), "-o", vectors,
                    "--quiet", "--no-cache"],
                   check=True)
    for width, height, ending in [(516, 387, "jpg"), (4000, 3000, "jpg"), (4000, 3000, "png"),
                                  (11547, 8660, "jpg")]:
        path = folder / f"photo.{ending}"
        photo.resize((width, height), Image.BILINEAR).save(path, quality=85)
        row(f"{width} x {height} {ending.upper()} ({width * height / 1e6:.1f} megapixels)",
            segment(a, path, "--vocabulary", vectors))


def many(a, folder, photo):
    """A folder in one run: no photo takes more than the first two."""
    photos = folder / "photos"
    photos.mkdir()
    for number in range(a.folder):
        photo.resize((300 + 37 * (number % 9), 280 + 53 * (number % 7)),
                     Image.BILINEAR).save(photos / f"{number:04}.jpg")
    command = [a.trident, "segment", "-m", a.model, "--classes", words(folder, 21), "--no-cache", "--json",
               "--quiet",
               "--output", folder / "out", photos]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peaks = [int(peak) / MIB for peak in re.findall(r'"peak_anonymous_bytes": *(\d+)', lines)]
    print(f"\n{a.folder} photos in one run: largest private peak of the first two {max(peaks[:2]):.2f} MiB, "
          f"of all others {max(peaks[2:]):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--photo", required=True)
    parser.add_argument("--large", help="a larger model, such as H/14 with SAM-H")
    parser.add_argument("--trident", default=".build/release/trident")
    parser.add_argument("--folder", type=int, default=0, help="so many photos in one run")
    a = parser.parse_args()
    photo = Image.open(a.photo).convert("RGB")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        small = folder / "small.jpg"
        photo.resize((448, 448), Image.BILINEAR).save(small)
        print("| what | private MiB | resident MiB | planned private |\n|---|---|---|---|")
        sizes(a, folder, photo)
        for count in (2, 21, 171, 847):
            row(f"{count} classes, encoded in the run",
                segment(a, small, "--classes", words(folder, count), "--no-cache"))
        some = ["--classes", words(folder, 21), "--no-cache"]
        if a.large:
            row("the larger model", segment(a, small, *some, model=a.large))
        row("64 MiB of private data (RLIMIT_DATA)", segment(a, small, *some, data_limit=64 * MIB))
        plan = subprocess.run([a.trident, "plan", "-m", a.model, "--size", "448x448", "--classes", "21",
                               "--smallest"],
                              check=True, capture_output=True, text=True).stdout
        smallest = re.search(r"--memory-limit (\d+M)", plan)[1]
        row(f"smallest limit, {smallest}", segment(a, small, *some, "--memory-limit", smallest))
        if a.folder:
            many(a, folder, photo)


if __name__ == "__main__":
    main()
