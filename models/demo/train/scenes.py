"""Composes labelled scenes from drawings on procedural grounds.

Sources, both Debian packages: `fonts-noto-color-emoji` (SIL OFL 1.1) and `openclipart-png` (public domain).

  scenes.py --split test --count 300 --seed 20 --out DIR     photos, label PNGs, classes.txt,
                                                             captions.txt, present.txt (for --present)
  scenes.py --split train --count 3000 --seed 1 --cache FILE  uint8 training cache (.npz index beside it)

A scene is a function of (split, seed, number) alone. Label PNGs hold the class number, in the order of
classes.txt.
"""
import argparse
import json
import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

EMOJI = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CLIPART = "/usr/share/openclipart/png"
SPRITE_SIDE = 192

# noun: (emoji, clip art, recolour freely?)
NOUNS = {
    "apple": ("🍎🍏", ["food/fruit/an_apple_01", "food/fruit/another_apple_01", "food/fruit/apple"], 0),
    "banana": ("🍌", ["food/fruit/banana", "food/fruit/bananas_nicu_buculei_01"], 0),
    "cherry": ("🍒", ["food/fruit/cherries"], 0),
    "grapes": ("🍇", ["food/fruit/grape_01", "food/fruit/grapes_simple"], 0),
    "lemon": ("🍋", ["food/fruit/lemon", "food/fruit/lemon_simple"], 0),
    "orange": ("🍊", ["food/fruit/orange", "food/fruit/orange_dave_pena_01", "food/fruit/orange_simple"], 0),
    "pear": ("🍐", ["food/fruit/pear", "food/fruit/pear_simple"], 0),
    "pineapple": ("🍍", ["food/fruit/pineapple"], 0),
    "strawberry": ("🍓", ["food/fruit/strawberry", "food/fruit/strawberry_01", "food/fruit/strawberry_simple"],  # noqa: E501
                   0),
    "watermelon": ("🍉", ["food/fruit/watermelon_simple"], 0),
    "carrot": ("🥕", ["food/vegetables/what_s_up_doc_01"], 0),
    "mushroom": ("🍄", ["plants/mushroom", "plants/toadstool_daniel_steele_r"], 0),
    "pumpkin": ("🎃", ["food/pumpkin2_yemu_01"], 0),
    "pizza": ("🍕", ["food/pizza_4_stagioni_archite_01", "food/pizza_cheese", "food/pizza_pepperoni"], 0),
    "burger": ("🍔", ["food/meats_and_eggs/burger_http_www.treebui_r", "food/meats_and_eggs/hamburger_ganson"],  # noqa: E501
               0),
    "cake": ("🎂🍰", ["food/desserts/birthday_cake", "food/desserts/pink_cake_gabrielle_now_r"], 0),
    "donut": ("🍩", [], 0),
    "cat": ("🐈🐱", ["animals/mammals/cartoon_cat_gerald_g._01",
                   "animals/mammals/housecats/gatto_cat_architetto_fra_03"], 0),
    "dog": ("🐕🐶", ["animals/mammals/dog_01_drawn_with_strai_01", "animals/mammals/dogs/beagle_copper_ganson"],  # noqa: E501
            0),
    "horse": ("🐎🐴", ["animals/mammals/horses/cavallo_architetto_franc_01",
                     "animals/mammals/horses/cavallo_architetto_franc_02"], 0),
    "pig": ("🐖🐷", ["animals/mammals/pig_marcelo_caiafa1"], 0),
    "sheep": ("🐑", ["animals/mammals/sheep-md-v0.1"], 0),
    "elephant": ("🐘", [], 0),
    "monkey": ("🐒🐵", ["animals/mammals/happy_monkey_benji_park_01",
                      "animals/mammals/monkey_head_nicu_buculei_01"], 0),
    "rabbit": ("🐇🐰", [], 0),
    "frog": ("🐸", [], 0),
    "turtle": ("🐢", [], 0),
    "snake": ("🐍", [], 0),
    "fish": ("🐟🐠🐡", ["animals/fish/brown_fish_01"], 0),
    "whale": ("🐳🐋", [], 0),
    "penguin": ("🐧", ["animals/birds/emperor_penguin_ralf_ste_01",
                      "animals/birds/penguin/plush_tux_anita_01"], 0),
    "duck": ("🦆", ["recreation/toys/rubber_duck1_ganson"], 0),
    "owl": ("🦉", [], 0),
    "butterfly": ("🦋", ["animals/bugs/butterfly_jonathan_dietr_01", "animals/bugs/butterfly_jonvdveen_01",
                        "animals/bugs/farfalla_butterfly_fra1"], 1),
    "bee": ("🐝", ["animals/bugs/bee1_mimooh_01"], 0),
    "ladybug": ("🐞", ["animals/bugs/ladybug_01", "animals/bugs/ladybug_02"], 0),
    "octopus": ("🐙", [], 0),
    "crab": ("🦀", [], 0),
    "snail": ("🐌", [], 0),
    "car": ("🚗🚙", ["transportation/car_jamin_ellis_"], 1),
    "bus": ("🚌", ["transportation/bus1_jarno_vasamaa_01", "transportation/bus2_jarno_vasamaa_01"], 1),
    "truck": ("🚚", ["transportation/truck_jarno_vasamaa1", "transportation/truck_jarno_vasamaa_"], 1),
    "bicycle": ("🚲", ["transportation/vehicles/bicycle_01"], 1),
    "boat": ("⛵🚤", ["transportation/boating/boat_jarno_vasamaa_"], 1),
    "airplane": ("🛩✈", [], 1),
    "helicopter": ("🚁", [], 1),
    "rocket": ("🚀", ["transportation/vehicles/rocket"], 1),
    "train": ("🚂", [], 1),
    "house": ("🏠🏡", ["buildings/homes/house", "buildings/homes/house_christoph_brill_01"], 0),
    "tree": ("🌳🌲", ["food/fruit/tree_whit_fruits_01", "plants/trees/evergreen/tree"], 0),
    "flower": ("🌼🌸", ["plants/flowers/flower_01", "plants/flowers/flower_02"], 1),
    "sunflower": ("🌻", [], 0),
    "cactus": ("🌵", [], 0),
    "soccer ball": ("⚽", ["recreation/sports/soccer_ball_ganson"], 0),
    "guitar": ("🎸", ["recreation/music/guitar_jarno_vasamaa1", "recreation/music/guitar_jarno_vasamaa2"], 1),
    "violin": ("🎻", ["recreation/music/violin_colour_ganson"], 0),
    "trumpet": ("🎺", ["recreation/music/trumpet_b_flat_colour_ganso",
                      "recreation/music/trumpet_pocket_colour_ganso"], 0),
    "drum": ("🥁", [], 1),
    "clock": ("⏰🕒", [], 1),
    "camera": ("📷", ["computer/hardware/digital-camera_aj_ashton_01",
                     "computer/hardware/digital_camera_nicu_bucu_01"], 0),
    "laptop": ("💻", ["computer/etiquette_laptop_01", "computer/hardware/laptop"], 0),
    "book": ("📕📗", ["education/books/book_01", "education/books/closed_book_01"], 1),
    "scissors": ("✂", ["education/scissors"], 1),
    "key": ("🔑", [], 0),
    "bell": ("🔔", [], 0),
    "umbrella": ("☂", ["geography/canada_umbrella_ganson", "tools/umbrella"], 1),
    "hat": ("👒🎩", ["people/clothing/hats/hat_-_clothing_nicu_bucu_03",
                   "people/clothing/hats/hat_-_clothing_nicu_bucu_01"], 1),
    "shoe": ("👟👞", ["people/clothing/tennis_shoe_jarno_vasama_"], 1),
    "cup": ("☕", ["food/beverages/mug", "food/beverages/teacup_ganson"], 1),
    "chair": ("🪑", [], 0),
    "balloon": ("🎈", ["recreation/party/balloon-blue-aj", "recreation/party/balloon-green-aj",
                      "recreation/party/balloon-yellow-aj"], 1),
    "gift": ("🎁", ["recreation/holiday/gift01", "recreation/holiday/gift03"], 1),
}
GROUNDS = ["sky", "grass", "sand", "water", "brick", "wood", "night", "snow", "road", "stone", "tile",
           "curtain"]
