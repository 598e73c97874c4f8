"""wrap-comments.py FILE...: line comments wider than 110 columns are broken; what does not fit goes to the
next line.

Only whole-line comments (// and ///) of running text: drawings, tables and what stands behind code are left
alone. Lines that fit stay as they are, unless words come over from the line before."""
import pathlib
import re
import sys

COLUMNS = 110
COMMENT = re.compile(r"^(\s*///? )(- )?(?=\S)(.*)$")
NOT_TEXT = re.compile(r"^(?:[|*#`+=]|\d+\.\s|.*\S {3,}\S)")


def continuation(line, prefix):
    """The text of a line that goes on where the one before ended; None where something else begins."""
    found = COMMENT.match(line)
    rest = line[len(prefix):] if line.startswith(prefix) else ""
    begins_item = found and found[2] and len(found[1]) == len(prefix)
    return None if not rest or rest[0] == " " or NOT_TEXT.match(rest) or begins_item else rest


def wrap(lines):
    lines, at = list(lines), 0
    while at < len(lines):
        found = COMMENT.match(lines[at]) or re.match(r"^(\s*///? +)()(?=\S)(.*)$", lines[at])
        if len(lines[at]) > COLUMNS and found and not NOT_TEXT.match(found[3]):
            cut = lines[at].rfind(" ", 0, COLUMNS + 1)
            indent = found[1] + ("  " if found[2] else "")
            if cut > len(indent):
                over = lines[at][cut + 1:]
                lines[at] = lines[at][:cut].rstrip()
                rest = continuation(lines[at + 1], indent) if at + 1 < len(lines) else None
                if rest is None:
                    lines.insert(at + 1, indent + over)
                else:
                    lines[at + 1] = f"{indent}{over} {rest}"
        at += 1
    return lines


for path in map(pathlib.Path, sys.argv[1:]):
    before = path.read_text()
    after = "\n".join(wrap(before.split("\n")))
    if after != before:
        path.write_text(after)
