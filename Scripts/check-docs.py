"""check-docs.py [FOLDER_OF_PROGRAMS]: documents say what is there.

In every Markdown file: relative links and their headings resolve. In all but records of the past
(CHANGELOG.md, decisions): programs' subcommands and flags exist (asked of the programs themselves, where
their folder is named), so do targets of make, and what looks like a path of the repository is one."""
import glob
import json
import pathlib
import re
import subprocess
import sys

PAST = ("CHANGELOG.md", "docs/decisions/")
# Made by programs, or kept out of the repository.
ELSEWHERE = ("out/", "models/download", "models/trident", "models/radseg", "models/siglip2", "models/blip",
             ".build", ".git")
PROGRAMS = ("trident", "trident-quantize")
ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}

tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True,
                         text=True).stdout.splitlines()
tracked = [path for path in tracked if pathlib.Path(path).exists()]
roots = {path.split("/")[0] for path in tracked if "/" in path}
names = {path.rsplit("/", 1)[-1] for path in tracked}
folders = {str(parent) for path in tracked for parent in pathlib.Path(path).parents}
makefile = pathlib.Path("Makefile").read_text()
targets = {name for line in re.findall(r"^([a-z][\w -]*):", makefile, re.M) for name in line.split()}
problems = []


def flags(command):
    return {("-" if name["kind"] == "short" else "--") + name["name"]
            for argument in command.get("arguments", []) for name in argument.get("names", [])}


def described(folder):
    """{program: {subcommand: flags}}, from what each program says about itself; "" stands for the program."""
    found = {}
    for program in PROGRAMS:
        run = subprocess.run([f"{folder}/{program}", "--experimental-dump-help"], check=True,
                             capture_output=True)
        command = json.loads(run.stdout)["command"]
        found[program] = {"": flags(command) | {"--help", "--help-all", "-h", "--version",
                                                "--generate-completion-script", "--experimental-dump-help"}}
        for inner in command.get("subcommands", []):
            found[program][inner["commandName"]] = flags(inner) | {"--help", "--help-all", "-h"}
    return found


programs = described(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else {}
# Flags of scripts and of other programs, as their sources and the scripts that call them spell them.
spelled = set()
for path in tracked:
    if path.endswith((".py", ".sh", "run", "Makefile", ".swift")) and not pathlib.Path(path).is_symlink():
        spelled |= set(re.findall(r"--[a-z][a-z0-9-]*", pathlib.Path(path).read_text()))


def slug(heading):
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text))


def headings(path):
    text = re.sub(r"^```.*?^```", "", pathlib.Path(path).read_text(), flags=re.M | re.S)
    return {slug(line) for line in re.findall(r"^#+ +(.+)$", text, re.M)}


def code(text):
    """(line number, code) of every fenced or indented block's lines and every span; continued lines are
    one."""
    fenced, held = False, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and not re.match(r"\s*(?:[-*|]|\d+\.) ", line)):
            held += line
            if held.endswith("\\"):
                held = held[:-1] + " "
                continue
            yield number, held, True
            held = ""
        else:
            for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                yield number, span, False


def check_command(where, words):
    """The words behind a program's name: a subcommand, then flags of it."""
    program, rest = pathlib.Path(words[0]).name, words[1:]
    if program not in programs:
        return
    known, allowed = programs[program], programs[program][""]
    if len(known) > 1 and rest and re.fullmatch(r"[a-z]+", rest[0]):
        if rest[0] not in known:
            problems.append(f"{where}: {program} has no '{rest[0]}'")
            return
        allowed = known[rest[0]]
    for word in rest:
        if word in ENDS or word.startswith("#"):
            return
        flag = word.split("=")[0].rstrip(",.;:)")
        if re.fullmatch(r"--?[a-z][a-z0-9-]*", flag) and flag not in allowed:
            problems.append(f"{where}: {' '.join([program, *rest[:1]])} has no {flag}")


def spread(pattern):
    """a/{b,c}/d as a/b/d and a/c/d."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    return [one for part in found[1].split(",")
            for one in spread(pattern[:found.start()] + part + pattern[found.end():])]


def check_path(where, word, document):
    word = re.sub(r":\d+$", "", word.rstrip("/.,;:)"))
    if not re.fullmatch(r"[\w.@+{},*/-]+", word) or word.startswith(ELSEWHERE) or word.startswith("/"):
        return
    if "/" in word and word.split("/")[0] in roots:
        for one in spread(word):
            if not glob.glob(one) and one not in folders:
                problems.append(f"{where}: there is no {one}")
    elif "/" not in word and re.fullmatch(r"[A-Za-z][\w+-]*\.(?:swift|sh|py|c|h|md)",
                                          word) and word not in names:
        problems.append(f"{where}: there is no file {word}")


def check_code(where, text, block, document):
    words = re.findall(r"\"[^\"]*\"|'[^']*'|[^\s()]+", text)
    for at, word in enumerate(words):
        if pathlib.Path(word).name in PROGRAMS and (at == 0 or block) and not word.startswith("-"):
            # In a block only what stands where a command may: first, or behind a separator, a setting or a
            # runner.
            if at == 0 or words[at - 1] in ENDS | {"sudo"} or "=" in words[at - 1]:
                check_command(where, words[at:])
        if word == "make" and at + 1 < len(words) and re.fullmatch(r"[a-z][a-z-]*", words[at + 1]):
            if (at == 0 or words[at - 1] in ENDS or "=" in words[at - 1]) and words[at + 1] not in targets:
                problems.append(f"{where}: make has no target '{words[at + 1]}'")
        if not block or "/" in word:
            check_path(where, word, document)
    if not block and re.match(r"--[a-z]", text):
        flag = re.match(r"--[a-z][a-z0-9-]*", text)[0]
        if flag not in spelled and not any(flag in inner for known in programs.values()
                                           for inner in known.values()):
            problems.append(f"{where}: nothing has the flag {flag}")


for document in sorted(path for path in tracked if path.endswith(".md")):
    text = pathlib.Path(document).read_text()
    for number, line in enumerate(text.split("\n"), 1):
        for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            full = pathlib.Path(document).parent / path if path else pathlib.Path(document)
            if not full.exists():
                problems.append(f"{document}:{number}: the link {target} leads nowhere")
            elif anchor and full.suffix == ".md" and anchor not in headings(full):
                problems.append(f"{document}:{number}: {full} has no heading #{anchor}")
    if not document.startswith(PAST):
        for number, piece, block in code(text):
            check_code(f"{document}:{number}", piece, block, document)
print(*problems, f"documents: {len(problems)} problems"
      + ("" if programs else "; commands not checked, no programs named"),
      sep="\n")
sys.exit(1 if problems else 0)
