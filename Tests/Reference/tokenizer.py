"""CLIP's byte-pair tokenizer, plainly written, for vocabularies of any size."""

import gzip
import html

import regex
from toys import byte_alphabet

try:
    import ftfy
except ImportError:
    ftfy = None

WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
PUBLISHED_MERGES = 49152 - 256 - 2


def read_vocabulary(path):
    """The merges of a bpe_simple_vocab file: one a line after a version line."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1:1 + PUBLISHED_MERGES]
    return [tuple(line.split()) for line in lines if line.strip()]


class Tokenizer:
    def __init__(self, merges, context=77):
        self.alphabet = byte_alphabet()
        self.rank = {pair: n for n, pair in enumerate(merges)}
        symbols = list(self.alphabet.values())
        symbols += [s + "</w>" for s in symbols] + [a + b for a, b in merges]
        self.ids = {s: n for n, s in enumerate(symbols)}
        self.start = 512 + len(merges)
        self.end = self.start + 1
        self.context = context

    @staticmethod
    def clean(text):
        if ftfy:
            text = ftfy.fix_text(text)
        text = html.unescape(html.unescape(text)).strip()
        return regex.sub(r"\s+", " ", text).strip().lower()

    def pieces(self, word):
        parts = [self.alphabet[b] for b in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            rank, pair = min((self.rank.get(p, 1 << 30), p) for p in zip(parts, parts[1:]))
            if rank == 1 << 30:
                break
            out, n = [], 0
            while n < len(parts):
                if tuple(parts[n:n + 2]) == pair:
                    out.append(parts[n] + parts[n + 1])
                    n += 2
                else:
                    out.append(parts[n])
                    n += 1
            parts = out
        return parts

    def __call__(self, text):
        """Ids from start to end of text, cut to the context; no padding."""
        ids = [self.start]
        for word in WORDS.findall(self.clean(text)):
            ids += [self.ids[p] for p in self.pieces(word)]
        ids.append(self.end)
        if len(ids) > self.context:
            ids = ids[:self.context]
            ids[-1] = self.end
        return ids
