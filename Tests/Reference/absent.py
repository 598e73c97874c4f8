"""Classes that are not in the photo: rules that drop them, labels for "none of these", and how sure an answer
is.

Works on the scores of any method. Scores are cosines. `parts` lists the windows of a photo as (y, x, h, w,
scores [Q, rows, cols]); `classes` lists each class's phrases; `keep` is a list of booleans, one a class.
Sources: MaskCLIP's prompt denoising (gate), TagCLIP (relative), SC-CLIP (area), FreeCP, arXiv 2508.00557
(purify), LERF (relevancy). A dropped class gets probability 0, the others keep theirs. Where a rule keeps no
class, all are kept.
"""

import math
from collections import deque
from dataclasses import dataclass

import pipeline
import torch
import torch.nn.functional as F

SHARP = 100.0                                 # CLIP's own logit scale: the rules' thresholds belong to it
NEUTRAL = ("object", "things", "stuff", "texture")
NEGATIVES = ("sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands",
             "desk", "bed", "building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf",
             "curtain", "stair", "floor", "hill", "rail", "fence")


def dropped(probabilities, keep):
    """[C, h, w] with the classes not kept at 0."""
    return probabilities * torch.as_tensor(keep, dtype=probabilities.dtype)[:, None, None]


def some(keep):
    """`keep`, or everything where it keeps nothing."""
    keep = [bool(k) for k in keep]
    return keep if any(keep) else [True] * len(keep)


def phrase_probabilities(scores, scale=SHARP):
    """Softmax over the phrases, the first axis of `scores [Q, ...]`."""
    return (scale * scores).softmax(0)


# ------------------------------------------------------------------ gate, relative, area

def class_maxima(parts, classes, walks=None):
    """`s [C]`: the largest probability of each class over all patches of all windows.

    With `walks`, one n x n matrix a window, probabilities first take one step: each patch's becomes the mean
    of all patches' weighted by its row of attention.
    """
    best = torch.zeros(len(classes))
    for n, (*_, scores) in enumerate(parts):
        p = phrase_probabilities(scores.flatten(1))
        if walks is not None:
            p = p @ (walks[n] / walks[n].sum(1, keepdim=True)).T
        best = torch.maximum(best, pipeline.best_phrase(p, classes).amax(1))
    return best


def keep_by_gate(parts, classes, least=0.5, background=False):
    """Classes whose best patch reaches `least`; with a background, class 0 stays whatever it reaches."""
    keep = (class_maxima(parts, classes) >= least).tolist()
    return [True] + some(keep[1:]) if background else some(keep)


def keep_relative(parts, classes, share=0.5, background=False, walks=None):
    """Classes whose best patch lies above `min + share (max - min)` of all classes' best patches."""
    s = class_maxima(parts, classes, walks)
    s = s[1:] if background else s
    keep = some((s > s.min() + share * (s.max() - s.min())).tolist())
    return [True] + keep if background else keep


def area_shares(probabilities):
    """Of the pixels labelled with classes 1 ..., the share of each; class 0 is given 1."""
    count = torch.bincount(probabilities.argmax(0).flatten(), minlength=len(probabilities)).double()
    count[0] = 0
    shares = count / count.sum().clamp(min=1)
    shares[0] = 1
    return shares


def keep_by_area(probabilities, threshold):
    """Classes with more than `threshold` of the labelled pixels. Class 0 is neither counted nor dropped."""
    count = torch.bincount(probabilities.argmax(0).flatten(), minlength=len(probabilities)).double()
    total = count[1:].sum()
    return [True] + (count[1:] > threshold * total).tolist()


# ------------------------------------------------------------------ purify: FreeCP

class Walk:
    """Mean attention of the blocks it watches: `matrix [n, n]`, class row and column cut off."""

    def __init__(self, m):
        self.m, self.total, self.blocks = m, None, 0

    def __call__(self, block, x):
        """`x [n + 1, d]` enters `block` (counted from one)."""
        c = self.m.clip
        name = f"clip.blocks.{block - 1}"
        qkv = pipeline.linear(self.m, name + ".qkv", pipeline.norm(self.m, name + ".norm1", x, c.epsilon))
        q, k, _ = (pipeline.heads_of(t, c.heads) for t in qkv.chunk(3, 1))
        attention = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1).mean(0)[1:, 1:]
        self.total = attention if self.total is None else self.total + attention
        self.blocks += 1

    @property
    def matrix(self):
        return self.total / self.blocks


def walk_matrix(mean_attention):
    """`A [n, n]` of two steps: columns and rows brought to sum one three times, made symmetric, squared."""
    a = mean_attention
    for _ in range(3):
        a = a / a.sum(0, keepdim=True)
        a = a / a.sum(1, keepdim=True)
    a = (a + a.T) / 2
    return a @ a


