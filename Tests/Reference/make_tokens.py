#!/usr/bin/env python3
"""Token ids of a few hundred awkward phrases, as CLIP's own tokenizer gives them.

    make_tokens.py DIRECTORY [--vocab bpe_simple_vocab_16e6.txt.gz]

Writes phrases.tsv and merges.tsv (only the merges these phrases use, with their original ranks). The ids come
from the tokenizer of open_clip_torch, with ftfy, and are checked again with the kept merges alone.
"""

import argparse
import html
import importlib.util
import os
import re
import sys

PLAIN = """
a
cat
kitten
a photo of a cat.
sofa; couch
dining table
potted plant
tv monitor
traffic light
hot dog
teddy bear
wine glass
parking meter
fire hydrant
sports ball
baseball glove
cell phone
hair drier
skyscraper
airplane
crosswalk
bulletin board
chest of drawers
conveyer belt
swimming pool
windowpane
grandstand
countertop
escalator
streetlight
hovel
sconce
person with clothes
people
human
wall-brick
wall-concrete
floor-tile
sky-other
plant-other
clouds
railroad
mountain
sea
a bad photo of a aeroplane.
a photo of many sheep.
a sculpture of a cow.
a rendering of a horse.
a tattoo of a bird.
the origami boat.
itap of my diningtable.
art of the bottle.
a low resolution photo of a motorbike.
a close-up photo of the train.
a jpeg corrupted photo of the bus.
a photo of the hard to see person.
a doodle of the bicycle.
a plushie pottedplant.
a cartoon tvmonitor.
graffiti of a car
electroencephalography
antidisestablishmentarianism
pneumonoultramicroscopicsilicovolcanoconiosis
Schadenfreude
HELLO WORLD
Hello World
hELLO wORLD
iPhone
NASA
McDonald
USB-C
e-mail
T-shirt
X-ray
3D
2d
4k
1
12
123
3.14159
1,000,000
50%
$5
-1
1st
2nd
1920x1080
mp3
h2o
covid-19
a1b2c3
007
!
?
.
,
...
!!!
?!?!
.....
--
---
- -
;
:
:)
:-(
<3
^_^
@user
#hashtag
user@example.com
https://example.com/a?b=c&d=e
C:\\path\\file
/usr/bin
a/b
a\\b
a_b
snake_case_name
__init__
(parenthesis)
[bracket]
{brace}
"quoted"
'single'
''
'
"
`code`
a & b
a&b
a + b = c
c++
c#
~tilde~
*star*
**bold**
|pipe|
<tag>
</s>
<html><body>x</body></html>
100% cotton
rock'n'roll
don't
DON'T
can't
it's
IT'S
we're
they've
I'm
I'll
he'd
o'clock
dogs'
'tis
'twas
y'all'd've
'S
's
't
're
've
'm
'll
'd
x'sy
''s
s's's
<|startoftext|>
<|endoftext|>
a <|endoftext|> b
<|startoftext|>cat<|endoftext|>
<|ENDOFTEXT|>
<start_of_text>
<end_of_text>
a <START_OF_TEXT> b
x<end_of_text>y
<|other|>
the quick brown fox jumps over the lazy dog
The Quick, Brown Fox; Jumps: Over (The) Lazy "Dog"!
""".strip("\n").split("\n")

