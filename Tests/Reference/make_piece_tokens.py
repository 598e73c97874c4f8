#!/usr/bin/env python3
"""Toy vocabularies for the SentencePiece and WordPiece tokenizers, and what the public ones make of texts.

    make_piece_tokens.py DIRECTORY [--count 2000] [--seed 1]

Writes trained.model and ties.model (SentencePiece), trained.json and pruned.json (tokenizer.json of the same
kind), vocab.txt and bert.json (WordPiece); and, gzipped, a text and its ids a line for each: trained.tsv.gz,
ties.tsv.gz, pruned.tsv.gz, bert.tsv.gz. canonical.tsv.gz holds cleaned texts. Needs sentencepiece,
tokenizers, protobuf and transformers 4: the BertTokenizer of version 5 is another. Texts hold no character
newer than Python's Unicode tables.

The committed files are those of 2,000 texts. For 20,000 others:

    make_piece_tokens.py /tmp/pieces --count 20000 --seed 7
    TRIDENT_PIECES=/tmp/pieces swift test -c release --filter TextPiece
"""

import argparse
import gzip
import io
import json
import os
import random
import string
import sys
import unicodedata

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as proto

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_tokens import ENTITIES, MOJIBAKE, PLAIN, SPACES, UNICODE, escape
from templates import TEMPLATES

BLOCKS = [
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x250, 0x2FF),
    (0x300, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x531, 0x5F4),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0xE00, 0xE5B),
    (0x1100, 0x11FF),
    (0x1E00, 0x1FFE),
    (0x2000, 0x206F),
    (0x2070, 0x218F),
    (0x2190, 0x27BF),
    (0x3000, 0x30FF),
    (0x4E00, 0x4F00),
    (0xAC00, 0xAD00),
    (0xF900, 0xFAD9),
    (0xFB00, 0xFB4F),
    (0xFE00, 0xFE6F),
    (0xFF00, 0xFFEF),
    (0x1D400, 0x1D4FF),
    (0x1F300, 0x1F6FF),
    (0x20000, 0x20050),
    (0x2F800, 0x2FA1D),
    (0xE000, 0xE010),
    (0x0, 0x1F),
    (0x7F, 0x9F),
    (0x10400, 0x1044F),
    (0xA640, 0xA69F),
]
USER_DEFINED = ["<mark>", "▁▁", "▁▁▁", "▁▁▁▁▁", "\n", "\n\n", "<b>", "<b>x", "naïve"]
PHRASES = [p for p in PLAIN[:60] if p.isascii() and p.islower()]
ALPHABET = "abcdeAÉéß ▁ñΣσς'-.,猫🐱\u0301"


def assigned(code):
    return not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"


def words():
    text = " ".join(PLAIN + UNICODE + [t.format(p) for t, p in zip(TEMPLATES, PHRASES * 8)])
    return sorted({w for w in text.split() if len(w) < 40})


