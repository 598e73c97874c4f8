#!/usr/bin/env python3
"""The README's picture: photo, coarse labels, refined labels, overlay with legend, for two shipped scenes.

    make_demo.py TRIDENT [SCENE...]     run in the project's folder; needs Pillow; writes docs/images/demo.png
"""
import json
import subprocess
import sys
import tempfile

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, GAP, CAPTION = 300, 225, 6, 20


def run(trident, scene, output, *options):
    subprocess.run([trident, "segment", "-m", "models/demo/demo.gguf", "--classes",
                    "models/demo/scenes/classes.txt", "-q", "--overwrite",
                    f"models/demo/scenes/images/{scene}.jpg", "-o", output + ".png", *options], check=True)


def main():
    trident, scenes = sys.argv[1], sys.argv[2:] or ["farm", "street"]
    page = Image.new("RGB", (4 * WIDTH + 3 * GAP, CAPTION + len(scenes) * (HEIGHT + GAP)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, title in enumerate(("photo", "coarse labels", "refined labels", "overlay")):
        draw.text((column * (WIDTH + GAP) + 4, 2), title, "black", font)
    with tempfile.TemporaryDirectory() as folder:
        for row, scene in enumerate(scenes):
            run(trident, scene, folder + "/coarse", "--refine", "none")
            run(trident, scene, folder + "/fine", "--overlay", folder + "/overlay.png")
            top = CAPTION + row * (HEIGHT + GAP)
            panels = [f"models/demo/scenes/images/{scene}.jpg", folder + "/coarse.png", folder + "/fine.png",
                      folder + "/overlay.png"]
            for column, path in enumerate(panels):
                picture = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.NEAREST
                        if 0 < column < 3 else Image.LANCZOS)
                page.paste(picture, (column * (WIDTH + GAP), top))
            legend = json.load(open(folder + "/fine.json"))["classes"]
            seen = sorted((c for c in legend if c["share"] > 0.004), key=lambda c: -c["share"])
            left = 3 * (WIDTH + GAP) + 4
            for line, entry in enumerate(seen[:12]):
                name = entry["name"]
                y = top + 4 + 16 * line
                draw.rectangle((left, y, left + 20 + draw.textlength(name, font), y + 15), "white")
                draw.rectangle((left + 3, y + 3, left + 12, y + 12), tuple(entry["colour"]), "black")
                draw.text((left + 16, y), name, "black", font)
    page.quantize(128).save("docs/images/demo.png", optimize=True)


if __name__ == "__main__":
    main()