UNICODE = [
    "café", "cafe\u0301", "naïve", "résumé", "Ångström", "ÅNGSTRÖM", "smörgåsbord", "façade", "piñata",
    "jalapeño",
    "crème brûlée", "CRÈME BRÛLÉE", "über", "ÜBER", "straße", "STRASSE", "STRAßE", "groß", "ẞ", "œuvre",
    "Œuvre",
    "Æsir", "þorn", "Øre", "Ñandú", "İstanbul", "istanbul", "ısı", "Iğdır", "Łódź", "Kraków", "žluťoučký kůň",
    "příliš", "Ștefan", "Đorđe", "Ελλάδα", "ΑΘΗΝΑ", "σίγμας", "ΣΊΓΜΑΣ", "ὈΔΥΣΣΕΎΣ", "Москва", "МОСКВА",
    "ёлка", "Київ",
    "עברית", "שלום עולם", "العربية", "مرحبا بالعالم", "فارسی", "हिन्दी", "नमस्ते दुनिया", "বাংলা", "தமிழ்",
    "ไทย", "สวัสดี",
    "ქართული", "հայերեն", "አማርኛ", "中文", "猫", "一只猫的照片", "日本語", "ねこ", "ネコ", "ﾈｺ",
    "猫の写真です。", "한국어", "고양이", "Tiếng Việt", "ｆｕｌｌ ｗｉｄｔｈ", "ＡＢＣ", "１２３",
    "①②③", "½ cup", "x²", "H₂O", "5 µm", "5 μm", "℃", "100 °C",
    "№ 5", "™ brand", "© 2024", "®", "€5", "£10", "¥100", "₹", "§ 4", "¶", "†", "•", "… dots", "em—dash",
    "en–dash",
    "minus−sign", "hyphen‐ated", "non‑breaking", "soft\u00adhyphen", "a×b", "a÷b", "±1", "≤ ≥ ≠", "∞", "√2",
    "π",
    "→ arrow ←", "★ star ☆", "♥", "♫", "✓", "☃", "☂️", "😀", "🐱 cat", "cat🐱", "🐱🐶", "👍🏽", "👩‍👩‍👧‍👦",
    "🇫🇷", "🏳️‍🌈",
    "1️⃣", "❤️", "🦄 unicorn", "\U0001F9FF", "𝒸𝒶𝓉", "𝐜𝐚𝐭", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈", "𠮷野家",
    "‘single’", "“double”", "it’s", "don’t", "rock ’n’ roll", "„deutsch“", "«français»", "‹a›", "‚low‘",
    "′ ″ prime",
    "ʼn", "ŉ", "ﬁne ﬂower", "oﬃce", "ĳ", "ǆ", "Ǆ", "a\u200bb", "a\u200db", "a\u200cb", "\ufeffbom",
    "b\ufeffom",
    "\u200ertl\u200f", "a\u2028b", "a\u2029b", "a\u0085b", "a\u00a0b", "a\u3000b", "a\u2003b", "\u00a0lead",
    "trail\u00a0",
    "zero\u0000byte", "bell\u0007", "esc\u001b[31mred\u001b[0m", "del\u007f", "a\u000bb", "a\u000cb",
    "a\u001cb",
    "\u0301leading accent", "z\u0335\u0321a\u0337l\u0334g\u0338o", "a\u0308", "A\u030a", "\u212b", "\u2126",
    "\u1e9e",
    "�", "\uf8ff", "\ufdfd", "٣٤٥", "१२३", "Ⅷ", "ⅷ", "㎏", "㈱", "〇", "ー", "々", "「猫」",
    "、。", "！？", "～", "ǅ", "ªº", "ʰ",
]

MOJIBAKE = [
    "cafÃ©", "itâ€™s", "â€œquotedâ€\u009d", "schÃ¶n", "Ã¼ber", "naÃ¯ve", "â€”", "cafÃ\u00a9 au lait", "Â©",
    "Â£10",
    "l’humanitÃ©", "ðŸ˜€", "ÐœÐ¾ÑÐºÐ²Ð°", "voilÃ  le travail",
]

ENTITIES = [
    "&amp;", "a &amp; b", "&amp;amp;", "&amp;amp;amp;", "&lt;b&gt;", "&quot;x&quot;", "&apos;", "&#39;",
    "&#x27;", "&#65;",
    "&#x41;", "&#x1F600;", "&eacute;", "caf&eacute;", "&nbsp;", "a&nbsp;b", "&copy;", "&copy", "&notit;",
    "&notin;",
    "&unknown;", "&", "&;", "&#;", "&#x;", "&#0;", "&#128;", "&#x80;", "&#xD800;", "&#1114112;", "&AMP;",
    "&Eacute;",
    "&lt;3", "rock &amp; roll", "AT&amp;T", "AT&T", "&ampamp;", "&hearts;", "&hellip;", "&mdash;", "&euro;5",
    "&shy;",
]

SPACES = [
    "", " ", "   ", "\t", "\n", " cat", "cat ", "  cat  ", "a  b", "a   b    c", "a\tb", "a\nb", "a\r\nb",
    "a\rb", " \t\n a \t\n ",
    "line one\nline two", "tab\tseparated\tvalues", "a . b", "a .b", "a. b", "cat ,dog", "cat , dog",
    "( cat )",
]

