"""The three networks, small, with the published names in the exported checkpoints; data feeding; optimiser;
resuming."""
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from scenes import CLASSES, GROUNDS

HEAD = 64
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAM_MEAN, SAM_STD = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)


class QuickGELU(nn.Module):
    def forward(self, x): return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    def __init__(self, width, relative=0):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), width // HEAD
        if relative:
            self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * relative - 1, HEAD))
                                              for _ in range(2))

    def split(self, x):
        b, n, _d = x.shape
        return self.qkv(x).view(b, n, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)

    def forward(self, x, mask=None, grid=None):
        b, n, d = x.shape
        q, k, v = self.split(x)
        # relative positions as more channels: the query's products with them meet a one of the key's row and
        # column
        if grid is not None:
            h, w = grid
            r = q.reshape(b, self.heads, h, w, HEAD)
            def table(t, s):
                i = torch.arange(s)
                return t[(i[:, None] - i[None]) + (t.shape[0] - 1) // 2].to(q.dtype)
            rh = torch.einsum("bnhwc,hkc->bnhwk", r, table(self.rel_pos_h, h)).flatten(2, 3)
            rw = torch.einsum("bnhwc,wkc->bnhwk", r, table(self.rel_pos_w, w)).flatten(2, 3)
            place = torch.cat([torch.eye(h).repeat_interleave(w, 0), torch.eye(w).repeat(h, 1)],
                              1).to(q.dtype)
            q, k = torch.cat([q * HEAD ** -.5, rh, rw],
                             -1), torch.cat([k, place.expand(b, self.heads, -1, -1)], -1)
            self.last = (q, k, v)
            y = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        else: y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    def __init__(self, width, activation):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), activation()

    def forward(self, x): return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, activation=nn.GELU, eps=1e-6, relative=0, window=0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn, self.mlp, self.window = Attention(width, relative), Mlp(width, activation), window

    def forward(self, x, mask=None):
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))

    def spatial(self, x):
        """x [b, h, w, d]; a window must divide both sides"""
        b, h, w, d = x.shape
        y = self.norm1(x)
        if self.window:
            s = self.window
            y = y.view(b, h // s, s, w // s, s, d).transpose(2, 3).reshape(-1, s * s, d)
            y = self.attn(y, grid=(s, s))
            y = y.view(b, h // s, w // s, s, s, d).transpose(2, 3).reshape(b, h, w, d)
        else: y = self.attn(y.reshape(b, h * w, d), grid=(h, w)).view(b, h, w, d)
        x = x + y
        return x + self.mlp(self.norm2(x))


def resampled(table, grid):
    """[1 + n, d] -> class row, [grid, grid, d], by the +0.1 rule"""
    n = int(math.sqrt(table.shape[0] - 1))
    if n == grid: return table[:1], table[1:].view(n, n, -1)
    t = table[1:].view(1, n, n, -1).permute(0, 3, 1, 2)
    t = F.interpolate(t, scale_factor=((grid + .1) / n,) * 2, mode="bicubic")
    return table[:1], t[0].permute(1, 2, 0)


class Trunk(nn.Module):
    """CLIP's vision tower and DINO's: patches, class token, positions, blocks."""
    def __init__(self, width, depth, grid, activation, eps, bias, window_grid=21):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16, bias=bias)
        self.cls = nn.Parameter(torch.randn(width) * .02)
        self.pos = nn.Parameter(torch.randn(1 + grid * grid, width) * .02)
        self.blocks = nn.ModuleList(Block(width, activation, eps) for _ in range(depth))
        self.window_grid = window_grid

    def tokens(self, photo, rng=None, keep=None):
        x = self.patch(photo).permute(0, 2, 3, 1)
        b, h, w, d = x.shape
        first, table = resampled(self.pos, max(h, w) if rng is None else max(self.window_grid, h, w))
        oy, ox = (0, 0) if rng is None else (int(rng.integers(table.shape[0] - h + 1)),
                                             int(rng.integers(table.shape[1] - w + 1)))
        x = (x + table[oy:oy + h, ox:ox + w]).reshape(b, h * w, d)
        if keep is not None: x = x.gather(1, keep[..., None].expand(-1, -1, d))
        return torch.cat([(self.cls + first[0]).expand(b, 1, d), x], 1)


class Clip(nn.Module):
    def __init__(self, vocabulary, width=192, depth=6, text_width=128, text_depth=3, embed=128, grid=14,
                 context=77):
        super().__init__()
        self.visual = Trunk(width, depth, grid, QuickGELU, 1e-5, False)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed) * width ** -.5)
        self.token = nn.Embedding(vocabulary, text_width); nn.init.normal_(self.token.weight, std=.02)
        self.text_pos = nn.Parameter(torch.randn(context, text_width) * .01)
        self.text_blocks = nn.ModuleList(Block(text_width, QuickGELU, 1e-5) for _ in range(text_depth))
        self.ln_final = nn.LayerNorm(text_width)
        self.text_proj = nn.Parameter(torch.randn(text_width, embed) * text_width ** -.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.)))

    def text(self, ids):
        n = max(map(len, ids))
        padded = torch.tensor([i + [0] * (n - len(i)) for i in ids])
        x = self.token(padded) + self.text_pos[:n]
        mask = torch.full((n, n), -math.inf).triu(1)
        for block in self.text_blocks: x = block(x, mask)
        x = self.ln_final(x)[torch.arange(len(ids)), torch.tensor([len(i) - 1 for i in ids])]
        return F.normalize(x @ self.text_proj, dim=-1)

    def values(self, photo, rng=None, keep=None):
        """last block's values [b, n, d] of the patches, and the class token's embedding"""
        x = self.ln_pre(self.visual.tokens(photo, rng, keep))
        for block in self.visual.blocks[:-1]: x = block(x)
        last = self.visual.blocks[-1]
        q, k, v = last.attn.split(last.norm1(x))
        b, _, n, _ = v.shape
        y = F.scaled_dot_product_attention(q[:, :, :1], k, v).transpose(1, 2).reshape(b, 1, -1)
        c = x[:, :1] + last.attn.proj(y)
        c = c + last.mlp(last.norm2(c))
        return v[:, :, 1:].transpose(1, 2).reshape(b, n - 1,
                                                   -1), F.normalize(self.ln_post(c[:, 0]) @ self.proj, dim=-1)

    def read(self, values):
        """values -> unit vectors, the run time's read-out"""
        return F.normalize(self.ln_post(self.visual.blocks[-1].attn.proj(values)) @ self.proj, dim=-1)