def texts(count, seed):
    """Awkward phrases, then random texts of several kinds."""
    rng = random.Random(seed)
    known = words()
    out = list(dict.fromkeys(PLAIN + UNICODE + MOJIBAKE + ENTITIES + SPACES))[: count // 4]
    letters = string.ascii_letters
    while len(out) < count:
        kind = rng.randrange(9)
        length = rng.choice([1, 2, 3, 5, 8, 13, 21, 34])
        if kind == 0:
            text = " ".join(rng.choice(known) for _ in range(length))
        elif kind == 1:
            text = "".join(rng.choice(ALPHABET) for _ in range(length))
        elif kind == 2:
            lo, hi = rng.choice(BLOCKS)
            codes = [c for c in range(lo, hi + 1) if assigned(c)]
            text = "".join(chr(rng.choice(codes)) for _ in range(length))
        elif kind == 3:
            codes = []
            while len(codes) < length:
                lo, hi = rng.choice(BLOCKS)
                code = rng.randint(lo, hi)
                if assigned(code):
                    codes.append(code)
            text = "".join(map(chr, codes))
        elif kind == 4:
            text = "".join(
                rng.choice(known + [" ", "  ", "   ", "\t", "\n", "\u00a0", "\u3000"]) for _ in range(length)
            )
        elif kind == 5:
            text = "".join(rng.choice("ab") for _ in range(3 * length))
        elif kind == 6:
            text = rng.choice(letters) * rng.choice([50, 99, 100, 101, 150]) + rng.choice(
                ["", " a", "é", "."]
            )
        elif kind == 7:
            base = rng.choice(known)
            text = "".join(c + (chr(rng.randint(0x300, 0x36F)) if rng.random() < 0.5 else "") for c in base)
        else:
            pieces = (
                USER_DEFINED
                + [p.replace("▁", " ") for p in USER_DEFINED]
                + ["x", "<", "b", ">", "cat", "<eos>"]
            )
            text = "".join(rng.choice(pieces) for _ in range(length))
        out.append(text)
    return out


def gemma_like(model):
    """The rules of Gemma's model on a model made here."""
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.precompiled_charsmap = b""
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True


def base_pieces():
    kinds = proto.ModelProto.SentencePiece
    rows = [
        ("<pad>", 0.0, kinds.CONTROL),
        ("<eos>", 0.0, kinds.CONTROL),
        ("<bos>", 0.0, kinds.CONTROL),
        ("<unk>", 0.0, kinds.UNKNOWN),
    ]
    rows += [(piece, 0.0, kinds.USER_DEFINED) for piece in USER_DEFINED]
    return rows + [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]


def write_model(path, rows):
    model = proto.ModelProto()
    gemma_like(model)
    for text, score, kind in rows:
        piece = model.pieces.add()
        piece.piece, piece.score, piece.type = text, score, kind
    with open(path, "wb") as out:
        out.write(model.SerializeToString())


def trained_rows(size=1400):
    """A model that SentencePiece trains: Gemma's layout, scores are ranks."""
    buffer = io.BytesIO()
    lines = [t.format(p) for t in TEMPLATES for p in PHRASES + words()[::7]] + words() + PLAIN + UNICODE
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=buffer,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=0.998,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        minloglevel=2,
        remove_extra_whitespaces=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=USER_DEFINED,
        num_threads=1,
    )
    model = proto.ModelProto.FromString(buffer.getvalue())
    kinds = proto.ModelProto.SentencePiece
    normal = [(p.piece, p.score, p.type) for p in model.pieces if p.type == kinds.NORMAL]
    # Pieces that are canonically equal are different pieces.
    for text in ["\u0301", "e\u0301", "\u00e9", "\u212b", "\u00c5", "\u2126", "\u03a9"]:
        if not any(text == row[0] for row in normal):
            normal.append((text, -float(len(normal)), kinds.NORMAL))
    return base_pieces() + normal


def tied_rows(seed=3):
    """Random pieces over few letters: equal scores, scores that are no ranks, pieces nothing leads to."""
    rng = random.Random(seed)
    kinds = proto.ModelProto.SentencePiece
    letters = "abcdeé▁σ猫"
    normal = {letter: 0.0 for letter in letters if letter != "d"}
    while len(normal) < 400:
        text = "".join(rng.choice(letters[: rng.choice([2, 3, 9])]) for _ in range(rng.randint(2, 6)))
        if text not in USER_DEFINED:
            normal[text] = float(rng.choice([-1, -2, -3, 2, rng.uniform(-9, 9)]))
    return base_pieces() + [(text, score, kinds.NORMAL) for text, score in normal.items()]


def cuts(rows):
    """Merges as transformers makes them from a SentencePiece model: every cut, better pieces first."""
    ids = {text: index for index, (text, _, _) in enumerate(rows)}
    merges = []
    for text, score, _ in rows:
        local = [
            (text[:i], text[i:], score) for i in range(1, len(text)) if text[:i] in ids and text[i:] in ids
        ]
        merges.extend(sorted(local, key=lambda m: (ids[m[0]], ids[m[1]])))
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return [[left, right] for left, right, _ in merges]


def write_bpe_json(path, rows, merges):
    special = {0, 1, 2, 3}
    added = [
        i
        for i, row in enumerate(rows)
        if i in special or row[2] == proto.ModelProto.SentencePiece.USER_DEFINED
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": rows[i][0],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": i in special,
            }
            for i in added
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: i for i, (text, _, _) in enumerate(rows)},
            "merges": merges,
        },
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(tokenizer, out, ensure_ascii=False, separators=(",", ":"))
    return tokenizers.Tokenizer.from_file(path)


