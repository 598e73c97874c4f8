"""Golden answers for the refinement tests: a toy mask decoder and whole refinements, in plain PyTorch.

Weights and inputs come from a counter-based generator that the Swift tests repeat, so only answers are
stored. Packed layers are rounded to INT8 rows on both sides, so that float32 precision agrees to rounding.

    python3 make_refine.py        # writes decoder.f32 and case*.bin beside itself; needs torch, numpy, scipy
"""
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

HERE = pathlib.Path(__file__).parent
GRID, SIDE, WIDTH, DEPTH, HEADS, MLP, MASKS, INNER = 8, 128, 32, 2, 4, 64, 4, 16


def uniform(seed, count):
    """Uniform in [-1, 1) from SplitMix64 at counters seed * 2**32 + i."""
    index = np.arange(count, dtype=np.uint64) + np.uint64((seed << 32) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23)) - np.float32(1)


class Weights:
    """Hands out tensors in one fixed order; the Swift side draws them in the same order."""

    def __init__(self):
        self.seed = 0

    def draw(self, *shape, scale=1.0, shift=0.0):
        self.seed += 1
        values = uniform(self.seed, int(np.prod(shape))).reshape(shape)
        return torch.from_numpy(values * np.float32(scale) + np.float32(shift))

    def packed(self, outputs, inputs):
        weight = self.draw(outputs, inputs, scale=1.7 / inputs**0.5).numpy()
        scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
        weight = np.rint(weight / scale).astype(np.float32) * scale
        return torch.from_numpy(weight), self.draw(outputs, scale=0.1)

    def dense(self, outputs, inputs):
        return self.draw(outputs, inputs, scale=1.7 / inputs**0.5), self.draw(outputs, scale=0.1)

    def norm(self, width):
        return self.draw(width, scale=0.2, shift=1.0), self.draw(width, scale=0.1)


def attention(w, inner):
    return [w.packed(inner, WIDTH), w.packed(inner, WIDTH), w.packed(inner, WIDTH), w.packed(WIDTH, inner)]