def regions_of(mask, diagonal):
    """Connected sets of true cells of a list of rows, as (rows, columns) extents and whether they touch the
    frame."""
    h, w = len(mask), len(mask[0])
    seen = [[False] * w for _ in range(h)]
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0) and (diagonal or 0 in (y, x))]
    for y0 in range(h):
        for x0 in range(w):
            if not mask[y0][x0] or seen[y0][x0]:
                continue
            queue, cells = deque([(y0, x0)]), []
            seen[y0][x0] = True
            while queue:
                y, x = queue.popleft()
                cells.append((y, x))
                for dy, dx in steps:
                    v, u = y + dy, x + dx
                    if 0 <= v < h and 0 <= u < w and mask[v][u] and not seen[v][u]:
                        seen[v][u] = True
                        queue.append((v, u))
            ys, xs = [c[0] for c in cells], [c[1] for c in cells]
            yield min(xs), min(ys), max(xs), max(ys)


def boxes(scores, share=0.4):
    """Boxes (x0, y0, x1, y1), ends left out, of the outlines of a map [rows, cols] of values 0 ... 1.

    Eight-connected regions above `share` of the largest 8-bit value, and the rings around their holes. The
    right and bottom ends stop at cols - 1 and rows - 1. Without a region: one empty box.
    """
    level = (scores * 255).to(torch.uint8)
    rows, cols = level.shape
    mask = (level.int() > int(share * int(level.max()))).tolist()
    found = [(x0, y0, x1 + 1, y1 + 1) for x0, y0, x1, y1 in regions_of(mask, True)]
    outside = [[not v for v in row] for row in mask]
    for x0, y0, x1, y1 in regions_of(outside, False):
        if x0 > 0 and y0 > 0 and x1 < cols - 1 and y1 < rows - 1:
            found.append((x0 - 1, y0 - 1, x1 + 2, y1 + 2))
    return [(x0, y0, min(x1, cols - 1), min(y1, rows - 1)) for x0, y0, x1, y1 in found] or [(0, 0, 0, 0)]


@dataclass
class Purified:
    refined: torch.Tensor                     # r [C', rows, cols]; 0 where the class is not kept
    ratio: torch.Tensor                       # [C']
    kept: list                                # booleans, C' of them
    activation: torch.Tensor                  # r before classes were dropped
    probability: torch.Tensor = None          # p [C', n]
    boxed: torch.Tensor = None                # b u [C', n]: what walks


def class_maps(p, classes, first):
    """[C', n] of the classes from `first` on: the largest of each class's phrases."""
    return pipeline.best_phrase(p, classes)[first:]


def purify(scores, mean_attention, classes, least, background=False):
    """FreeCP's steps 1 to 5 on one window. With `background`, class 0's phrases are rivals and no class.

    - Shapes: `scores [Q, rows, cols]`; `mean_attention [n, n]`.
    """
    grid = scores.shape[1:]
    p = phrase_probabilities(scores.flatten(1))
    u = (p - p.min()) / (p.max() - p.min())
    a = walk_matrix(mean_attention)
    first = 1 if background else 0
    own, maps = class_maps(p, classes, first), class_maps(u, classes, first)
    refined, boxed = torch.zeros_like(maps), torch.zeros_like(maps)
    for c, values in enumerate(maps):
        inside = torch.zeros(grid)
        for x0, y0, x1, y1 in boxes(values.reshape(grid)):
            inside[y0:y1, x0:x1] = 1
        boxed[c] = inside.flatten() * values
        r = a @ boxed[c]
        refined[c] = (r - r.min()) / (r.max() - r.min() + 1e-8)
    ratio = (own * refined).sum(1) / (own.sum(1) + refined.sum(1) + 1e-8)
    kept = (ratio > least).tolist()
    activation = refined.reshape(-1, *grid)
    return Purified(dropped(activation, kept), ratio, kept, activation, own, boxed)


def groups_of(linked):
    """Connected sets of a symmetric boolean matrix, each in the order of a depth-first walk."""
    seen, out = set(), []

    def visit(node, group):
        seen.add(node)
        group.append(node)
        for other in range(len(linked)):
            if linked[node][other] and other not in seen:
                visit(other, group)

    for node in range(len(linked)):
        if node not in seen:
            out.append([])
            visit(node, out[-1])
    return out


def settle(found, least, judge, most=8):
    """FreeCP's step 6: of classes whose activations overlap by `least`, those that win a box of the group
    stay.

    `judge(box, group)` gives the winner's place in `group` for a box in patches (x0, y0, x1, y1). At most
    `most` boxes a group, the largest; None: all of them, as published. Returns a new `Purified`.
    """
    candidates = [c for c, k in enumerate(found.kept) if k]
    if len(candidates) < 2:
        return found
    r = found.refined[candidates].flatten(1)
    overlap = torch.stack([torch.minimum(r, row).sum(1) / torch.maximum(r, row).sum(1) for row in r])
    valid = set()
    for group in groups_of((overlap >= least).tolist()):
        if len(group) == 1:
            valid.update(group)
            continue
        where = boxes(found.refined[[candidates[g] for g in group]].mean(0))
        where.sort(key=lambda b: (b[0] - b[2]) * (b[3] - b[1]))
        for box in where[:most]:
            if box[0] == box[2] or box[1] == box[3]:
                valid.update(group)
            else:
                valid.add(group[judge(box, [candidates[g] for g in group])])
    kept = [c in {candidates[v] for v in valid} for c in range(len(found.kept))]
    return Purified(dropped(found.refined, kept), found.ratio, kept, found.activation)


