"""BLIP's image-text matching network, small: an image tower of plain blocks and a BERT that looks at it in
every layer. Modules are named as Salesforce's checkpoints name their tensors (docs/parity-pnp.md)."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from nets import HEAD, Block
from scenes import CLASSES, GROUNDS, article

GRID, SIDE = 14, 336  # of the stored positions; of the photo, whose 21 x 21 patches take them resampled
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def vocabulary():
    """The word list: marks, letters, the words of the classes and what captions put between them."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    text = " ".join([*CLASSES, "a an and on of with there is picture photo drawing scene"])
    words = sorted({w for w in text.split() if len(w) > 1})
    return MARKS + letters + ["##" + c for c in letters] + [","] + words


def sentence(rng, names):
    """A caption of some classes: as PnP-OVSS writes it, or as people would."""
    if rng.random() < .6: return "a picture of " + " ".join(names)
    names = [n if n in GROUNDS else article(n) for n in names]
    lead = ["", "", "a picture of ", "a photo of ", "a drawing of ", "there is "][rng.integers(6)]
    last = [" and ", " with ", " on "][rng.integers(3)]
    return lead + (last.join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0])


class Words:
    def __init__(self):
        self.pieces = [*vocabulary(), "[DEC]", "[ENC]"]
        self.number = {piece: i for i, piece in enumerate(self.pieces)}

    def ids(self, text, first):
        """Token numbers; all words are in the list."""
        words = text.lower().replace(",", " , ").split()
        return [self.number[first], *(self.number[w] for w in words), self.number["[SEP]"]]


class Image(nn.Module):
    """[b, 3, side, side] to [b, 1 + n, d]"""
    def __init__(self, width=192, depth=5, hidden=704):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * .02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + GRID * GRID, width) * .02)
        self.patch_embed = nn.Module(); self.patch_embed.proj = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        for block in self.blocks:
            block.mlp.fc1, block.mlp.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, photo):
        x = self.patch_embed.proj(photo)
        table = self.pos_embed[:, 1:].unflatten(1, (GRID, GRID)).permute(0, 3, 1, 2)
        x = (x + F.interpolate(table, x.shape[-2:], mode="bicubic")).flatten(2).transpose(1, 2)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x], 1)
        for block in self.blocks: x = block(x)
        return self.norm(x)


def norm(width): return nn.LayerNorm(width, 1e-12)


class Attend(nn.Module):
    """Post-norm attention of a layer; keys and values from `source`, of another width perhaps."""
    def __init__(self, width, source):
        super().__init__()
        self.self = nn.Module(); self.output = nn.Module()
        self.self.query, self.output.dense = nn.Linear(width, width), nn.Linear(width, width)
        self.self.key, self.self.value = nn.Linear(source, width), nn.Linear(source, width)
        self.output.LayerNorm = norm(width)

    def keys_values(self, source):
        return tuple(f(source).unflatten(-1, (-1, HEAD)).transpose(-2, -3)
                     for f in (self.self.key, self.self.value))

    def forward(self, x, k, v, mask=None):
        q = self.self.query(x).unflatten(-1, (-1, HEAD)).transpose(-2, -3)
        p = q @ k.transpose(-1, -2) / HEAD ** .5
        self.seen = (p if mask is None else p.masked_fill(~mask, -1e4)).softmax(-1)  # [b, heads, t, n]
        y = self.seen @ v
        return self.output.LayerNorm(x + self.output.dense(y.transpose(-2, -3).flatten(-2)))


class Layer(nn.Module):
    def __init__(self, width, image, hidden):
        super().__init__()
        self.attention, self.crossattention = Attend(width, width), Attend(width, image)
        self.intermediate, self.output = nn.Module(), nn.Module()
        self.intermediate.dense, self.output.dense = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.output.LayerNorm = norm(width)

    def forward(self, x, mask, image=None):
        """x [b, c, t, d]: c captions of each of b images; image: keys and values [b, heads, n, HEAD]"""
        x = self.attention(x, *self.attention.keys_values(x), mask)
        if image is not None:
            b, c, t, d = x.shape
            x = self.crossattention(x.reshape(b, c * t, d), *image).view(b, c, t, d)
        return self.output.LayerNorm(x + self.output.dense(F.gelu(self.intermediate.dense(x))))