class Decoder:
    def __init__(self):
        w = Weights()
        self.gaussian = w.draw(2, WIDTH // 2)
        self.points = w.draw(4, WIDTH, scale=0.5)
        self.conv0, self.norm1 = w.dense(4, 4), w.norm(4)
        self.conv3, self.norm4 = w.dense(16, 16), w.norm(16)
        self.conv6 = w.dense(WIDTH, 16)
        self.layers = []
        for _ in range(DEPTH):
            self.layers.append({
                "self": attention(w, WIDTH), "token": attention(w, INNER), "image": attention(w, INNER),
                "in": w.packed(MLP, WIDTH), "out": w.packed(WIDTH, MLP),
                "norm": [w.norm(WIDTH) for _ in range(4)]})
        self.final, self.final_norm = attention(w, INNER), w.norm(WIDTH)
        self.iou_token, self.mask_tokens = w.draw(1, WIDTH), w.draw(MASKS, WIDTH)
        self.up0, self.up_norm, self.up3 = w.packed(WIDTH, WIDTH), w.norm(WIDTH // 4), w.packed(WIDTH // 2,
                WIDTH // 4)
        self.hyper = [w.dense(WIDTH, WIDTH), w.dense(WIDTH, WIDTH), w.dense(WIDTH // 8, WIDTH)]
        self.iou = [w.dense(WIDTH, WIDTH), w.dense(WIDTH, WIDTH), w.dense(MASKS, WIDTH)]
        self.embedding = w.draw(GRID * GRID, WIDTH)
        self.last_seed = w.seed
        self.not_a_point, self.no_mask = (torch.from_numpy(uniform(s, WIDTH)) for s in (900, 901))

    def fourier(self, places):
        """places [n, 2] (x, y) in 0..1."""
        angle = 2 * np.pi * ((2 * places - 1) @ self.gaussian)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    @staticmethod
    def attend(layer, q, k, v):
        q, k, v = (F.linear(x, *weights) for x, weights in zip((q, k, v), layer))
        q, k, v = (x.view(x.shape[0], HEADS, -1).transpose(0, 1) for x in (q, k, v))
        mixed = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v
        return F.linear(mixed.transpose(0, 1).flatten(1), *layer[3])

    @staticmethod
    def norm2d(x, norm):
        return F.layer_norm(x.permute(0, 2, 3, 1), norm[0].shape, *norm, eps=1e-6).permute(0, 3, 1, 2)

    @staticmethod
    def norm_over_rows(x, norm):
        """segment-anything's LayerNorm2d as the public implementation calls it: without a batch axis."""
        x = x[0]
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        return (norm[0][:, None, None] * x + norm[1][:, None, None])[None]

    def dense_prompt(self, mask):
        x = F.conv2d(mask[None, None], self.conv0[0].view(4, 1, 2, 2), self.conv0[1], stride=2)
        x = F.gelu(self.norm_over_rows(x, self.norm1))
        x = F.conv2d(x, self.conv3[0].view(16, 4, 2, 2), self.conv3[1], stride=2)
        x = F.gelu(self.norm_over_rows(x, self.norm4))
        x = F.conv2d(x, self.conv6[0].view(WIDTH, 16, 1, 1), self.conv6[1])
        return x[0].flatten(1).T

    @staticmethod
    def upconv(x, layer, outputs):
        weight = layer[0].view(2, 2, outputs, -1).permute(3, 2, 0, 1)
        return F.conv_transpose2d(x, weight, layer[1].view(4, outputs)[0], stride=2)

    def __call__(self, point, box, mask):
        """point (x, y), box (x0, y0, x1, y1) in input pixels; mask [4 * GRID, 4 * GRID]; None where the prompt lacks it."""  # noqa: E501
        place = lambda xy, kind: self.fourier((torch.tensor([xy], dtype=torch.float32)
                                               + 0.5) / SIDE) + self.points[kind]
        sparse = [place(point, 1)] if point else []
        if box:
            sparse += [place(box[:2], 2), place(box[2:], 3)]
        elif point:
            sparse.append(self.not_a_point[None])
        dense = self.no_mask if mask is None else self.dense_prompt(mask)
        start = torch.cat([self.iou_token, self.mask_tokens, *sparse])
        centre = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        positions = self.fourier(torch.stack([x.flatten(), y.flatten()], dim=1))
        tokens, image = start, self.embedding + dense
        for index, layer in enumerate(self.layers):
            norms = [lambda t, n=n: F.layer_norm(t, (WIDTH,), *n, eps=1e-5) for n in layer["norm"]]
            if index == 0:
                tokens = norms[0](self.attend(layer["self"], tokens, tokens, tokens))
            else:
                shifted = tokens + start
                tokens = norms[0](tokens + self.attend(layer["self"], shifted, shifted, tokens))
            tokens = norms[1](tokens + self.attend(layer["token"], tokens + start, image + positions, image))
            tokens = norms[2](tokens + F.linear(F.relu(F.linear(tokens, *layer["in"])), *layer["out"]))
            image = norms[3](image + self.attend(layer["image"], image + positions, tokens + start, tokens))
        tokens = tokens + self.attend(self.final, tokens + start, image + positions, image)
        tokens = F.layer_norm(tokens, (WIDTH,), *self.final_norm, eps=1e-5)
        x = image.T.reshape(1, WIDTH, GRID, GRID)
        x = F.gelu(self.norm2d(self.upconv(x, self.up0, WIDTH // 4), self.up_norm))
        x = F.gelu(self.upconv(x, self.up3, WIDTH // 8))[0]

        def network(layers, t):
            for layer in layers[:-1]:
                t = F.relu(F.linear(t, *layer))
            return F.linear(t, *layers[-1])

        logits = (network(self.hyper, tokens[1]) @ x.flatten(1)).view(4 * GRID, 4 * GRID)
        return logits, network(self.iou, tokens[0])[0]


def fitted(height, width, side):
    scale = side / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resample(x, size):
    return F.interpolate(x[None], size, mode="bilinear", align_corners=False)[0]


def refine(decoder, scores, class_of, height, width, patch, s):
    """Whole arrays, the slow and obvious way. Returns coarse labels, labels, regions, IoUs."""
    classes = max(class_of) + 1
    phrases = (resample(scores, (height, width)) * 40).softmax(0)
    probability = torch.stack([phrases[[i for i, c in enumerate(class_of) if c == k]].amax(0)
                               for k in range(classes)])
    best, coarse = probability.max(0)
    coarse[best < s["threshold"]] = 0
    half = (height // 2, width // 2)
    labels = F.interpolate(coarse[None, None].float(), half, mode="nearest")[0, 0].long()
    small = resample(probability, half)
    if s["coarse"] > 0:
        labels[small.amax(0) < s["coarse"]] = classes
    padded = (-(-height // patch) * patch, -(-width // patch) * patch)
    valid = fitted(*padded, SIDE)
    ratio_y, ratio_x = (a / b for a, b in zip(fitted(*half, SIDE), half))
    prompt_size = fitted(height, width, 4 * GRID)
    regions, ious, merged, union = [], [], torch.zeros(classes, height, width), torch.zeros(classes, height,
            width)
    for k in range(classes):
        if small[k].max() < s["coarse"]:
            continue
        prompt = torch.zeros(4 * GRID, 4 * GRID)
        prompt[: prompt_size[0], : prompt_size[1]] = resample(small[k][None], prompt_size)[0]
        prompt = torch.where(prompt > s["coarse"], prompt * s["alpha"], torch.zeros(()))
        marked, count = ndimage.label((labels == k).numpy(), structure=np.ones((3, 3)))
        firsts = [np.flatnonzero(marked == i + 1)[0] for i in range(count)]
        for i in np.argsort(firsts):
            region = torch.from_numpy(marked == i + 1)
            if region.sum() < s["area"]:
                continue
            ys, xs = region.nonzero(as_tuple=True)
            place = int((small[k] * region).argmax())
            point = (place % half[1], place // half[1])
            box = (int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max()))
            logits, iou = decoder(
                (point[0] * ratio_x, point[1] * ratio_y),
                (box[0] * ratio_x, box[1] * ratio_y, box[2] * ratio_x, box[3] * ratio_y), prompt)
            regions.append((k, int(region.sum()), *box, *point))
            ious.append(float(iou))
            if iou <= s["iou"]:
                continue
            big = resample(logits[None], (SIDE, SIDE))[:, : valid[0], : valid[1]]
            big = resample(resample(big, padded), (height, width))[0]
            union[k] += big > 0
            merged[k] = torch.maximum(merged[k], big.sigmoid() * probability[k])
    merged = merged * (union > 0)
    refined = torch.where(merged.sum(0) == 0, coarse, merged.argmax(0))
    return coarse, refined, regions, ious


CASES = [
    # height, width, score rows, columns, width of features, class of each phrase, patch, settings
    (90, 117, 7, 8, 12, [0, 0, 0, 1, 2, 2, 3], 16,
     dict(threshold=0.3, coarse=0.25, area=20, iou=0.2, alpha=0.005)),
    (161, 110, 8, 5, 12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 14,
     dict(threshold=0, coarse=0.2, area=30, iou=-9, alpha=0.05)),
    (33, 300, 1, 8, 12, [0, 1, 2], 16, dict(threshold=0, coarse=0.0, area=5, iou=-9, alpha=0.005)),
]


def main():
    torch.set_num_threads(1)
    decoder = Decoder()
    answers, fewer = [], []
    for seed, (point, box) in enumerate([((30.5, 41.0), (10.0, 12.5, 77.0, 90.0)),
                                         ((3.0, 99.0), (0.0, 80.0, 20.0, 127.0))]):
        mask = torch.from_numpy(uniform(1000 + seed, 16 * GRID * GRID)).view(4 * GRID, 4 * GRID)
        logits, iou = decoder(point, box, mask)
        answers += [iou.view(1), logits.flatten()]
        for kinds in ("point", "box", "mask", "point,box", "point,mask", "box,mask") if seed == 0 else ():
            logits, iou = decoder(point if "point" in kinds else None, box if "box" in kinds else None, mask
                                  if "mask" in kinds else None)
            fewer += [iou.view(1), logits.flatten()]
    (HERE / "decoder.f32").write_bytes(torch.cat(answers + fewer).numpy().astype("<f4").tobytes())
    for index, (height, width, rows, columns, embed, class_of, patch, settings) in enumerate(CASES):
        z = torch.from_numpy(uniform(2000 + 2 * index, rows * columns * embed)).view(-1, embed)
        t = torch.from_numpy(uniform(2001 + 2 * index, len(class_of) * embed)).view(-1, embed)
        z, t = z / z.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
        scores = (z @ t.T).T.view(len(class_of), rows, columns) * 0.1
        coarse, refined, regions, ious = refine(decoder, scores, class_of, height, width, patch, settings)
        changed = (coarse != refined).float().mean()
        print(f"case {index}: {len(regions)} regions, {sum(i > settings['iou'] for i in ious)} kept, {changed:.3f} changed, IoU {min(ious):.3f}..{max(ious):.3f}")  # noqa: E501
        with open(HERE / f"case{index}.bin", "wb") as out:
            out.write(struct.pack("<i", len(regions)))
            for region, iou in zip(regions, ious):
                out.write(struct.pack("<8if", *region, iou))
            out.write(coarse.numpy().astype("u1").tobytes())
            out.write(refined.numpy().astype("u1").tobytes())


if __name__ == "__main__":
    with torch.no_grad():
        main()