def class_token(m, image):
    """CLIP's own image vector [e] (unit) of a window [3, h, w], the ordinary last block included."""
    import scclip
    outputs, _ = scclip.block_outputs(m, image)
    c = m.clip
    x = pipeline.block(m, f"clip.blocks.{c.depth - 1}", c, outputs[-1], m.activation)
    x = pipeline.norm(m, "clip.norm_post", x[0], c.epsilon)
    return F.normalize(pipeline.linear(m, "clip.proj", x), dim=0)


def crop_judge(m, window, descriptions, side=112):
    """A judge for `settle`: CLIP looks at the box, cut from `window [3, h, w]`; `descriptions [C', e]`."""
    def judge(box, group):
        x0, y0, x1, y1 = (m.clip.patch * v for v in box)
        crop = pipeline.bilinear(window[:, y0:y1, x0:x1], side, side)
        return int((descriptions[group] @ class_token(m, crop)).argmax())
    return judge


def self_attention_features(m, last):
    """ClearCLIP's unit features [n, e]: the last block's queries against each other, no skip, no MLP.

    `last [n + 1, d]` enters the last block; the class token is among the keys.
    """
    c = m.clip
    name = f"clip.blocks.{c.depth - 1}"
    qkv = pipeline.linear(m, name + ".qkv", pipeline.norm(m, name + ".norm1", last, c.epsilon))
    q, _, v = (pipeline.heads_of(t, c.heads) for t in qkv.chunk(3, 1))
    y = ((q @ q.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(0, 1).flatten(1)
    z = pipeline.linear(m, name + ".out", y)[1:]
    z = pipeline.linear(m, "clip.proj", pipeline.norm(m, "clip.norm_post", z, c.epsilon))
    return F.normalize(z, dim=1)


def keep_by_purity(found):
    """Classes that some window keeps; `found` lists the windows' `Purified`."""
    return some([any(k) for k in zip(*(f.kept for f in found))])


def freecp_scores(parts, height, width, photo_size):
    """FreeCP's step 7: `parts` hold r [C', rows, cols]; scores [C', h, w] at the photo's size."""
    import scclip
    return pipeline.bilinear(scclip.window_average(parts, height, width), *photo_size)


def freecp_labels(scores, background):
    """Arg max; with a background its score is what the best class leaves."""
    if background:
        scores = torch.cat([1 - scores.amax(0, keepdim=True), scores])
    return scores.argmax(0)


# ------------------------------------------------------------------ negatives, "unknown", confidence

def with_negatives(scores, negatives, classes, scale):
    """Class probabilities [C + 1, ...] of a softmax that negative phrases take part in; the last class is
    "unknown".

    `scores [Q, ...]` and `negatives [N, ...]` are cosines.
    """
    p = (scale * torch.cat([scores, negatives])).softmax(0)
    return torch.cat([pipeline.best_phrase(p[:len(scores)], classes), p[len(scores):].amax(0, keepdim=True)])


def relevancy(scores, neutral, sharpness=10.0):
    """LERF: each phrase alone against neutral phrases, `min 1 / (1 + exp(10 (neutral - phrase)))`. 0.5 is the
    edge."""
    return torch.sigmoid(sharpness * (scores - neutral.amax(0, keepdim=True)))


def labels_by_relevancy(scores, neutral, classes, least=0.5):
    """The best class where it beats the neutral phrases, else "unknown" (C)."""
    best, labels = pipeline.best_phrase(relevancy(scores, neutral), classes).max(0)
    labels[best < least] = len(classes)
    return labels


def with_unknown(labels, best, threshold, unknown):
    """`labels` with `unknown` where the best class's probability is below `threshold`."""
    return torch.where(best < threshold, unknown, labels)


@dataclass
class Confidence:
    best: torch.Tensor                        # largest class probability, 0 ... 1
    margin: torch.Tensor                      # best minus second; best where there is one class
    # of the class probabilities brought to sum one, over log C; 0 ... 1
    entropy: torch.Tensor


def confidence(probabilities):
    """Three maps [h, w] from class probabilities [C, h, w]."""
    ordered = probabilities.sort(0, descending=True).values
    margin = ordered[0] - ordered[1] if len(ordered) > 1 else ordered[0]
    q = probabilities / probabilities.sum(0).clamp(min=1e-30)
    entropy = -torch.xlogy(q, q).sum(0) / max(math.log(len(q)), 1e-30)
    return Confidence(ordered[0], margin, entropy.clamp(0, 1))


def grey(values):
    """0 ... 1 as bytes, halves up."""
    return (values.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
