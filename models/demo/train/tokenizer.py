"""CLIP's byte-pair encoder, and the learning of its merges.

  tokenizer.py --captions CACHE.jsonl --words /usr/share/dict/words --merges 1500 --out vocab.txt.gz
writes the layout of bpe_simple_vocab_16e6.txt.gz: a header line, then "a b" per merge.
Vocabulary: 256 bytes, the same 256 ending a word, one entry a merge, <|startoftext|>, <|endoftext|>.
"""
import argparse
import collections
import gzip
import json
import re

PATTERN = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")  # ASCII subset of CLIP's pattern


def byte_symbols():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    symbols = kept + [256 + i for i in range(256 - len(kept))]
    order = kept + [b for b in range(256) if b not in kept]
    return {b: chr(s) for b, s in zip(order, symbols)}


class Tokenizer:
    def __init__(self, path):
        lines = gzip.open(path).read().decode("utf-8").split("\n")[1:]
        merges = [tuple(line.split()) for line in lines if line]
        symbols = list(byte_symbols().values())
        vocabulary = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges]
        self.size = len(vocabulary) + 2
        self.start, self.end = self.size - 2, self.size - 1
        self.index = {}
        for i, v in enumerate(vocabulary): self.index[v] = i
        self.rank = {m: i for i, m in enumerate(merges)}
        self.bytes = byte_symbols(); self.cache = {}

    def word(self, text):
        if text in self.cache: return self.cache[text]
        parts = [self.bytes[b] for b in text.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            best = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, 1 << 30))
            if best not in self.rank: break
            out, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    out.append(parts[i] + parts[i + 1]); i += 2
                else: out.append(parts[i]); i += 1
            parts = out
        self.cache[text] = [self.index[p] for p in parts]
        return self.cache[text]

    def __call__(self, text, context=77):
        ids = [self.start] + [t for w in PATTERN.findall(" ".join(text.lower().split()))
                              for t in self.word(w)]
        return ids[:context - 1] + [self.end]


def learn(counts, merges):
    symbols = byte_symbols()
    words = [[[*(symbols[b] for b in w.encode()[:-1]), symbols[w.encode()[-1]] + "</w>"], n] for w,
             n in sorted(counts.items())]
    where, total = collections.defaultdict(set), collections.Counter()
    for i, (parts, n) in enumerate(words):
        for pair in zip(parts, parts[1:]): total[pair] += n; where[pair].add(i)
    out = []
    for _ in range(merges):
        pair = max(total, key=lambda p: (total[p], p))
        if total[pair] < 2: break
        out.append(pair)
        for i in list(where[pair]):
            parts, n = words[i]
            for p in zip(parts, parts[1:]): total[p] -= n; where[p].discard(i)
            new, k = [], 0
            while k < len(parts):
                if k + 1 < len(parts) and (parts[k], parts[k + 1]) == pair:
                    new.append(parts[k] + parts[k + 1]); k += 2
                else: new.append(parts[k]); k += 1
            words[i][0] = new
            for p in zip(new, new[1:]): total[p] += n; where[p].add(i)
        del total[pair]
    return out


if __name__ == "__main__":
    from scenes import CLASSES, plural
    from templates import TEMPLATES
    a = argparse.ArgumentParser()
    a.add_argument("--captions")
    a.add_argument("--words", default="/usr/share/dict/words")
    a.add_argument("--merges", type=int, default=1500); a.add_argument("--out")
    a = a.parse_args()
    counts = collections.Counter()
    for line in open(a.words, errors="ignore"):
        for w in PATTERN.findall(line.strip().lower()):
            if w.isascii(): counts[w] += 1
    for text in [c for line in open(a.captions) for c in json.loads(line)[2]][:6000] + [t.format(" ")
            for t in TEMPLATES] * 40:
        for w in PATTERN.findall(text.lower()): counts[w] += 1
    for c in CLASSES:
        for w in (c + " " + plural(c)).split(): counts[w] += 600
    merges = learn(counts, a.merges)
    with gzip.GzipFile(a.out, "wb", mtime=0) as f:
        f.write(('"byte-pair merges, trident demo\n' + "\n".join(" ".join(m) for m in merges)
                 + "\n").encode())
    t = Tokenizer(a.out)
    print(len(merges), t.size, [c for c in CLASSES if len(t(c)) > 2 + len(c.split())],
          t("a photo of a soccer ball."))