LONG = [
    " ".join(["cat"] * 74), " ".join(["cat"] * 75), " ".join(["cat"] * 76), " ".join(["cat"] * 77),
    " ".join(["cat"] * 200),
    "a" * 80, "ab" * 100, "1" * 75, "1" * 76, "!" * 300, "🐱" * 30, "猫" * 60, "é" * 100,
    "supercalifragilisticexpialidocious " * 12,
    "a very long caption about a small town by the river where old stone houses stand close together, " * 3,
]


def escape(text):
    out = []
    for ch in text:
        code = ord(ch)
        if ch == "\\":
            out.append("\\\\")
        elif ch == "\n":
            out.append("\\n")
        elif ch == "\t":
            out.append("\\t")
        elif ch == "\r":
            out.append("\\r")
        elif code < 32 or 127 <= code < 160 or code in (0xAD, 0x2028, 0x2029,
                                                        0xFEFF) or 0x200B <= code <= 0x200F:
            out.append("\\u{%X}" % code)
        else:
            out.append(ch)
    return "".join(out)


def published_tokenizer():
    """The tokenizer module alone, without the package around it (which needs torchvision)."""
    root = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("published_tokenizer", os.path.join(root, "tokenizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--vocab", help="another copy of bpe_simple_vocab_16e6.txt.gz")
    arguments = parser.parse_args()
    os.makedirs(arguments.directory, exist_ok=True)
    module = published_tokenizer()
    tokenizer = module.SimpleTokenizer(*([arguments.vocab] if arguments.vocab else []))

    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from templates import TEMPLATES
    from toys import PHRASES
    phrases = list(dict.fromkeys(PLAIN + UNICODE + MOJIBAKE + ENTITIES + SPACES + LONG
                                 + [t.format(p) for t, p in zip(TEMPLATES, PHRASES * 8)]))

    used = set()
    ranks = tokenizer.bpe_ranks

    class Recorder(dict):
        def get(self, pair, default=None):
            return ranks.get(pair, default)

        def __contains__(self, pair):
            if pair in ranks:
                used.add(pair)
            return pair in ranks

    # `in` is only asked of the best pair of each round: exactly the merges that are applied.
    tokenizer.bpe_ranks = Recorder()
    rows = []
    for phrase in phrases:
        ids = tokenizer(phrase)[0].tolist()
        end = ids.index(tokenizer.eot_token_id)
        plain = re.sub(r"\s+", " ", html.unescape(html.unescape(phrase)).strip()).strip().lower()
        clean = tokenizer.clean_fn(phrase)
        rows.append((phrase, ids[:end + 1], clean, "" if clean == plain else "ftfy"))

    # The kept merges alone must give the same ids (a pair that never wins never matters).
    tokenizer.cache = {t: t for t in ("<start_of_text>", "<end_of_text>", "<|startoftext|>", "<|endoftext|>")}
    tokenizer.bpe_ranks = {pair: ranks[pair] for pair in used}
    for phrase, ids, *_ in rows:
        again = tokenizer(phrase)[0].tolist()
        assert again[:len(ids)] == ids, phrase

    with open(os.path.join(arguments.directory, "phrases.tsv"), "w", encoding="utf-8", newline="\n") as out:
        out.write("# phrase <TAB> ids, separated by spaces, from start-of-text (49406) to end-of-text "
                  "(49407), cut to context 77; padding left out\n"
                  "# <TAB> the cleaned text (mended, unescaped, spaces collapsed, lower-cased), for finding "
                  "the stage at fault\n"
                  "# <TAB> 'ftfy' where the cleaned text depends on ftfy (it would differ without it), else "
                  "empty\n"
                  "# escapes in both texts: \\\\ \\n \\t \\r and \\u{HEX}; lines that start with '# ' are "
                  "comments\n"
                  "# made by open_clip_torch's SimpleTokenizer, with ftfy\n")
        for phrase, ids, clean, mark in rows:
            first = escape(phrase)
            if first.startswith("#"):
                first = "\\u{23}" + first[1:]
            out.write(first + "\t" + " ".join(map(str, ids)) + "\t" + escape(clean) + "\t" + mark + "\n")
    with open(os.path.join(arguments.directory, "merges.tsv"), "w", encoding="utf-8", newline="\n") as out:
        for pair in sorted(used, key=ranks.get):
            out.write(f"{ranks[pair]}\t{pair[0]}\t{pair[1]}\n")
    print(len(rows), "phrases,", len(used), "merges")


if __name__ == "__main__":
    main()
