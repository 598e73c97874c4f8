"""Golden answers for the refinements that colours guide (PAMR, dense CRF), in plain PyTorch and NumPy.

PAMR shifts whole padded pictures. The field filters twice over, in double precision: by sums over all pairs
of pixels, and by the permutohedral lattice, with dictionaries instead of hash tables. Photos are cut from the
demo's scenes and stored; scores come from the counter-based generator of make_refine.py, which the Swift
tests repeat.

    python3 make_guided.py        # writes guided.bin beside itself; needs torch, numpy, pillow
"""
import numpy as np
import torch
import torch.nn.functional as F
from make_refine import HERE, resample, uniform
from PIL import Image

SCENES = HERE.parents[2] / "models/demo/scenes/images"
LIMIT, SCALE = 16, 120


def photo(name, box, height, width):
    """A part of a scene, made small. [height, width, 3] bytes."""
    return np.asarray(Image.open(SCENES / f"{name}.jpg").convert("RGB").crop(box).resize((width, height),
            Image.BILINEAR))


def neighbours(x, distance, centre=False):
    """x [planes, height, width] -> its eight shifts (nine with the centre), [shifts, planes, height,
    width]."""
    height, width = x.shape[1:]
    padded = F.pad(x[None], [distance] * 4, mode="replicate")[0]
    steps = [(dy, dx) for dy in range(3) for dx in range(3) if centre or (dy, dx) != (1, 1)]
    return torch.stack([padded[:, dy * distance:, dx * distance:][:, :height, :width] for dy, dx in steps])


def pamr(image, planes, iterations=10, distances=(8, 16)):
    """image [height, width, 3] bytes, planes [n, height, width]."""
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
    deviation = torch.cat([neighbours(x, d, centre=True) for d in distances]).std(0)
    difference = torch.cat([neighbours(x, d) for d in distances]) - x
    weight = (-difference.abs() / (1e-8 + 0.1 * deviation)).mean(1).softmax(0)
    for _ in range(iterations):
        planes = torch.stack([(torch.cat([neighbours(p[None], d)[:, 0] for d in distances]) * weight).sum(0)
                              for p in planes])
    return planes


def kernel(features):
    """exp(-|a - b|^2 / 2) between all rows, divided by the roots of both ends' sums."""
    square = (features ** 2).sum(1)
    k = np.exp(-0.5 * np.maximum(square[:, None] + square - 2 * features @ features.T, 0))
    root = 1 / np.sqrt(k.sum(1))
    return k * root[:, None] * root


def pairs(features):
    k = kernel(features)
    return lambda q: k @ q


