#!/usr/bin/env python3
"""embed-page.py [--check]: puts Sources/CServe/page.html into the program, as a string in page.c beside it.

A line of the page is a literal of its own, so that a change of the page is the same change of the file. The
string lies in the read-only part of the program: it takes memory only while somebody asks for it. --check
writes nothing and fails where the file is not what the page makes."""

import pathlib
import sys

PAGE = pathlib.Path("Sources/CServe/page.html")
FILE = pathlib.Path("Sources/CServe/page.c")


def literal(line):
    """The line as C: what is no ASCII as octal, which ends after three digits."""
    out = []
    for byte in line.encode() + b"\n":
        character = chr(byte)
        if character in '"\\':
            out.append("\\" + character)
        elif character == "\n":
            out.append("\\n")
        elif 32 <= byte < 127:
            # No trigraphs.
            out.append("\\?" if character == "?" else character)
        else:
            out.append(f"\\{byte:03o}")
    return '    "' + "".join(out) + '"'


lines = PAGE.read_text().splitlines()
text = "\n".join(
    [
        "// Written by Scripts/embed-page.py from page.html; change that.",
        "// clang-format off",
        '#include "cserve.h"',
        "",
        "static const char page[] =",
        *map(literal, lines[:-1]),
        literal(lines[-1]) + ";",
        "",
        "const char *cserve_page(size_t *count) {",
        "  *count = sizeof page - 1;",
        "  return page;",
        "}",
        "",
    ]
)
if "--check" in sys.argv:
    if not FILE.is_file() or FILE.read_text() != text:
        sys.exit(f"{FILE} is not what {PAGE} makes; run python3 Scripts/embed-page.py")
else:
    FILE.write_text(text)
