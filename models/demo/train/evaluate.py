"""Runs the whole method in Python on labelled scenes and prints mIoU: coarse and refined, for each
correlation variant of the paper's Table 3.

  evaluate.py --data DIR --models DIR [--short-side 448 --window 336 --stride 224] [--limit N] [--refine
  affinity]
DIR of the models holds clip.pt, dino.pth, sam.pth, vocab.txt.gz; DIR of the data holds images/, labels/,
classes.txt (see scenes.py).
"""
import argparse
import glob

import numpy as np
import torch
import torch.nn.functional as F
from nets import *
from PIL import Image
from scipy import ndimage
from templates import TEMPLATES
from tokenizer import Tokenizer

EIGHT = np.ones((3, 3), int)


def load(model, rename, path):
    have = torch.load(path, weights_only=True); state = {}
    for k, v in model.state_dict().items(): state[k] = have[next(iter(rename({k: v})))].view(v.shape).float()
    model.load_state_dict(state); return model.eval()


def depth_of(path, pattern):
    return 1 + max(int(k.split(pattern)[1].split(".")[0]) for k in torch.load(path, weights_only=True)
                   if pattern in k)


def sam_copy(photo, side):
    """-> the photo as SAM sees it, uint8, without the padding"""
    h, w = photo.shape[:2]
    im = Image.fromarray(photo)
    up = lambda v: -(-v // 16) * 16
    if h % 16 or w % 16: im = im.resize((up(w), up(h)), Image.BILINEAR, reducing_gap=None)
    k = side / max(im.size); nw, nh = int(im.width * k + .5), int(im.height * k + .5)
    return np.asarray(im.resize((nw, nh), Image.BILINEAR))


def bilinear(x, h, w): return F.interpolate(x, (h, w), mode="bilinear", align_corners=False)


class Trident:
    def __init__(self, directory, rows=True, side=None):
        """side: of SAM's square, where SAM is not trained yet"""
        d = directory
        self.tokenizer = Tokenizer(f"{d}/vocab.txt.gz")
        self.clip = load(Clip(self.tokenizer.size), rename_clip, f"{d}/clip.pt")
        self.dino = load(Dino(depth=depth_of(f"{d}/dino.pth", "blocks.")), rename_dino, f"{d}/dino.pth")
        if side: self.side = side; return
        pos = torch.load(f"{d}/sam.pth", weights_only=True)["image_encoder.pos_embed"]
        self.side = pos.shape[1] * 16
        self.sam = load(Sam(side=self.side), rename_sam, f"{d}/sam.pth"); self.sam.prompt.norm_over_rows(rows)

    def text(self, phrases):
        out = []
        for phrase in phrases:
            t = self.clip.text([self.tokenizer(t.format(phrase)) for t in TEMPLATES]).mean(0)
            out.append(F.normalize(t, dim=0))
        return torch.stack(out)

    def coarse_features(self, photo, o):
        """photo uint8 [h, w, 3] -> out-projected values [d, gh, gw] on the whole photo's patch grid"""
        h, w = photo.shape[:2]; k = o.short_side / min(h, w)
        nh, nw = int(h * k + .5), int(w * k + .5)
        x = bilinear(torch.from_numpy(photo).permute(2, 0, 1)[None].float(), nh, nw).round().clamp(0,
                255) / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        x = (x - mean) / std
        if nh % 16 or nw % 16:
            up = lambda v: -(-int(v) // 16) * 16
            ratio = up(max(nh, nw)) / max(nh, nw)
            size = (up(nh), up(int(nw * ratio))) if nh >= nw else (up(int(nh * ratio)), up(nw))
            x = bilinear(x, max(size[0], o.window), max(size[1], o.window))
        H, W = x.shape[2:]; S, n = o.stride, o.window
        boxes = []
        for r in range(max(H - n + S - 1, 0) // S + 1):
            for c in range(max(W - n + S - 1, 0) // S + 1):
                boxes.append((min(r * S, H - n), min(c * S, W - n)))
        crops = torch.cat([x[:, :, y:y + n, z:z + n] for y, z in boxes])
        dm, ds = (torch.tensor(v).view(1, 3, 1, 1) for v in (DINO_MEAN, DINO_STD))
        values, _ = self.clip.values(crops)
        f = F.normalize(self.dino((crops * std + mean - dm) / ds), dim=-1)
        s = f @ f.transpose(1, 2)
        proxy = (s - 1.2 * s.mean()) * 3
        proxy = proxy.masked_fill(proxy < 0, -math.inf)
        blank = (proxy == -math.inf).all(-1)
        if o.no_dino: proxy = torch.eye(s.shape[1]).log().expand_as(s)
        elif blank.any(): proxy[blank] = torch.eye(s.shape[1], dtype=s.dtype).log().expand_as(s)[blank]
        y = self.clip.visual.blocks[-1].attn.proj(proxy.softmax(-1) @ values)
        g = n // 16
        total, count = torch.zeros(y.shape[-1], H // 16, W // 16), torch.zeros(1, H // 16, W // 16)
        for (a, b), v in zip(boxes, y):
            total[:, a // 16:a // 16 + g, b // 16:b // 16 + g] += v.T.reshape(-1, g, g)
            count[:, a // 16:a // 16 + g, b // 16:b // 16 + g] += 1
        return total / count

    def sam_image(self, photo):
        a = sam_copy(photo, self.side); nh, nw = a.shape[:2]
        a = ((a.astype(np.float32) / 255 - np.array(SAM_MEAN, np.float32)) / np.array(SAM_STD,
                np.float32)).transpose(2, 0, 1)
        x = torch.zeros(1, 3, self.side, self.side); x[0, :, :nh, :nw] = torch.from_numpy(a)
        e = self.sam.encode(x)
        q, k, v = self.sam.blocks[-1].attn.last
        return e, (q @ k.transpose(-1, -2))[0].softmax(-1), v[0], (nh, nw)

    def aggregate(self, g, attention, values, size, kind, o):
        """g [n, d] on the valid grid"""
        if kind == "none": return g
        side = self.side // 16; vh, vw = size[0] // 16, size[1] // 16
        keep = (torch.arange(side)[:, None].lt(vh) & torch.arange(side)[None].lt(vw)).flatten().nonzero()[:,
                0]
        a = attention[:, keep][:, :, keep]; v = F.normalize(values[:, keep], dim=-1)
        c = v @ v.transpose(1, 2)
        t = (o.cos_factor * c.mean((0, 2))).clamp(max=.9)
        if kind == "cosine": m = c.mean(0); m = m.masked_fill(m < t[:, None], -math.inf).softmax(-1)
        elif kind == "attention": m = a.mean(0)
        else: m = torch.where(c > t[None, :, None], a, torch.zeros(())).mean(0)
        total = m.sum(-1, keepdim=True)
        m = torch.where(total > 1e-12, m / total.clamp(min=1e-12), torch.eye(len(m)))
        return m @ g

    def probabilities(self, g, grid, text, h, w):
        z = F.normalize(self.clip.ln_post(g) @ self.clip.proj, dim=-1)
        l = (z @ text.T).T.reshape(1, -1, *grid)
        return (40 * bilinear(l, h, w)).softmax(1)[0]

    def refine(self, probability, label, e, size, o):
        """-> label; section 9 of the pipeline: point, box and mask prompts from the coarse regions"""
        C, H, W = probability.shape; h, w = H // 2, W // 2
        p = bilinear(probability[None], h, w)[0]
        small = label[(np.arange(h) * H / h).astype(int)][:, (np.arange(w) * W / w).astype(int)]
        pn = p.numpy(); certain = pn.max(0) >= o.coarse_threshold
        q = self.side // 4; sy, sx = size[0] / h, size[1] / w
        k = q / max(h, w); mh, mw = int(h * k + .5), int(w * k + .5)
        points, boxes, masks, owner, regions = [], [], [], [], []
        for c in range(C):
            if pn[c].max() < o.coarse_threshold: continue
            parts, n = ndimage.label((small == c) & certain, EIGHT)
            if n == 0: continue
            mask = None
            for j, where in enumerate(ndimage.find_objects(parts), 1):
                region = parts == j
                if region.sum() < 225: continue
                if mask is None:
                    mask = torch.zeros(1, q, q); mask[0, :mh, :mw] = bilinear(p[None, c:c + 1], mh, mw)[0, 0]
                    mask = torch.where(mask > o.coarse_threshold, mask * .005, torch.zeros(()))
                y, x = divmod(int(np.argmax(np.where(region, pn[c], -1))), w)
                points.append((x * sx, y * sy))
                boxes.append((where[1].start * sx, where[0].start * sy, (where[1].stop - 1) * sx,
                              (where[0].stop - 1) * sy))
                masks.append(mask); owner.append(c); regions.append(region)
        if not points: return label, []
        sparse, dense = self.sam.prompt(torch.tensor(points), torch.tensor(boxes), torch.stack(masks))
        g = self.side // 16
        logits, iou = self.sam.decoder(e.expand(len(points), -1, -1, -1), self.sam.prompt.grid(g, g), sparse,
                                       dense)
        logits = bilinear(logits[:, None], self.side, self.side)[:, :, :size[0], :size[1]]
        logits = bilinear(logits, h, w)[:, 0]
        score, failed = np.zeros_like(pn), np.zeros((h, w), bool)
        fallback = np.zeros_like(pn)
        for i, c in enumerate(owner):
            if iou[i] <= o.iou_threshold: fallback[c][regions[i]] = pn[c][regions[i]]; continue
            m = logits[i].numpy()
            score[c] = np.maximum(score[c], np.where(m > 0, pn[c] / (1 + np.exp(-m)), 0))
        if (iou > o.iou_threshold).sum() == 0: return label, iou.tolist()
        refined = np.where(score.max(0) > 0, score.argmax(0), small)
        failed = fallback.max(0) > score.max(0)
        refined = np.where(failed, small, refined)
        return np.asarray(Image.fromarray(refined.astype(np.uint8)).resize((W, H),
                Image.NEAREST)), iou.tolist()


def miou(m):
    union = m.sum(0) + m.sum(1) - np.diag(m)
    return 100 * (np.diag(m) / np.maximum(union, 1))[m.sum(1) > 0].mean()


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--data")
    p.add_argument("--models")
    p.add_argument("--limit", type=int, default=0); p.add_argument("--threads", type=int, default=1)
    p.add_argument("--short-side", type=int, default=448)
    p.add_argument("--window", type=int, default=336); p.add_argument("--stride", type=int, default=224)
    p.add_argument("--cos-factor", type=float, default=1.2)
    p.add_argument("--coarse-threshold", type=float, default=.05)
    p.add_argument("--iou-threshold", type=float, default=.8)
    p.add_argument("--variants", default="none,cosine,attention,affinity")
    p.add_argument("--refine", default="none,affinity")
    p.add_argument("--channel-norm", action="store_true",
                   help="the mask prompt's norms over channels, as in segment-anything")
    p.add_argument("--no-dino", action="store_true")
    p.add_argument("--save"); p.add_argument("--verbose", action="store_true")
    o = p.parse_args(); torch.set_num_threads(o.threads)
    classes = open(f"{o.data}/classes.txt").read().split("\n")[:-1]
    n = len(classes); confusion = {}
    with torch.no_grad():
        model = Trident(o.models, not o.channel_norm); text = model.text(classes)
        files = sorted(glob.glob(f"{o.data}/images/*.png"))[:o.limit or None]; ious = []; predicted = []
        for number, path in enumerate(files):
            photo = np.asarray(Image.open(path).convert("RGB"))
            truth = np.asarray(Image.open(path.replace("/images/", "/labels/"))).astype(int)
            h, w = truth.shape
            g = model.coarse_features(photo, o)
            e, attention, values, size = model.sam_image(photo)
            vh, vw = size[0] // 16, size[1] // 16
            g = bilinear(g[None], vh, vw)[0].flatten(1).T
            for kind in o.variants.split(","):
                probability = model.probabilities(model.aggregate(g, attention, values, size, kind, o),
                                                  (vh, vw), text, h, w)
                label = probability.argmax(0).numpy()
                results = {kind: label}
                if kind in o.refine.split(","):
                    results[kind + "+refined"], quality = model.refine(probability, label, e, size, o)
                    predicted += quality
                for name, result in results.items():
                    m = confusion.setdefault(name, np.zeros((n, n), np.int64))
                    m += np.bincount((truth * n + result).ravel(), minlength=n * n).reshape(n, n)
                    if o.save:
                        os.makedirs(o.save, exist_ok=True)
                        Image.fromarray(result.astype(np.uint8)).save(f"{o.save}/{os.path.basename(path)[:-4]}.{name}.png")
            if number % 50 == 49:
                print(number + 1, {k: round(miou(m), 1) for k, m in confusion.items()}, flush=True)
    for k, m in confusion.items():
        print(f"{k:20s} mIoU {miou(m):.2f}  pixel accuracy {100 * np.diag(m).sum() / m.sum():.2f}")
    if predicted:
        print("predicted overlap above threshold:",
              round(float(np.mean(np.array(predicted) > o.iou_threshold)), 3), "of", len(predicted),
              "regions")
    if o.verbose:
        m = confusion[list(confusion)[-1]]
        each = np.diag(m) / np.maximum(m.sum(0) + m.sum(1) - np.diag(m), 1)
        for i in np.argsort(each)[:24]:
            j = np.argsort(-(m[i] * (np.arange(n) != i)))[:3]
            print(f"{classes[i]:12s} {100 * each[i]:.1f}  missed as",
                  [(classes[k], int(100 * m[i, k] / max(1, m[i].sum()))) for k in j])
