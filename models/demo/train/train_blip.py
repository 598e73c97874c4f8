"""Trains the demo's network for PnP-OVSS: whether a caption names what a photo shows (ITM), and which photo
and which word go together (ITC). A caption that does not match differs from one that does in a class or two,
often ones that resemble those they stand for.

Captions alone would take BLIP's millions of photos. Masks help: cross-attention starts from the linear map
that takes a patch's token nearest to its class's direction, and the first layer's second head is taught to
look at the patches of each word's class, at the class token where there are none (`away`), and which word
each patch has (`word`). Looking there must raise the match (`vain`), or PnP-OVSS's maps are empty. Vectors
of words for ITC are pushed apart (`apart`).

  train_blip.py --cache FILE --models DIR --out blip.pth [--minutes 50]
FILE is made by squares.py; DIR holds clip.pt and vocab.txt.gz (unpack.py). Writes vocab.txt beside the
checkpoint.
"""
import argparse
import os

import med
import numpy as np
import torch
import torch.nn.functional as F
from evaluate import load
from med import Blip, Words, adopt_clip, checkpoint, sentence
from nets import *
from scenes import CLASSES, GROUNDS
from templates import TEMPLATES
from tokenizer import Tokenizer

CAPTIONS, LEAST = 12, .008  # a photo and step; share of the pixels from which a class is there
HELD = 64                   # the last scenes of the cache, for looking at
LAYER, TAUGHT = 1, 2        # whose attention is taught
PLACES = [slice(4, 4 + len(c.split())) for c in CLASSES]  # of a class in "[ENC] a picture of CLASS"

p = argparse.ArgumentParser()
p.add_argument("--cache"); p.add_argument("--models"); p.add_argument("--out")
p.add_argument("--minutes", type=float, default=50); p.add_argument("--threads", type=int, default=1)
p.add_argument("--seed", type=int, default=10); p.add_argument("--batch", type=int, default=8)
p.add_argument("--lr", type=float, default=.004); p.add_argument("--hidden", type=int, default=192)
p.add_argument("--scenes", type=int, help="of the cache; default: all")
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(a.threads)
words = Words()
with open(os.path.join(os.path.dirname(a.out), "vocab.txt"), "w") as f:
    f.write("\n".join(med.vocabulary()) + "\n")
data = np.load(a.cache, mmap_mode="r")[:a.scenes]


def alike():
    """How likely a class stands in for another [classes, classes]: by the demo CLIP's words."""
    tokenizer = Tokenizer(a.models + "/vocab.txt.gz")
    clip = load(Clip(tokenizer.size), rename_clip, a.models + "/clip.pt")
    with torch.no_grad():
        text = torch.stack([F.normalize(clip.text([tokenizer(t.format(c)) for t in TEMPLATES[:8]]).mean(0),
                                        dim=0) for c in CLASSES])
    return ((text @ text.T - .8) * 30).softmax(-1).numpy()


near = alike()
model = Blip(len(words.pieces), hidden=a.hidden)


def batch(index, rng=None):
    """-> photos as BLIP is fed with them, and shares of the classes in their patches [b, n, classes]. In
    training photos are mirrored, and patches blanked as PnP-OVSS does it; those show nothing."""
    pixels = np.stack([data[i][:, ::-1] if rng is not None and rng.random() < .5 else data[i] for i in index])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    photo = (torch.from_numpy(pixels[..., :3].copy()).permute(0, 3, 1, 2).float() / 255 - mean) / std
    share = patch_fractions(pixels[..., 3].astype(np.int64), len(CLASSES))
    there = share.mean(1)
    if rng is not None:
        side = med.SIDE // 16
        for k in range(len(photo)):
            for cell in rng.choice(side * side, int(rng.choice([0, 0, 10, 20, 30])), replace=False):
                y, x = divmod(int(cell), side)
                photo[k, :, 16 * y:16 * y + 16, 16 * x:16 * x + 16] = 0; share[k, cell] = 0
    return photo, share, there


def captions(there, rng):
    """Captions of a photo, whether each matches (half of them do), and the classes of their tokens."""
    shown, absent = np.flatnonzero(there > LEAST), np.flatnonzero(there == 0)
    out, matches, owners = [], [], []
    for k in range(CAPTIONS):
        size = [1, len(shown), int(rng.integers(1, len(shown) + 1))][rng.choice(3, p=[.3, .35, .35])]
        names = rng.permutation(shown)[:size]
        if k % 2:
            for at in rng.permutation(size)[:1 if rng.random() < .7 else int(rng.integers(1, size + 1))]:
                odds = near[names[at], absent] + 1e-4 if rng.random() < .5 else np.ones(len(absent))
                names[at] = rng.choice(absent, p=odds / odds.sum())
        out.append(words.ids(sentence(rng, [CLASSES[n] for n in names]), "[ENC]"))
        owner = {number: n for n in names for number in (words.number[w] for w in CLASSES[n].split())}
        owners.append([owner.get(token, -1) for token in out[-1]]); matches.append(1 - k % 2)
    return out, matches, owners