def lattice(features):
    """The same kernel on the permutohedral lattice of Adams et al. (2010)."""
    count, d = features.shape
    scaled = features * np.sqrt(2 / 3) * (d + 1) / np.sqrt((np.arange(d) + 1) * (np.arange(d) + 2))
    above = np.cumsum(scaled[:, ::-1], 1)[:, ::-1]
    raised = np.concatenate([above, np.zeros((count, 1))], 1)
    raised[:, 1:] -= np.arange(1, d + 1) * scaled
    origin = np.rint(raised / (d + 1)) * (d + 1)
    order = np.argsort(-(raised - origin), 1, kind="stable")
    rank = np.argsort(order, 1, kind="stable") + (origin.sum(1, keepdims=True) / (d + 1)).astype(int)
    turn = (rank < 0).astype(int) - (rank > d)
    rank, origin = rank + turn * (d + 1), origin + turn * (d + 1)
    rest = np.sort((raised - origin) / (d + 1), 1)
    share = np.concatenate([1 - rest[:, -1:] + rest[:, :1], np.diff(rest, axis=1)], 1)
    keys = np.stack([origin + np.where(rank <= d - k, k, k - d - 1) for k in range(d + 1)], 1).astype(int)
    known, corner = np.unique(keys.reshape(-1, d + 1), axis=0, return_inverse=True)
    corner = corner.reshape(count, d + 1)
    number = {tuple(key): i for i, key in enumerate(known)}
    steps = (d + 1) * np.eye(d + 1, dtype=int) - 1
    sides = [[np.array([number.get(tuple(key), len(known)) for key in known + sign * step])
              for sign in (1, -1)] for step in steps]

    def run(q):
        values = np.zeros((len(known) + 1, q.shape[1]))
        for k in range(d + 1):
            np.add.at(values, corner[:, k], share[:, k:k + 1] * q)
        for one, other in sides:
            values[:-1] += 0.5 * (values[one] + values[other])
        return sum(share[:, k:k + 1] * values[corner[:, k]] for k in range(d + 1))

    root = 1 / np.sqrt(run(np.ones((count, 1))))
    return lambda q: root * run(root * q)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def field(image, logs, filtered, iterations=10, smooth=(3, 3), colour=(80, 13, 10)):
    """logs [pixels, classes]; filtered: pairs or lattice. Returns the colour kernel's first message, without
    its weight, and probabilities."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    place = np.stack([x.ravel(), y.ravel()], 1)
    near = pairs(place / smooth[0])
    alike = filtered(np.concatenate([place / colour[0], image.reshape(-1, 3) / colour[1]], 1))
    q = softmax(logs)
    first = alike(q)
    for _ in range(iterations):
        q = softmax(logs + smooth[1] * near(q) + colour[2] * alike(q))
    return first, q


def logits(seed, height, width, classes):
    """Noise, constant on blocks of six pixels, and a pattern of twice that size."""
    y, x = np.mgrid[:height, :width]
    noise = uniform(seed, height // 6 * width // 6 * classes).reshape(-1,
            classes)[(y // 6 * (width // 6) + x // 6).ravel()]
    return 2 * noise + 2 * ((x // 12 + y // 12).reshape(-1, 1) % classes == np.arange(classes))


def whole(image, size, scores, class_of, threshold):
    """Both refinements from scores [phrases, rows, columns] to labels of a photo of `size`."""
    height, width = image.shape[:2]
    phrases = resample(scores, (height, width)) * SCALE
    probability = phrases.log_softmax(0)
    classes = max(class_of) + 1
    logs = torch.stack([probability[[i for i, c in enumerate(class_of) if c == k]].amax(0)
                        for k in range(classes)])
    wins = np.bincount(logs.argmax(0).flatten(), minlength=classes)
    chosen = sorted(sorted(range(classes), key=lambda k: (-wins[k], k))[:min(LIMIT, (wins > 0).sum())])
    logs, names = logs[chosen], np.array(chosen)
    adapted = pamr(image, logs)
    if len(class_of) == classes and threshold == 0:
        # Published code adapts logits and takes the softmax afterwards.
        other = pamr(image, phrases[chosen]).argmax(0)
        assert (other == adapted.argmax(0)).float().mean() > 0.999, "the order matters after all"
    _, q = field(image, logs.flatten(1).T.double().numpy(), lattice)
    out = []
    for planes, bound in ((adapted, np.log(max(threshold, 1e-30))),
                          (torch.from_numpy(q.T.reshape(-1, height, width)).float(), threshold)):
        best, label = resample(planes, size).max(0)
        out.append(np.where(best.numpy() < bound, 0, names[label.numpy()]).astype("u1"))
    return out


WHOLE = [
    # guide, photo size, score rows, columns, width of features, class of each phrase, probability threshold
    (("farm", (260, 180, 620, 440), 45, 60), (45, 60), 3, 4, 12, [0, 1, 1, 2, 3, 3, 3, 4, 5], 0.3),
    (("street", (0, 200, 640, 212), 10, 512), (12, 600), 2, 40, 12, list(range(20)), 0),
]


def main():
    torch.set_num_threads(1)
    with open(HERE / "guided.bin", "wb") as out:
        image = photo("farm", (100, 300, 220, 396), 24, 30)
        planes = torch.from_numpy(uniform(3000, 24 * 30 * 8)).view(24, 30, 8).permute(2, 0, 1)
        out.write(image.tobytes() + pamr(image, planes).permute(1, 2, 0).numpy().astype("<f4").tobytes())
        image = photo("winter", (0, 60, 480, 420), 36, 48)
        out.write(image.tobytes())
        logs = np.log(softmax(logits(3001, 36, 48, 5)))
        for settings in ({}, dict(iterations=5, smooth=(2, 4), colour=(12, 25, 6))):
            (exact, q), (_, close) = (field(image, logs, filtered, **settings)
                                      for filtered in (pairs, lattice))
            print(f"lattice: {(q.argmax(1) == close.argmax(1)).mean():.4f} of the labels, {np.abs(q - close).max(1).mean():.4f} apart")  # noqa: E501
            for part in (exact, q, close):
                out.write(part.astype("<f4").tobytes())
        for index, (cut, size, rows, columns, embed, class_of, threshold) in enumerate(WHOLE):
            z = torch.from_numpy(uniform(3010 + 2 * index, rows * columns * embed)).view(-1, embed)
            t = torch.from_numpy(uniform(3011 + 2 * index, len(class_of) * embed)).view(-1, embed)
            z, t = z / z.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
            scores = (z @ t.T).T.view(len(class_of), rows, columns) * 0.1
            image = photo(*cut)
            labels = whole(image, size, scores, class_of, threshold)
            coarse = np.array(class_of)[resample(scores, size).argmax(0)]
            print(f"case {index}: {[len(np.unique(l)) for l in labels]} classes, {[f'{(coarse != l).mean():.3f}' for l in labels]} "  # noqa: E501
                  f"changed, {[f'{(l == 0).mean():.3f}' for l in labels]} label 0")
            out.write(image.tobytes() + b"".join(l.tobytes() for l in labels))


if __name__ == "__main__":
    with torch.no_grad():
        main()