def rename_clip(state):
    out = {}
    for k, v in state.items():
        for a, b in (("visual.patch.", "visual.conv1."), ("visual.cls", "visual.class_embedding"),
                     ("visual.pos", "visual.positional_embedding"),
                     ("visual.blocks.", "visual.transformer.resblocks."),
                     ("text_blocks.", "transformer.resblocks."), ("ln_pre.", "visual.ln_pre."),
                     ("ln_post.", "visual.ln_post."),
                     ("token.", "token_embedding."), ("text_pos", "positional_embedding"),
                     ("text_proj", "text_projection")):
            if k.startswith(a): k = b + k[len(a):]; break
        if k == "proj": k = "visual.proj"
        for a, b in ((".norm1.", ".ln_1."), (".norm2.", ".ln_2."), (".attn.qkv.", ".attn.in_proj_"),
                     (".attn.proj.", ".attn.out_proj."), (".mlp.fc1.", ".mlp.c_fc."),
                     (".mlp.fc2.", ".mlp.c_proj.")):
            k = k.replace(a, b)
        out[k] = v.detach().clone().contiguous()
    return out


class Dino(nn.Module):
    def __init__(self, width=192, depth=6, grid=14):
        super().__init__()
        self.trunk = Trunk(width, depth, grid, nn.GELU, 1e-6, True); self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, photo, rng=None):
        x = self.trunk.tokens(photo, rng)
        for block in self.trunk.blocks: x = block(x)
        return self.norm(x)[:, 1:]