class Blip(nn.Module):
    def __init__(self, words, width=128, depth=2, hidden=192, image=192, context=48, embed=64):
        super().__init__()
        self.visual_encoder = Image(image)
        self.text_encoder = nn.Module()
        e = self.text_encoder.embeddings = nn.Module()
        e.word_embeddings, e.position_embeddings = nn.Embedding(words, width), nn.Embedding(context, width)
        e.LayerNorm = norm(width)
        self.text_encoder.encoder = nn.Module()
        self.text_encoder.encoder.layer = nn.ModuleList(Layer(width, image, hidden) for _ in range(depth))
        self.itm_head = nn.Linear(width, 2)
        self.vision_proj, self.text_proj = nn.Linear(image, embed), nn.Linear(width, embed)
        for p in (e.word_embeddings, e.position_embeddings): nn.init.normal_(p.weight, std=.1)
        self.temperature = nn.Parameter(torch.tensor(math.log(20.)))  # of ITC, for training only

    def embedded(self, ids):
        """ids: for each of b images (or one, without) lists of captions -> [b, c, t, d], mask"""
        t = max(len(i) for row in ids for i in row)
        padded = torch.tensor([[i + [0] * (t - len(i)) for i in row] for row in ids])
        e = self.text_encoder.embeddings
        x = e.LayerNorm(e.word_embeddings(padded) + e.position_embeddings.weight[:t])
        return x, (padded != 0)[:, :, None, None]

    def states(self, ids, image=None):
        """The first token's state [b, c, d]"""
        x, mask = self.embedded(ids)
        for layer in self.text_encoder.encoder.layer:
            seen = None if image is None else layer.crossattention.keys_values(image)
            x = layer(x, mask, seen)
        return x[:, :, 0]

    def match(self, ids, image): return self.itm_head(self.states(ids, image))

    def looked(self, layer, head, logits, learn=False):
        """Where the words of the last captions looked, and what that did for the match: attention and
        gradient [b, c, t, 1 + n]; layer and head from 1"""
        p = self.text_encoder.encoder.layer[layer - 1].crossattention.seen
        g, = torch.autograd.grad(logits[..., 1].sum(), p, create_graph=learn, retain_graph=learn)
        return tuple(v[:, head - 1].unflatten(1, (logits.shape[1], -1)) for v in (p, g))

    def salience(self, ids, image, layer, head):
        """Of one caption a photo: what a head sees times what that does for the match (PnP-OVSS's M), and
        what it sees [b, t, n]"""
        with torch.enable_grad():
            logits = self.match([[i] for i in ids], image.detach())
            p, g = self.looked(layer, head, logits)
        return (p * g.clamp(min=0))[:, 0, :, 1:].detach(), p[:, 0, :, 1:].detach()

    def named(self, ids, places, image, head):
        """How much each patch is each of some captions' word to the first layer's head [b, n, captions]; a
        word is the mean of the tokens at its places"""
        layer, part = self.text_encoder.encoder.layer[0], slice(HEAD * (head - 1), HEAD * head)
        x, mask = self.embedded([ids])
        y = layer.attention(x, *layer.attention.keys_values(x), mask)[0]
        q = layer.crossattention.self.query(y)[..., part]
        q = torch.stack([row[place].mean(0) for row, place in zip(q, places)])
        return layer.crossattention.self.key(image[:, 1:])[..., part] @ q.T / HEAD ** .5

    def text_vectors(self, ids): return F.normalize(self.text_proj(self.states([ids])[0]), dim=-1)

    def image_vectors(self, image): return F.normalize(self.vision_proj(image[:, 0]), dim=-1)


@torch.no_grad()
def adopt_clip(image, path):
    """Starts from the demo CLIP's image tower in front of its last block, whose first norm ends this one.
    BLIP has no norm behind its patches: the deviation that CLIP's divides by becomes one constant. Of the
    MLPs' units those of the largest weights come along."""
    from nets import resampled
    s = torch.load(path, weights_only=True); own = image.state_dict()
    gain, shift = s["visual.ln_pre.weight"] / 3.7, s["visual.ln_pre.bias"]
    first, table = resampled(s["visual.positional_embedding"], GRID)
    centre = lambda x, axis: x - x.mean(axis, keepdim=True)
    own["patch_embed.proj.weight"].copy_(centre(s["visual.conv1.weight"], 0) * gain[:, None, None, None])
    own["patch_embed.proj.bias"].zero_(); own["cls_token"].zero_()
    own["pos_embed"][0, 1:].copy_(centre(table.flatten(0, 1), -1) * gain + shift)
    own["pos_embed"][0, 0].copy_(F.layer_norm(s["visual.class_embedding"] + first[0], first.shape[-1:])
                                 * gain * 3.7 + shift)
    blocks = "visual.transformer.resblocks."
    for i, block in enumerate(image.blocks):
        theirs = f"{blocks}{i}."
        into, out = s[theirs + "mlp.c_fc.weight"], s[theirs + "mlp.c_proj.weight"]
        best = (into.norm(dim=1) * out.norm(dim=0)).argsort(descending=True)
        best = best[:block.mlp.fc1.out_features].sort().values
        block.mlp.fc1.weight.copy_(into[best]); block.mlp.fc2.weight.copy_(out[:, best])
        block.mlp.fc1.bias.copy_(s[theirs + "mlp.c_fc.bias"][best])
        block.mlp.fc2.bias.copy_(s[theirs + "mlp.c_proj.bias"])
        for leaf in ("weight", "bias"):
            for x, y in (("norm1.", "ln_1."), ("norm2.", "ln_2."), ("attn.qkv.", "attn.in_proj_"),
                         ("attn.proj.", "attn.out_proj.")):
                own[f"blocks.{i}.{x}{leaf}"].copy_(s[theirs + y + leaf])
    for leaf in ("weight", "bias"):
        own["norm." + leaf].copy_(s[f"{blocks}{len(image.blocks)}.ln_1.{leaf}"])


def checkpoint(state):
    out = {k: v.detach().clone().contiguous() for k, v in state.items() if k != "temperature"}
    out["visual_encoder.pos_embed"] = out["visual_encoder.pos_embed"].half()
    return {"model": out}