def bert_list():
    """Marks where BERT has them, then letters and pieces that the texts use."""
    rng = random.Random(5)
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    rows = [special.get(i, f"[unused{i}]") for i in range(104)]
    plain = set()
    for word in words() + PLAIN + UNICODE:
        word = "".join(
            c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn"
        )
        for part in word.split():
            plain.add(part[:1])
            plain.update("##" + c for c in part[1:])
            for _ in range(3):
                start = rng.randrange(len(part))
                end = rng.randint(start + 1, len(part))
                plain.add(("##" if start else "") + part[start:end])
    plain.update(chr(c) for c in range(0x21, 0x7F) if not chr(c).isupper())
    plain.update("##" + c for c in string.ascii_lowercase + string.digits)
    # Some ideographs that only compatibility forms lead to, and both small sigmas.
    plain.update("豈更車女聾輸頻龎丽𠔜σς")
    plain -= {w for w in plain if not w.strip() or any(c.isspace() for c in w)}
    return rows + sorted(plain - set(rows))


def write_bert_json(path, rows):
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {w: i for i, w in enumerate(rows)}, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(path, pretty=False)


def canonical(text):
    """SigLIP's cleaning, as open_clip and big_vision do it."""
    text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
    return " ".join(text.split()).strip()


def write(directory, name, rows):
    with open(os.path.join(directory, name + ".tsv.gz"), "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
            for text, answer in rows:
                answer = answer if isinstance(answer, str) else " ".join(map(str, answer))
                packed.write((escape(text) + "\t" + answer + "\n").encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    directory = arguments.directory
    os.makedirs(directory, exist_ok=True)
    samples = texts(arguments.count, arguments.seed)

    def path(name):
        return os.path.join(directory, name)

    trained = trained_rows()
    tied = tied_rows()
    for name, rows in (("trained", trained), ("ties", tied)):
        write_model(path(name + ".model"), rows)
        processor = sentencepiece.SentencePieceProcessor(model_file=path(name + ".model"))
        write(directory, name, [(text, processor.encode(text)) for text in samples])

    # The same pieces for the tokenizers library; once whole, once with merges missing, so that these decide.
    merges = cuts(trained)
    whole = write_bpe_json(path("trained.json"), trained, merges)
    pruned = merges[::-1][: len(merges) // 3] + merges[: len(merges) // 2][::3]
    pruned = [m for i, m in enumerate(pruned) if m not in pruned[:i]]
    pruned = write_bpe_json(path("pruned.json"), trained, pruned)
    plain = [
        t for t in samples if not any(p in t or p in t.replace(" ", "▁") for p in USER_DEFINED + ["<eos>"])
    ]
    write(directory, "pruned", [(t, pruned.encode(t, add_special_tokens=False).ids) for t in plain])
    processor = sentencepiece.SentencePieceProcessor(model_file=path("trained.model"))
    differ = sum(whole.encode(t, add_special_tokens=False).ids != processor.encode(t) for t in plain)
    print(f"trained.json and trained.model: {differ} of {len(plain)} texts differ in the public tokenizers")

    from transformers import BertTokenizer

    rows = bert_list()
    with open(path("vocab.txt"), "w", encoding="utf-8", newline="\n") as out:
        out.writelines(row + "\n" for row in rows)
    write_bert_json(path("bert.json"), rows)
    bert = BertTokenizer(path("vocab.txt"))
    marks = list(bert.all_special_tokens)
    free = [t for t in samples if not any(m in t for m in marks)]
    ids = [bert.convert_tokens_to_ids(bert.tokenize(t)) for t in free]
    write(directory, "bert", list(zip(free, ids)))
    print(f"bert: {sum(100 in i for i in ids)} of {len(free)} texts have unknown words")
    write(directory, "canonical", [(text, escape(canonical(text))) for text in samples])
    sizes = sum(os.path.getsize(path(name)) for name in os.listdir(directory))
    print(
        len(samples), "texts,", len(trained), "+", len(tied), "pieces,", len(rows), "words,", sizes, "bytes"
    )


if __name__ == "__main__":
    main()