def rename_dino(state):
    out = {}
    for k, v in state.items():
        v = v.detach().clone().contiguous(); k = k.removeprefix("trunk.")
        if k.startswith("patch."): k = "patch_embed.proj." + k[6:]
        if k == "cls": k, v = "cls_token", v.view(1, 1, -1)
        if k == "pos": k, v = "pos_embed", v[None]
        out[k] = v
    return out


# ------------------------------------------------------------------------------------------------ data
class Scenes:
    """Random crops of the cached scenes (several caches: names joined by commas), zoomed by 0.87 to 1.43,
    mirrored, recoloured a little."""
    def __init__(self, path, mean, std, seed, classes=len(CLASSES)):
        self.rng = np.random.default_rng(seed); self.classes = classes
        self.views, self.records = [], []
        for one in path.split(","):
            data = np.load(one, mmap_mode="r")
            for line in open(one + ".jsonl"):
                try: i, record, _captions = json.loads(line)
                except ValueError: continue
                self.views.append(data[i]); self.records.append(record)
        self.count, self.full = len(self.views), self.views[0].shape[0]
        self.scale = (1 / (255 * np.array(std, np.float32))).astype(np.float32)
        self.shift = (np.array(mean) / np.array(std)).astype(np.float32)

    def batch(self, size, side, tries=1):
        """of `tries` crops the one with most object pixels"""
        rng = self.rng; photos, labels, instances, index = [], [], [], []
        for _ in range(size):
            out = side
            if rng.random() < .6: side = min(self.full, int(out * rng.uniform(.7, 1.15)))
            i, y, x = max(((int(rng.integers(self.count)), *rng.integers(self.full - side + 1, size=2))
                           for _ in range(tries)),
                          key=lambda t: (self.views[t[0]][t[1]:t[1] + side:16, t[2]:t[2] + side:16,
                                                          3] >= len(GROUNDS)).mean())
            a = self.views[i][y:y + side, x:x + side]
            if side != out:
                photo = np.asarray(Image.fromarray(np.ascontiguousarray(a[..., :3])).resize((out, out),
                        Image.BILINEAR))
                at = ((np.arange(out) + .5) * side / out).astype(int)
                a = np.concatenate([photo, a[at][:, at, 3:]], -1); side = out
            if rng.random() < .5: a = a[:, ::-1]
            photo = a[..., :3].astype(np.float32) * (1
                                                     + rng.uniform(-.06, .06, 3).astype(np.float32)) + np.float32(rng.uniform(-10, 10))  # noqa: E501
            photos.append((photo.clip(0, 255) * self.scale - self.shift).transpose(2, 0, 1))
            labels.append(a[..., 3]); instances.append(a[..., 4]); index.append(i)
        return torch.from_numpy(np.stack(photos)), np.stack(labels), np.stack(instances), index


def patch_fractions(ids, classes, patch=16):
    """[b, s, s] ids -> [b, n, classes] share of each patch"""
    b, s, _ = ids.shape; g = s // patch
    cell = np.arange(s) // patch
    where = (np.arange(b)[:, None, None] * g * g + cell[None, :, None] * g + cell[None, None])
    count = np.bincount((where * classes + ids).ravel(), minlength=b * g * g * classes)
    return torch.from_numpy(count.reshape(b, g * g, classes).astype(np.float32) / (patch * patch))


# ------------------------------------------------------------------------------------------------ optimiser
def orthogonal(g):
    x = (g / (g.norm() + 1e-7)).bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall: x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return (x.T if tall else x).float()


def busy_patches(share, kept, rng):
    """[b, n, classes] -> indices [b, kept]: patches with drawings first, then ground at random (training
    speed)"""
    drawn = share[..., len(GROUNDS):].sum(-1) > 0
    order = drawn.float() * .75 + torch.from_numpy(rng.random(drawn.shape, dtype=np.float32))
    return order.argsort(1, descending=True)[:, :kept].sort(1).values


