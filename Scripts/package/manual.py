"""manual.py VERSION SHARE FOLDER: man pages of a program, and of its subcommands, from the description of its
arguments that it prints itself (--experimental-dump-help, standard input). SHARE is the folder of the demo
model."""
import json
import os
import sys
import time

version, share, folder = sys.argv[1:]
date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))

ENVIRONMENT = """.SH ENVIRONMENT
.TP
.B TRIDENT_MEMORY_LIMIT
Largest private memory, where \\fB\\-\\-memory\\-limit\\fR is not given.
.TP
.B TRIDENT_MODEL
The model file, where \\fB\\-\\-model\\fR is not given.
.TP
.B TRIDENT_MIRROR
Where \\fBtrident pull\\fR finds published files, where \\fB\\-\\-from\\fR is not given.
.TP
.B XDG_DATA_HOME
Where \\fBtrident pull\\fR keeps models (\\fI~/.local/share\\fR).
.TP
.B TRIDENT_CPU
The kernel path to use; \\fBtrident version\\fR lists them.
.TP
.B XDG_CACHE_HOME
Where vectors of words that were encoded before are kept (\\fI~/.cache\\fR)."""

FILES = f""".SH FILES
.TP
.I {share}/demo.gguf
A small model that knows some 70 nouns as drawings, to try the program with.
.TP
.I {share}/classes.txt
Words that the model knows.
.TP
.I {share}/demo.jpg
A scene to segment:
.PP
.nf
  trident segment \\-\\-model {share}/demo.gguf \\e
    \\-\\-classes {share}/classes.txt {share}/demo.jpg \\e
    \\-\\-output labels.png \\-\\-overlay overlay.png
.fi"""


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def prose(text):
    """Paragraphs are filled, indented lines kept, and lines in capitals are headings."""
    lines, literal = [], False
    for line in text.split("\n"):
        indented = line.startswith("  ")
        if indented != literal and line:
            lines.append(".nf" if indented else ".fi")
            literal = indented
        if not line:
            lines.append(".PP")
        elif line.isupper():
            lines.append(".SH " + escape(line))
        else:
            lines.append(escape(line))
    return "\n".join(lines + [".fi"] * literal)


def summary(command):
    text = command["abstract"].rstrip(".")
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def spelling(name):
    return ("--" if name["kind"] == "long" else "-") + name["name"]


def tag(argument):
    value = "\\fI" + escape(argument.get("valueName") or "value") + "\\fR"
    if argument["kind"] == "positional":
        return value + (" ..." if argument["isRepeating"] else "")
    names = ", ".join("\\fB" + escape(spelling(name)) + "\\fR" for name in argument["names"])
    return names + (" " + value if argument["kind"] == "option" else "")


def usage(command, arguments):
    words = [".B " + escape(command)]
    for argument in arguments:
        if argument["kind"] == "positional" or not argument["isOptional"]:
            names = argument.get("names") or []
            word = "\\fB" + escape(spelling(argument["preferredName"])) + "\\fR " if names else ""
            words.append(word + "\\fI" + escape(argument["valueName"]) + "\\fR"
                         + (" ..." if argument["isRepeating"] else ""))
    if any(argument["kind"] != "positional" and argument["isOptional"] for argument in arguments):
        words.insert(1, "[\\fIoption\\fR ...]")
    return "\n".join(words)


def options(arguments):
    lines, section = [], None
    for argument in sorted(arguments, key=lambda a: a["kind"] != "positional"):
        title = argument.get("sectionTitle") or ("Arguments" if argument["kind"] == "positional"
                                                 else "Options")
        if title != section:
            lines.append(".SH " + escape(title.upper()))
            section = title
        lines += [".TP", tag(argument), escape(argument.get("abstract") or "")]
        if argument.get("allValues"):
            lines.append("One of: " + escape(", ".join(argument["allValues"])) + ".")
        if argument.get("defaultValue"):
            lines.append("Default: " + escape(argument["defaultValue"]) + ".")
    return lines


def page(command, parent=None):
    spoken = f"{parent} {command['commandName']}" if parent else command["commandName"]
    name = spoken.replace(" ", "-")
    # What --help leaves to --help-all is shown here; what has no help is for nobody.
    arguments = [a for a in command.get("arguments", []) if (a["shouldDisplay"] or a.get("abstract"))
                 and "help-hidden" not in [name["name"] for name in a.get("names", [])]]
    children = [c for c in command.get("subcommands", []) if c["shouldDisplay"]
                and c["commandName"] != "help"]
    lines = [
        f'.TH {name.upper()} 1 {date} "trident {version}" "User Commands"', ".SH NAME",
        escape(f"{name} - {summary(command)}"), ".SH SYNOPSIS",
        f".B {escape(spoken)}\n\\fIcommand\\fR ..." if children else usage(spoken, arguments)]
    if command.get("discussion"):
        lines += [".SH DESCRIPTION", prose(command["discussion"])]
    if children:
        lines.append(".SH COMMANDS")
        for child in children:
            lines += [".TP", f".BR {escape(name)}\\-{escape(child['commandName'])} (1)",
                      escape(child["abstract"])]
    lines += options(arguments)
    if children:
        lines += [ENVIRONMENT, FILES]
    others = [f"{name}-{c['commandName']}" for c in children] + ["trident-quantize" if name == "trident"
            else "trident"]
    lines += [".SH SEE ALSO", ",\n".join(f".BR {escape(other)} (1)" for other in others)]
    with open(os.path.join(folder, name + ".1"), "w") as out:
        out.write("\n".join(lines) + "\n")
    for child in children:
        page(child, spoken)


page(json.load(sys.stdin)["command"])
