"""check-limits.py [--shrink | --write]: files, functions, parameters and columns stay within the limits of
CONTRIBUTING.md.

What is longer today stands in Scripts/limits.txt, one line each: it may shrink, not grow, and nothing may be
added.
--shrink takes out of that list, or lowers there, what has become shorter; --write makes the list anew."""
import bisect
import pathlib
import re
import subprocess
import sys

LIST = pathlib.Path("Scripts/limits.txt")
COLUMNS, SWIFT_LINES, C_LINES, FUNCTION_LINES, PARAMETERS = 110, 400, 500, 60, 8
# Tables that a program wrote.
GENERATED = {"Sources/Segmentation/Text/UnicodeTables.swift", "Sources/CServe/page.c"}

# What is not code is replaced by spaces: comments, then literals, multi-line ones first. Line breaks stay.
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|#"""(?:.*?)"""#|"""(?:\\.|.)*?"""|#"[^\n]*?"#|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])'",
    re.DOTALL,
)
SWIFT_FUNCTION = re.compile(r"\b(?:func\s+([^\s(<]+)|(init)[?!]?|(subscript))\s*(?=[(<])")
C_FUNCTION = re.compile(r"^[A-Za-z_][^;{}#=]*?\b([A-Za-z_]\w*)\s*\(", re.MULTILINE)


def blanked(text):
    return NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def closing(code, at):
    """Where the bracket that opens at `at` closes; None if it never does."""
    depth = 0
    for place in re.compile(r"[()\[\]{}]").finditer(code, at):
        depth += 1 if place.group() in "([{" else -1
        if depth == 0:
            return place.start()
    return None


def parameters(code):
    """How many colons stand outside all brackets: one a parameter."""
    depth = count = 0
    for character in code:
        depth += (character in "([{") - (character in ")]}")
        count += character == ":" and depth == 0
    return count


# A signature ends at its braces, or, in a protocol, at an empty line, the next declaration or the end.
SIGNATURE_END = re.compile(
    r"[{;]|\n\s*\n|\n\s*(?:\}|(?:@\w+\s+)*(?:package|public|private|static|mutating|func|var|let|init|case)\b)")


def body(code, at):
    """Where the braces begin that follow a signature; None for a declaration without any."""
    found = SIGNATURE_END.search(code, at)
    return found.start() if found and found.group() == "{" else None


def functions(path, code):
    """(name, first line, lines, parameters or None) of every function with a body."""
    starts = [0] + [m.end() for m in re.finditer("\n", code)]
    line = lambda at: bisect.bisect_right(starts, at)
    swift = path.endswith(".swift")
    for match in (SWIFT_FUNCTION if swift else C_FUNCTION).finditer(code):
        name = next(part for part in match.groups() if part)
        opening = code.find("(", match.end() - (0 if swift else 1))
        before = code[max(0, match.start() - 1)]
        if opening < 0 or (swift and before in ".`"):
            continue
        end = closing(code, opening)
        if end is None:
            continue
        if swift:
            start = body(code, end + 1)
            # A call, `self.init(...)` or `.init(...)`, is no declaration.
            if name == "init" and re.search(r"(?:\.|[=(,]\s*|return\s+)$", code[:match.start()]):
                continue
        else:
            after = re.compile(r"\s*\{").match(code, end + 1)
            start = after.end() - 1 if after else None
        if start is None:
            continue
        last = closing(code, start)
        if last is not None:
            count = parameters(code[opening + 1:end]) if swift else None
            yield name, line(match.start()), line(last) - line(match.start()) + 1, count


def violations():
    """{(what, where): (size, limit)}; lines wider than the limit are counted by file."""
    found = {}
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.swift", "*.c", "*.h"],
        check=True, capture_output=True, text=True)
    for path in sorted(listing.stdout.split()):
        if not pathlib.Path(path).is_file() or pathlib.Path(path).is_symlink() or path in GENERATED:
            continue
        text = pathlib.Path(path).read_text()
        lines = text.splitlines()
        limit = SWIFT_LINES if path.endswith(".swift") else C_LINES
        if len(lines) > limit:
            found["lines", path] = (len(lines), limit)
        wide = sum(len(line) > COLUMNS for line in lines)
        if wide:
            found["wide-lines", path] = (wide, 0)
        for name, _, size, count in functions(path, blanked(text)):
            where = f"{path}:{name}"
            pairs = ("function-lines", size, FUNCTION_LINES), ("parameters", count or 0, PARAMETERS)
            for what, value, most in pairs:
                if value > most:
                    found[what, where] = (max(value, found.get((what, where), (0,))[0]), most)
    return found


def read_list():
    entries = {}
    for line in LIST.read_text().splitlines() if LIST.exists() else []:
        if line and not line.startswith("#"):
            what, size, where = line.split(maxsplit=2)
            entries[what, where] = int(size)
    return entries


def write_list(entries):
    rows = [f"{what} {size} {where}" for (what, where), size in sorted(entries.items())]
    LIST.write_text("\n".join([
        "# What is past a limit today (Scripts/check-limits.py): what, how much, where. It only shrinks, by",
        "# `python3 Scripts/check-limits.py --shrink`.", *rows]) + "\n")


found, listed = violations(), read_list()
if "--write" in sys.argv:
    write_list({key: size for key, (size, _) in found.items()})
    sys.exit()
if "--shrink" in sys.argv:
    listed = {key: min(size, found[key][0]) for key, size in listed.items() if key in found}
    write_list(listed)
problems = []
for key, (size, limit) in sorted(found.items()):
    if size > listed.get(key, 0):
        what, where = key
        known = f", {listed[key]} in {LIST}" if key in listed else ""
        problems.append(f"{where}: {what} {size}, limit {limit}{known}")
shrunk = sum(found.get(key, (0,))[0] < size for key, size in listed.items())
if shrunk:
    problems.append(f"{LIST}: {shrunk} entries have shrunk; run python3 Scripts/check-limits.py --shrink")
print(*problems, f"limits: {len(problems)} problems, {len(found)} known exceptions", sep="\n")
sys.exit(1 if problems else 0)