class Muon:
    """Momentum orthogonalised per matrix (Jordan et al. 2024) for the blocks' matrices, AdamW for the
    rest."""
    def __init__(self, model, lr=.01, adam_lr=1.5e-3, decay=.02):
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.matrices = [p for n, p in named if p.ndim == 2 and "blocks" in n and "rel_pos" not in n]
        ids = {id(p) for p in self.matrices}
        self.adam = torch.optim.AdamW([p for _, p in named if id(p) not in ids], adam_lr, (.9, .98),
                                      weight_decay=0.)
        self.lr, self.adam_lr, self.decay = lr, adam_lr, decay
        self.momentum = [torch.zeros_like(p) for p in self.matrices]

    def step(self, factor):
        for group in self.adam.param_groups: group["lr"] = self.adam_lr * factor
        self.adam.step()
        with torch.no_grad():
            for p, m in zip(self.matrices, self.momentum):
                if p.grad is None: continue
                m.mul_(.95).add_(p.grad)
                update = p.grad + .95 * m
                pieces = update.chunk(3) if p.shape[0] == 3 * p.shape[1] else [update]
                update = torch.cat([orthogonal(u) for u in pieces])
                p.mul_(1 - self.lr * factor * self.decay).add_(update,
                        alpha=-self.lr * factor * max(1, pieces[0].shape[0] / p.shape[1]) ** .5)
        for p in self.matrices: p.grad = None
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self): return {"adam": self.adam.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, s):
        self.adam.load_state_dict(s["adam"])
        for m, n in zip(self.momentum, s["momentum"]): m.copy_(n)


class Run:
    """Schedule by minutes of training (warm-up, flat, linear to zero), moving average, checkpoints."""
    def __init__(self, path, model, minutes, export, **options):
        self.path, self.model, self.minutes, self.export = path, model, minutes, export
        self.optimiser = Muon(model, **options)
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step, self.spent, self.log, self.saved = 0, 0., {}, time.time()
        if os.path.exists(path + ".resume"):
            s = torch.load(path + ".resume", weights_only=False)
            model.load_state_dict(s["model"])
            self.optimiser.load_state_dict(s["optimiser"])
            self.average = s["average"]; self.step, self.spent = s["step"], s["spent"]
            print("resumed at", self.step, round(self.spent / 60, 1), flush=True)
        self.last = time.time()

    @property
    def progress(self): return self.spent / 60 / self.minutes

    def update(self, loss, **numbers):
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimiser.adam.param_groups for p in g["params"]], 1.)
        p = self.progress
        self.optimiser.step(min(1, (self.step + 1) / 60) * min(1, max(.02, (1 - p) / .6)))
        now = time.time(); self.spent += min(now - self.last, 60); self.last = now; self.step += 1
        beta = min(.99, 1 - 1 / (1 + self.step / 3))
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                if v.is_floating_point(): self.average[k].lerp_(v, 1 - beta)
        for k, v in numbers.items():
            v = float(torch.as_tensor(v).detach()); self.log[k] = .95 * self.log.get(k, v) + .05 * v
        if self.step % 20 == 0:
            print(self.step, f"{self.spent / 60:.1f}min",
                  " ".join(f"{k} {v:.3f}" for k, v in self.log.items()), flush=True)
        if now - self.saved > 120 or p >= 1: self.save()
        return p < 1

    def save(self):
        self.saved = time.time()
        torch.save({"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                    "average": self.average, "step": self.step, "spent": self.spent}, self.path
                   + ".resume.tmp")
        os.replace(self.path + ".resume.tmp", self.path + ".resume")
        torch.save(self.export(self.average), self.path + ".tmp"); os.replace(self.path + ".tmp", self.path)


# ------------------------------------------------------------------------------------------------ SAM
class Norm2d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    # the public Trident code's mask prompt has no batch axis: its norms then run over the rows, per channel
    # and column
    rows = False

    def forward(self, x):
        if self.rows:
            x = x - x.mean(2, keepdim=True)
            return x * (x.square().mean(2, keepdim=True) + 1e-6).rsqrt() * self.weight[:, None,
                    None] + self.bias[:, None, None]
        return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, 1e-6).permute(0, 3,
                1, 2)


class CrossAttention(nn.Module):
    def __init__(self, width, heads, downsample=1):
        super().__init__()
        inner = width // downsample
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = nn.Linear(width, inner), nn.Linear(width,
                inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.heads = heads

    def forward(self, q, k, v):
        q, k, v = (f(x).view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2) for f,
                   x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v)))
        # on a processor the fused kernel's way back is slower
        y = (q * q.shape[-1] ** -.5 @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.out_proj(y.transpose(1, 2).flatten(2))


class TwoWayMlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__(); self.lin1, self.lin2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x): return self.lin2(self.lin1(x).relu())