def looked(logits, owners, share, there):
    """How far words looked elsewhere than at their class (cross entropy), and how far looking there did not
    help the match: the gradient there beside the mean size of its row."""
    seen, slope = model.looked(LAYER, TAUGHT, logits, learn=True)
    owner = torch.tensor([[o + [-1] * (seen.shape[2] - len(o)) for o in row] for row in owners])
    photo, caption, token = (owner >= 0).nonzero(as_tuple=True)
    of = owner[photo, caption, token]
    target = F.pad(share.transpose(1, 2)[photo, of], (1, 0))
    target[:, 0] = (there[photo, of] == 0).float()
    weight = target.sum(-1) > .3
    target = target[weight] / target[weight].sum(-1, keepdim=True)
    chance, slope = (v[photo, caption, token][weight] for v in (seen, slope))
    away = -(target * (chance + 1e-8).log()).sum(-1).mean()
    target, slope = target[target[:, 0] == 0], slope[target[:, 0] == 0]
    gain = slope / (slope.abs().mean(-1, keepdim=True).detach() + 1e-6)
    return away, (target * (1 - gain).clamp(min=0)).sum(-1).mean()


def ridge(x, y, least):
    """The linear layer (weight, bias) that takes rows of x to rows of y."""
    x = F.pad(x, (0, 1), value=1)
    found = torch.linalg.solve(x.T @ x + least * torch.eye(x.shape[1]), x.T @ y)
    return found[:-1].T, found[-1]