UPPER = ["sky", "night", "brick", "wood", "curtain", "tile", "stone", "sky", "sky"]
LOWER = ["grass", "sand", "water", "snow", "road", "stone", "wood", "tile", "grass"]
CLASSES = GROUNDS + list(NOUNS)


def plural(noun):
    if noun in ("grapes", "scissors", "sheep", "fish"): return noun
    if noun.endswith("y") and noun[-2] not in "aeiou": return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh")): return noun + "es"
    return noun + "s"


def article(word): return ("an " if word[0] in "aeiou" else "a ") + word


# ---------------------------------------------------------------------------------------------- drawings
def trim(image, side=SPRITE_SIDE):
    image = image.convert("RGBA")
    alpha = np.asarray(image)[..., 3]
    ys, xs = np.where(alpha > 24)
    image = image.crop((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    scale = side / max(image.size)
    size = (max(8, round(image.size[0] * scale)), max(8, round(image.size[1] * scale)))
    return image.convert("RGBa").resize(size, Image.LANCZOS).convert("RGBA")


def flood_background(image):
    """Some clip art has an opaque white page: what is white and reaches the border becomes transparent."""
    a = np.array(image.convert("RGBA"))
    if (a[[0, 0, -1, -1], [0, -1, 0, -1], 3] < 255).any(): return image
    im = image.convert("RGB")
    for xy in ((0, 0), (im.width - 1, 0), (0, im.height - 1), (im.width - 1, im.height - 1)):
        if min(im.getpixel(xy)) > 240: ImageDraw.floodfill(im, xy, (255, 0, 254), thresh=12)
    gone = (np.asarray(im) == (255, 0, 254)).all(-1)
    a[gone, 3] = 0
    return Image.fromarray(a)


def load_sprites():
    """-> list of (noun, RGBA image, recolour freely)"""
    Image.MAX_IMAGE_PIXELS = None
    font = ImageFont.truetype(EMOJI, 109)
    sprites = []
    for noun, (emoji, art, free) in NOUNS.items():
        for character in emoji:
            image = Image.new("RGBA", (180, 180), (0, 0, 0, 0))
            ImageDraw.Draw(image).text((20, 20), character, font=font, embedded_color=True)
            if np.asarray(image)[..., 3].max() == 0: sys.exit(f"no drawing for {noun} {character}")
            sprites.append((noun, trim(image), free))
        for path in art:
            image = Image.open(f"{CLIPART}/{path}.png").convert("RGBA")
            if max(image.size) > 600: image.thumbnail((600, 600), Image.LANCZOS)
            sprites.append((noun, trim(flood_background(image)), free))
    return sprites


# ---------------------------------------------------------------------------------------------- grounds
def noise(rng, h, w, cell_y, cell_x, octaves=1):
    out = np.zeros((h, w), np.float32); weight = 1.0
    for _ in range(octaves):
        g = rng.random((max(2, int(h / cell_y) + 2), max(2, int(w / cell_x) + 2)), dtype=np.float32)
        out += weight * np.asarray(Image.fromarray(g).resize((w, h), Image.BICUBIC))
        cell_y, cell_x, weight = max(1, cell_y / 2), max(1, cell_x / 2), weight / 2
    return out / (2 - 2.0 ** (1 - octaves)) - 0.5 if octaves > 1 else out - 0.5


def mix(a, b, t):
    return np.asarray(a, np.float32) + (np.asarray(b, np.float32) - np.asarray(a, np.float32)) * np.clip(t, 0,
            1)[..., None]


def jitter(rng, colour, amount=14):
    return np.clip(np.asarray(colour, np.float32) + rng.uniform(-amount, amount, 3), 0, 255)


def ground(rng, kind, h, w):
    """-> float32 [h, w, 3], 0...255"""
    y = np.arange(h, dtype=np.float32)[:, None]; x = np.arange(w, dtype=np.float32)[None]
    grain = rng.standard_normal((h, w), dtype=np.float32)
    if kind == "sky":
        base = mix(jitter(rng, (92, 160, 228)), jitter(rng, (190, 222, 244)), (y / h) + 0 * x)
        return mix(base, (250, 250, 250),
                   np.clip(noise(rng, h, w, 40, 80, 3) * rng.uniform(2, 5) - rng.uniform(0, .6), 0, .9))
    if kind == "night":
        base = mix(jitter(rng, (10, 12, 42), 8), jitter(rng, (40, 40, 92), 12), (y / h)
                   + noise(rng, h, w, 90, 90))
        stars = rng.random((h, w)) < 0.0035
        base[stars] = rng.uniform(150, 255, (int(stars.sum()), 1))
        return base
    if kind == "grass":
        t = 0.5 + noise(rng, h, w, 9, 2) * 1.1 + noise(rng, h, w, 60, 60) * 0.5
        return mix(jitter(rng, (38, 104, 32)), jitter(rng, (122, 190, 70)), t)
    if kind == "sand":
        t = 0.5 + 0.12 * grain + 0.5 * noise(rng, h, w, 14, 70) + noise(rng, h, w, 80, 80) * .3
        return mix(jitter(rng, (198, 164, 104)), jitter(rng, (244, 222, 170)), t)
    if kind == "water":
        wave = np.sin(y / rng.uniform(3, 6) + noise(rng, h, w, 20, 50) * 12)
        return mix(jitter(rng, (16, 84, 140)), jitter(rng, (70, 180, 206)), 0.4 + 0.25 * wave
                   + noise(rng, h, w, 10, 60))
    if kind == "brick":
        bh, bw = rng.integers(16, 26), rng.integers(36, 56)
        row = (y // bh).astype(int) + 0 * x.astype(int)
        col = ((x + (row % 2) * (bw / 2)) // bw).astype(int)
        tone = rng.random((64, 64), dtype=np.float32)[row % 64, col % 64]
        base = mix(jitter(rng, (132, 52, 38)), jitter(rng, (190, 92, 66)), tone + 0.1 * grain)
        mortar = ((y % bh) < 3) | (((x + (row % 2) * (bw / 2)) % bw) < 3)
        base[mortar] = jitter(rng, (196, 186, 172)); return base
    if kind == "wood":
        pw = rng.integers(40, 74); vertical = rng.random() < .5
        c = x + 0 * y if vertical else y + 0 * x
        plank = (c // pw).astype(int)
        tone = rng.random(64, dtype=np.float32)[plank % 64]
        grainy = noise(rng, h, w, 60, 3) if vertical else noise(rng, h, w, 3, 60)
        base = mix(jitter(rng, (112, 68, 32)), jitter(rng, (196, 140, 84)), 0.25 + 0.5 * tone + 0.9 * grainy)
        base[(c % pw) < 2] *= 0.45; return base
    if kind == "snow":
        t = 0.6 + noise(rng, h, w, 50, 70, 2) * 1.2 + 0.05 * grain
        return mix(jitter(rng, (196, 210, 232), 8), jitter(rng, (250, 251, 253), 3), t)
    if kind == "road":
        base = mix(jitter(rng, (54, 54, 58), 8), jitter(rng, (104, 104, 108), 8), 0.5 + 0.18 * grain
                   + 0.3 * noise(rng, h, w, 60, 60))
        if rng.random() < .6:
            at = rng.uniform(.2, .8) * h
            base[(np.abs(y - at) < 4) & (((x + rng.uniform(0, 60)) % 64) < 38)] = (226, 220, 200)
        return base
    if kind == "stone":
        cell = int(rng.integers(26, 44))
        gy, gx = h // cell + 3, w // cell + 3
        py = rng.uniform(.15, .85, (gy, gx)).astype(np.float32)
        px = rng.uniform(.15, .85, (gy, gx)).astype(np.float32)
        tone = rng.random((gy, gx), dtype=np.float32)
        iy = (y // cell).astype(int) + 1 + 0 * x.astype(int)
        ix = (x // cell).astype(int) + 1 + 0 * y.astype(int)
        fy = y / cell + 1; fx = x / cell + 1
        best = np.full((h, w), 9, np.float32); second = best.copy(); which = np.zeros((h, w), np.float32)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                cy, cx = iy + dy, ix + dx
                d = (cy + py[cy, cx] - fy) ** 2 + (cx + px[cy, cx] - fx) ** 2
                near = d < best
                second = np.where(near, best, np.minimum(second, d))
                which = np.where(near, tone[cy, cx], which); best = np.where(near, d, best)
        base = mix(jitter(rng, (110, 110, 112), 10), jitter(rng, (186, 182, 174), 10), which + .08 * grain)
        return base * np.clip((np.sqrt(second) - np.sqrt(best)) * 5 + .35, .35, 1)[..., None]
    if kind == "tile":
        s = int(rng.integers(34, 60)); a = jitter(rng, (232, 232, 226), 10)
        b = jitter(rng, [(120, 170, 176), (214, 170, 120), (150, 150, 190)][rng.integers(3)], 14)
        checker = ((y // s + x // s) % 2)
        base = mix(a, b, checker + .04 * grain)
        base[((y % s) < 2) | ((x % s) < 2)] = 168; return base
    if kind == "curtain":
        fold = np.sin(x / rng.uniform(6, 12) + noise(rng, h, w, 120, 60) * 5) * .5 + .5 + 0 * y
        dark, light = [((110, 14, 30), (206, 50, 66)), ((70, 24, 96), (150, 84, 180)),
                       ((16, 84, 70), (60, 160, 130))][rng.integers(3)]
        return mix(jitter(rng, dark, 10), jitter(rng, light, 10), fold + .05 * grain)
    raise ValueError(kind)


# ---------------------------------------------------------------------------------------------- scenes
HUES = [(8, "red"), (24, "orange"), (40, "yellow"), (105, "green"), (138, "cyan"), (182, "blue"),
        (206, "purple"), (238, "pink"), (256, "red")]


def recolour(rng, sprite, free):
    """-> image, colour adjective or None"""
    rgb = sprite.convert("RGB"); alpha = sprite.getchannel("A")
    h, s, v = (np.array(c, np.int16) for c in rgb.convert("HSV").split())
    h = (h + (rng.integers(0, 256) if free and rng.random() < .6 else rng.integers(-7, 8))) % 256
    s = np.clip(s * rng.uniform(.8, 1.2), 0, 255)
    v = np.clip(v * rng.uniform(.8, 1.12) + rng.uniform(-8, 8), 0, 255)
    out = Image.merge("HSV", [Image.fromarray(np.ascontiguousarray(c).astype(np.uint8))
                              for c in (h, s, v)]).convert("RGB")
    out.putalpha(alpha)
    colour = None
    if free:
        strong = (np.asarray(alpha) > 128) & (s > 90) & (v > 60)
        if strong.sum() > 0.35 * (np.asarray(alpha) > 128).sum():
            histogram = np.bincount(h[strong].astype(int), minlength=256)
            peak = int(np.argmax(np.convolve(np.r_[histogram[-8:], histogram, histogram[:8]], np.ones(17),
                                             "valid")))
            colour = next(name for top, name in HUES if peak < top)
    return out, colour


def compose(rng, sprites, h, w, objects=None, grounds=None):
    """-> photo uint8 [h,w,3], class uint8 [h,w], instance uint8 [h,w], caption record"""
    by_noun = {}
    for sprite in sprites: by_noun.setdefault(sprite[0], []).append(sprite)
    layout = rng.random()
    if grounds is None:
        if layout < .22: grounds = [GROUNDS[rng.integers(len(GROUNDS))]]
        elif layout < .55: grounds = [UPPER[rng.integers(len(UPPER))], LOWER[rng.integers(len(LOWER))]]
        else:
            grounds = [GROUNDS[i] for i in rng.choice(len(GROUNDS), 2 if layout < .85 else 3, replace=False)]
        if len(grounds) == 2 and grounds[0] == grounds[1]: grounds = grounds[:1]
    photo = ground(rng, grounds[0], h, w)
    label = np.full((h, w), CLASSES.index(grounds[0]), np.uint8)
    instance = np.full((h, w), 200, np.uint8)
    x = np.arange(w, dtype=np.float32)
    edges = [rng.uniform(.38, .72)] if len(grounds) == 2 else [rng.uniform(.28, .42), rng.uniform(.6, .76)]
    for i, kind in enumerate(grounds[1:]):
        line = h * edges[i] + rng.uniform(-.22, .22) * (x - w / 2) * (rng.random() < .6)
        if rng.random() < .5: line = line + h * .05 * np.sin(x / w * rng.uniform(3, 14) + rng.uniform(0, 6))
        below = np.arange(h)[:, None] > line[None]
        photo = np.where(below[..., None], ground(rng, kind, h, w), photo)
        label[below] = CLASSES.index(kind); instance[below] = 201 + i
    if objects is None:
        k = int(rng.choice([1, 2, 3, 4, 5, 6], p=[.08, .17, .25, .25, .15, .1]))
        names = list(by_noun); pool = [names[i] for i in rng.choice(len(names), k)]
        if rng.random() < .25: pool = [pool[0]] + pool[:-1]
        objects = [(n, None) for n in pool]
    record = []
    m = min(h, w)
    for number, (noun, place) in enumerate(objects, 1):
        variants = by_noun[noun]
        _, sprite, free = variants[rng.integers(len(variants))]
        sprite, colour = recolour(rng, sprite, free)
        size = m * (float(np.exp(rng.uniform(np.log(.17), np.log(.52)))) if place is None else place[2])
        scale = size / max(sprite.size)
        turn = rng.uniform(-25, 25) if rng.random() < .7 else 0
        if place is not None: turn *= .3
        if rng.random() < .5: sprite = sprite.transpose(Image.FLIP_LEFT_RIGHT)
        sprite = sprite.convert("RGBa").resize((max(8, round(sprite.width * scale)),
                                                max(8, round(sprite.height * scale * rng.uniform(.9, 1.1)))),
                                               Image.BILINEAR, reducing_gap=1.5)
        if turn: sprite = sprite.rotate(turn, Image.BILINEAR, expand=True)
        a = np.asarray(sprite, np.float32)
        sh, sw = a.shape[:2]
        for _attempt in range(6):
            if place is None: cy, cx = rng.uniform(.06, .94) * h, rng.uniform(.06, .94) * w
            else: cy, cx = place[1] * h, place[0] * w
            y0, x0 = int(cy - sh / 2), int(cx - sw / 2)
            ys, xs = slice(max(0, y0), min(h, y0 + sh)), slice(max(0, x0), min(w, x0 + sw))
            crop = a[ys.start - y0:ys.stop - y0, xs.start - x0:xs.stop - x0]
            solid = crop[..., 3] > 127
            if place is not None or (instance[ys, xs][solid] < 200).mean() < .35: break
        else: continue
        photo[ys, xs] = photo[ys, xs] * (1 - crop[..., 3:] / 255) + crop[..., :3]
        label[ys, xs][solid] = CLASSES.index(noun); instance[ys, xs][solid] = number
        record.append((noun, colour))
    light = 1 + rng.uniform(-.12, .12) + rng.uniform(-.15, .15) * (x / w - .5)[None, :, None]
    photo = photo * light + rng.standard_normal((h, w, 1), dtype=np.float32) * rng.uniform(0, 4)
    return np.clip(photo, 0, 255).astype(np.uint8), label, instance, {"objects": record, "grounds": grounds}


COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven"]


def caption(rng, record):
    groups = {}
    for noun, colour in record["objects"]: groups.setdefault(noun, []).append(colour)
    parts = []
    for noun, colours in groups.items():
        adjective = colours[0] + " " if len(set(colours)) == 1 and colours[0] and rng.random() < .6 else ""
        n = len(colours)
        parts.append(article(adjective + noun) if n == 1
                     else f"{COUNTS[min(n, 7)]} {adjective}{plural(noun)}")
    parts = [parts[i] for i in rng.permutation(len(parts))]
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else "nothing"  # noqa: E501
    g = record["grounds"]
    where = rng.integers(4)
    if where == 0: text += " on " + g[-1]
    elif where == 1 and len(g) > 1: text += f" with {g[0]} and {g[1]}"
    elif where == 2: text += " in front of " + g[0]
    lead = ["", "", "a picture of ", "a drawing of ", "a scene with ", "there is "][rng.integers(6)]
    return lead + text


def scene(split, seed, number, sprites, size=None):
    rng = np.random.default_rng([{"train": 1, "test": 2, "show": 3}[split], seed, number])
    if size is None:
        long, aspect = int(rng.integers(352, 449)), rng.choice([1.0, 4 / 3, 3 / 4, 5 / 4, 4 / 5])
        h, w = (long, round(long * aspect)) if aspect < 1 else (round(long / aspect), long)
    else: h = w = size
    return compose(rng, sprites, h, w), rng


# The six scenes of the demo: nouns with (x, y, size), grounds from top to bottom.
SHOW = {
    "farm": ((480, 640), ["sky", "grass"],
             [("house", (.20, .38, .50)), ("tree", (.85, .38, .52)), ("horse", (.55, .62, .40)),
              ("sheep", (.27, .80, .28)), ("duck", (.82, .84, .22))]),
    "beach": ((480, 640), ["sky", "water", "sand"],
              [("airplane", (.22, .16, .26)), ("boat", (.66, .42, .42)), ("crab", (.25, .84, .26)),
               ("soccer ball", (.56, .84, .20)), ("umbrella", (.85, .72, .42))]),
    "street": ((480, 640), ["brick", "road"],
               [("bicycle", (.20, .50, .40)), ("car", (.55, .70, .42)), ("bus", (.84, .52, .46)),
                ("dog", (.28, .82, .26)), ("cat", (.82, .86, .24))]),
    "table": ((448, 576), ["curtain", "wood"],
              [("cake", (.50, .50, .42)), ("cup", (.20, .64, .28)), ("apple", (.33, .86, .20)),
               ("banana", (.64, .84, .28)), ("strawberry", (.86, .70, .22))]),
    "winter": ((512, 512), ["night", "snow"],
               [("rocket", (.24, .22, .34)), ("tree", (.82, .44, .44)), ("penguin", (.30, .72, .36)),
                ("rabbit", (.62, .82, .28))]),
    "music": ((448, 640), ["stone", "tile"],
              [("guitar", (.16, .52, .56)), ("violin", (.42, .40, .48)), ("trumpet", (.70, .32, .44)),
               ("drum", (.64, .76, .36)), ("hat", (.88, .74, .26))]),
}

if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--split", choices=["train", "test", "show"], default="test")
    p.add_argument("--count", type=int, default=300)
    p.add_argument("--seed", type=int, default=20)
    p.add_argument("--out"); p.add_argument("--cache"); p.add_argument("--side", type=int, default=448)
    p.add_argument("--start", type=int, default=0)
    a = p.parse_args()
    sprites = load_sprites()
    if a.cache:  # uint8 [count, side, side, 5]: red, green, blue, class, instance; resumable
        data = np.lib.format.open_memmap(a.cache, "r+" if os.path.exists(a.cache) else "w+", np.uint8,
                                         (a.count, a.side, a.side, 5)) \
            if not os.path.exists(a.cache) else np.lib.format.open_memmap(a.cache, "r+")
        log = open(a.cache + ".jsonl", "a")
        for i in range(a.start, a.count):
            side = [264, 320, 384, 448][i % 4]
            (photo, label, instance, record), rng = scene("train", a.seed, i, sprites, side)
            stack = np.dstack([photo, label, instance])
            if side != a.side:
                photo = np.asarray(Image.fromarray(photo).resize((a.side, a.side), Image.BILINEAR))
                index = (np.arange(a.side) + .5) * side // a.side
                index = index.astype(int)
                stack = np.dstack([photo, label[index][:, index], instance[index][:, index]])
            data[i] = stack
            log.write(json.dumps([i, record, [caption(rng, record) for _ in range(3)]]) + "\n")
            if i % 100 == 99: data.flush(); log.flush(); print(i + 1, flush=True)
        sys.exit()
    os.makedirs(f"{a.out}/images", exist_ok=True); os.makedirs(f"{a.out}/labels", exist_ok=True)
    shown = [c for c in CLASSES if a.split != "show"
             or any(c in g or c in dict(o) for _, g, o in SHOW.values())]
    number_of = np.array([shown.index(c) if c in shown else 255 for c in CLASSES], np.uint8)
    open(f"{a.out}/classes.txt", "w").write("\n".join(shown) + "\n")
    with open(f"{a.out}/captions.txt", "w") as captions, open(f"{a.out}/present.txt", "w") as present:
        names = [f"{i:04d}" for i in range(a.count)] if a.split != "show" else list(SHOW)
        for i, name in enumerate(names):
            if a.split == "show":
                (h, w), grounds, objects = SHOW[name]
                rng = np.random.default_rng([3, a.seed, i])
                photo, label, _, record = compose(rng, sprites, h, w, objects, grounds)
            else: (photo, label, _, record), rng = scene(a.split, a.seed, i, sprites)
            file = name + (".jpg" if a.split == "show" else ".png")
            Image.fromarray(photo).save(f"{a.out}/images/{file}",
                                        **({"quality": 92} if a.split == "show" else {}))
            Image.fromarray(number_of[label]).save(f"{a.out}/labels/{name}.png", optimize=True)
            captions.write(f"{name} {caption(rng, record)}\n")
            present.write(f"{file}: " + ", ".join(shown[k] for k in np.unique(number_of[label]) if k < 255)
                          + "\n")