class TwoWayBlock(nn.Module):
    def __init__(self, width, heads, mlp, first):
        super().__init__()
        self.self_attn = CrossAttention(width, heads)
        self.cross_attn_token_to_image = CrossAttention(width, heads, 2)
        self.cross_attn_image_to_token = CrossAttention(width, heads, 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))
        self.mlp, self.first = TwoWayMlp(width, mlp), first

    def forward(self, queries, keys, qpe, kpe):
        if self.first: queries = self.self_attn(queries, queries, queries)
        else: q = queries + qpe; queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + qpe, keys + kpe, keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(keys + kpe, queries + qpe, queries))
        return queries, keys


class Head(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, out)])

    def forward(self, x):
        for layer in self.layers[:-1]: x = layer(x).relu()
        return self.layers[-1](x)


class Prompt(nn.Module):
    def __init__(self, width, side, mask_channels=16):
        super().__init__()
        self.side = side
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        c = mask_channels
        self.mask_downscaling = nn.Sequential(nn.Conv2d(1, c // 4, 2, 2), Norm2d(c // 4), nn.GELU(),
                                              nn.Conv2d(c // 4, c, 2, 2), Norm2d(c), nn.GELU(),
                                              nn.Conv2d(c, width, 1))
        nn.init.zeros_(self.mask_downscaling[0].bias)
        self.no_mask_embed = nn.Embedding(1, width)

    def norm_over_rows(self, rows): self.mask_downscaling[1].rows = self.mask_downscaling[4].rows = rows

    def encode(self, xy):
        """xy in input pixels"""
        t = 2 * math.pi * ((2 * xy / self.side - 1) @ self.pe_layer.positional_encoding_gaussian_matrix)
        return torch.cat([t.sin(), t.cos()], -1)

    def grid(self, h, w, oy=0, ox=0):
        y, x = torch.meshgrid((torch.arange(h) + oy + .5) * 16, (torch.arange(w) + ox + .5) * 16,
                              indexing="ij")
        return self.encode(torch.stack([x, y], -1))

    def forward(self, points, boxes, masks):
        """points [n, 2], boxes [n, 4] in pixels, masks [n, 1, 4g, 4g]; None where prompts have none. A point without a box is followed by a padding point."""  # noqa: E501
        tokens, n = [], next(len(x) for x in (points, boxes, masks) if x is not None)
        if points is not None:
            tokens.append(self.encode(points[:, None] + .5) + self.point_embeddings[1].weight)
        if boxes is not None:
            tokens.append(self.encode(boxes.view(-1, 2, 2) + .5)
                          + torch.cat([self.point_embeddings[i].weight for i in (2, 3)]))
        elif points is not None: tokens.append(self.not_a_point_embed.weight.expand(n, 1, -1))
        sparse = torch.cat(tokens, 1) if tokens else torch.zeros(n, 0, self.no_mask_embed.weight.shape[1])
        return sparse, self.no_mask_embed.weight.view(1, -1, 1,
                                                      1) if masks is None else self.mask_downscaling(masks)


class Decoder(nn.Module):
    def __init__(self, width, heads=8, depth=2, mlp=256, tokens=4):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(TwoWayBlock(width, heads, mlp, i == 0) for i in range(depth))
        self.transformer.final_attn_token_to_image = CrossAttention(width, heads, 2)
        self.transformer.norm_final_attn = nn.LayerNorm(width)
        self.iou_token, self.mask_tokens = nn.Embedding(1, width), nn.Embedding(tokens, width)
        self.output_upscaling = nn.Sequential(nn.ConvTranspose2d(width, width // 4, 2, 2), Norm2d(width // 4),
                                              nn.GELU(), nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
                                              nn.GELU())
        self.output_hypernetworks_mlps = nn.ModuleList(Head(width, width // 8) for _ in range(tokens))
        self.iou_prediction_head = Head(width, tokens)

    def forward(self, image, pe, sparse, dense):
        """image [n, d, h, w], pe [h, w, d] -> logits [n, 4h, 4w] of token 0, predicted overlap [n]"""
        n, d, h, w = image.shape
        tokens = torch.cat([torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, -1, -1),
                            sparse], 1)
        keys = (image + dense).flatten(2).transpose(1, 2); kpe = pe.reshape(1, h * w, d); q = tokens
        for layer in self.transformer.layers: q, keys = layer(q, keys, tokens, kpe)
        t = self.transformer
        q = t.norm_final_attn(q + t.final_attn_token_to_image(q + tokens, keys + kpe, keys))
        up = self.output_upscaling(keys.transpose(1, 2).reshape(n, d, h, w))
        return torch.einsum("nc,nchw->nhw", self.output_hypernetworks_mlps[0](q[:, 1]),
                            up), self.iou_prediction_head(q[:, 0])[:, 0]


class Sam(nn.Module):
    def __init__(self, width=192, depth=6, side=512, window=8, everywhere=(2, 5), neck=64):
        super().__init__()
        g = side // 16
        self.patch = nn.Conv2d(3, width, 16, 16); self.pos = nn.Parameter(torch.randn(g, g, width) * .02)
        self.blocks = nn.ModuleList(Block(width, nn.GELU, 1e-6, g if i in everywhere else window, 0
                                          if i in everywhere else window) for i in range(depth))
        self.neck = nn.Sequential(nn.Conv2d(width, neck, 1, bias=False), Norm2d(neck),
                                  nn.Conv2d(neck, neck, 3, padding=1, bias=False), Norm2d(neck))
        self.prompt, self.decoder, self.side = Prompt(neck, side), Decoder(neck), side

    def encode(self, photo, oy=0, ox=0):
        x = self.patch(photo).permute(0, 2, 3, 1)
        x = x + self.pos[oy:oy + x.shape[1], ox:ox + x.shape[2]]
        for block in self.blocks: x = block.spatial(x)
        return self.neck(x.permute(0, 3, 1, 2))


def rename_sam(state):
    out = {}
    for k, v in state.items():
        v = v.detach().clone().contiguous()
        if k.startswith("patch."): k = "image_encoder.patch_embed.proj." + k[6:]
        elif k == "pos": k, v = "image_encoder.pos_embed", v[None]
        elif k.startswith("blocks."):
            k = "image_encoder." + k.replace(".fc1.", ".lin1.").replace(".fc2.", ".lin2.")
        elif k.startswith("neck."): k = "image_encoder." + k
        elif k.startswith("prompt."): k = "prompt_encoder." + k[7:]
        elif k.startswith("decoder."): k = "mask_decoder." + k[8:]
        out[k] = v
    return out


def adopt(trunk, path):
    """Starts a trunk (DINO's or SAM's) from the demo CLIP's: patches, positions and as many blocks as there
    are."""
    s = torch.load(path, weights_only=True)
    own = trunk.state_dict()
    conv, pos = s["visual.conv1.weight"], s["visual.positional_embedding"]
    gain = s["visual.ln_pre.weight"].abs().mean() / (s["visual.positional_embedding"].std() ** 2
                                                     + 1.0 * conv.flatten(1).norm(dim=1).mean() ** 2).sqrt().clamp(min=.05)  # noqa: E501
    own["patch.weight"].copy_(conv * gain)
    if "pos" in own and own["pos"].ndim == 2:
        own["pos"].copy_(pos * gain); own["cls"].copy_(s["visual.class_embedding"] * gain)
    for i in range(len(trunk.blocks)):
        for a, b in (("norm1", "ln_1"), ("norm2", "ln_2"), ("attn.proj", "attn.out_proj"),
                     ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
            for leaf in ("weight", "bias"):
                own[f"blocks.{i}.{a}.{leaf}"].copy_(s[f"visual.transformer.resblocks.{i}.{b}.{leaf}"])
        for leaf in ("weight", "bias"):
            own[f"blocks.{i}.attn.qkv.{leaf}"].copy_(s[f"visual.transformer.resblocks.{i}.attn.in_proj_{leaf}"])