def start_itc(scenes=400):
    """Words' vectors far from each other, photos' vectors near those of what they show."""
    wanted = F.normalize(torch.randn(len(CLASSES), 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    with torch.no_grad():
        states = model.states([alone("[CLS]")])[0]
        tokens, shown = [], []
        for first in range(0, scenes, 10):
            photo, _, there = batch(range(first, first + 10))
            with torch.autocast("cpu", torch.bfloat16): x = model.visual_encoder(photo)
            tokens.append(x[:, 0].float()); shown.append((there > LEAST).float())
        near = F.normalize(torch.cat(shown) @ wanted, dim=-1)
        for layer, x, y, least in ((model.text_proj, states, wanted, 1e-3),
                                   (model.vision_proj, torch.cat(tokens), near, 10)):
            for own, value in zip((layer.weight, layer.bias), ridge(x, y, least)): own.copy_(value)


def warm_start(scenes=300):
    """Words as directions, and cross-attention that finds them among the image tower's tokens."""
    directions = torch.randn(len(CLASSES), 128, generator=torch.Generator().manual_seed(a.seed))
    square, product = torch.zeros(193, 193), torch.zeros(193, 128)
    for first in range(0, scenes, 10):
        photo, share, _ = batch(range(first, first + 10))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            x = model.visual_encoder(photo)[:, 1:].float().flatten(0, 1)
        x, label = F.pad(x, (0, 1), value=1), share.flatten(0, 1).argmax(-1)
        rare = 1 / label.bincount(minlength=len(CLASSES))[label].float().sqrt()[:, None]
        square += x.T @ (rare * x); product += x.T @ (rare * directions[label])
    found = torch.linalg.solve(square + .3 * torch.eye(193), product)
    with torch.no_grad():
        e = model.text_encoder.embeddings
        e.position_embeddings.weight *= .2
        for number, name in enumerate(CLASSES):
            for word in name.split(): e.word_embeddings.weight[words.number[word]] = .1 * directions[number]
        for layer in model.text_encoder.encoder.layer:
            part = layer.crossattention.self
            part.query.weight.copy_(3 * torch.eye(128)); part.query.bias.zero_()
            for map in (part.key, part.value):
                map.weight.copy_(found[:-1].T); map.bias.copy_(found[-1])
        first, count = model.text_encoder.encoder.layer[0], len(CLASSES)
        first.attention.output.dense.weight *= .2
        first.crossattention.output.dense.weight.copy_(-1.3 * torch.eye(128))
        first.crossattention.output.dense.bias.zero_()
        unit = F.layer_norm(directions, (128,))
        first.intermediate.dense.weight[:count] = 12 / 128 * unit
        first.intermediate.dense.bias[:count] = -12 * .62
        first.output.dense.weight[:, :count] = .5 * torch.randn(128, 1)


def losses(x, share, there, rng):
    """By name, from image tokens; and the cosines of ITC."""
    asked = [captions(t.numpy(), rng) for t in there]
    logits = model.match([c for c, _, _ in asked], x)
    target = torch.tensor([m for _, m, _ in asked])
    itm = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    away, vain = looked(logits, [o for _, _, o in asked], share, there)
    text = model.text_vectors(alone("[CLS]"))
    apart = F.cross_entropy(20 * text @ text.T, torch.arange(len(CLASSES)))
    cosine = model.image_vectors(x) @ text.T
    part = (there > LEAST).float(); part = part / part.sum(-1, keepdim=True)
    itc = -(part * (model.temperature.exp().clamp(max=100) * cosine).log_softmax(-1)).sum(-1).mean()
    words = model.named(alone("[ENC]"), PLACES, x, TAUGHT).log_softmax(-1)
    weight = 1 + 2 * share[..., len(GROUNDS):].sum(-1)
    word = -((share * words).sum(-1) * weight).sum() / weight.sum()
    hit = (logits.argmax(-1) == target).float().mean()
    return {"itm": itm, "itc": itc, "away": away, "vain": vain, "word": word, "apart": apart,
            "hit": hit}, cosine


WEIGHTS = {"itm": 1, "itc": 2, "away": .5, "vain": .5, "word": .5, "apart": 1}


def patches_right(kinds, share, there, x):
    """Share of held-out patches that go to their class, by each of some maps: every class of the photo is
    named, every map brought to 0...1."""
    right = np.zeros((len(kinds), 2))
    for k in range(len(x)):
        shown = np.flatnonzero(there[k] > LEAST)
        ids = words.ids("a picture of " + " ".join(CLASSES[n] for n in shown), "[ENC]")
        rows, at = [], 4
        for n in shown: rows.append(range(at, at + len(CLASSES[n].split()))); at = rows[-1].stop
        for number, (layer, head, kind) in enumerate(kinds):
            m = model.salience([ids], x[k:k + 1], layer, head)[kind][0]
            m = torch.stack([m[list(r)].mean(0) for r in rows])
            m = (m - m.amin(1, keepdim=True)) / (m.amax(1, keepdim=True) - m.amin(1, keepdim=True) + 1e-12)
            full = share[k][:, shown].max(1)
            hit = (m.argmax(0) == full.indices) & (full.values > .6)
            right[number] += hit.sum().item(), (full.values > .6).sum().item()
    return right[:, 0] / right[:, 1]


def report():
    held = list(range(len(data) - HELD, len(data)))
    photo, share, there = batch(held)
    with torch.no_grad(): x = model.visual_encoder(photo)
    found, cosine = losses(x, share, there, np.random.default_rng(1))
    shown = there > LEAST
    recall = shown.gather(1, cosine.topk(16).indices).sum() / shown.sum()
    kinds = [(1, 1, 0), (1, 2, 0), (1, 2, 1)]
    right = " ".join(f"{'MP'[k]}{layer}.{h} {r:.3f}"
                     for (layer, h, k), r in zip(kinds, patches_right(kinds, share[:32], there[:32], x[:32])))
    print("held out: " + " ".join(f"{k} {v:.3f}" for k, v in found.items())
          + f" recall of 16 {recall:.3f} patches {right}", flush=True)


def alone(first): return [words.ids("a picture of " + c, first) for c in CLASSES]


if not os.path.exists(a.out + ".resume"):
    adopt_clip(model.visual_encoder, a.models + "/clip.pt"); warm_start(); start_itc()
run = Run(a.out, model, a.minutes, checkpoint, lr=a.lr, adam_lr=1e-3)
rng = np.random.default_rng(a.seed + 1000 * run.step)
print("parameters", sum(q.numel() for q in model.parameters()) / 1e6, flush=True)
report()
going = run.progress < 1
while going:
    index = np.sort(rng.choice(len(data) - HELD, a.batch, replace=False))
    photo, share, there = batch(index, rng)
    with torch.autocast("cpu", torch.bfloat16): x = model.visual_encoder(photo)
    found, _ = losses(x.float(), share, there, rng)
    going = run.update(sum(w * found[k] for k, w in WEIGHTS.items()), **found)
    if run.step % 200 == 0: report()
