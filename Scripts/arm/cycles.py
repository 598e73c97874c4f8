#!/usr/bin/env python3
"""Cycles of the innermost loops in a folder of ARM objects: llvm-mca's, and a Cortex-A53's by issue rules.

llvm-mca knows the pipes of the A53, A55 and Neoverse N1 (a Cortex-A76 for servers); for the A72 it takes
those of the A57, its close relative, and for the A76 too, so the N1 stands for that one. Caches always hit.
Its A53 lets 128-bit loads pass beside arithmetic and makes short operations wait for long ones, and neither
is so: hence the rules below.
"""
import re
import subprocess
import sys

CORES = ["cortex-a53", "cortex-a55", "cortex-a72", "neoverse-n1"]
GIGAHERTZ = {"A53 rules": (1.0, 1.2, 1.4), "cortex-a72": (1.5, 1.8), "neoverse-n1": (2.4,)}
# Object, function, an instruction of the loop and one that it lacks, what one pass does, how often, and how
# many thousand millions of it a 448 x 448 photo with B/16 models takes: 836 G multiply-accumulates, 664 of
# them with stored weights, 7.08 M a token and block; the others two times 64 a logit.
BLOCKS, LOGITS = 664 / 7.08e6, 172 / 128
LOOPS = [
    ("neon", "ck_gemm_s8_4x16k8__neon", "smull", "", "MAC", 256, 836),
    ("neon", "ck_gemm_s8_2x16k8__neon", "smull", "", "MAC", 256, 0),
    ("neon", "ck_gemm_s8_1x16k8__neon", "smull", "", "MAC", 128, 0),
    ("neon_dotprod", "ck_gemm_s8_4x16k4__neon_dotprod", "sdot", "", "MAC", 1024, 836),
    ("neon_i8mm", "ck_gemm_s8_8x16k8__neon_i8mm", "smmla", "", "MAC", 512, 0),
    ("rows", "softmax_weights", "fmax", "shl", "logits", 32, LOGITS),
    ("rows", "softmax_weights", "shl", "frintn", "weights", 64, LOGITS),
    ("rows", "gelu", "fmla", "", "GELU", 64, 3072 * BLOCKS),
    ("rows", "finish", "scvtf", "", "sums to floats", 16, LOGITS + 6912 * BLOCKS),
    ("rows", "quantize_rows", "fmax", "fcvtns", "maxima", 32, 7680 * BLOCKS),
    ("rows", "quantize_rows", "fcvtns", "", "bytes", 16, 7680 * BLOCKS),
    ("rows", "norm_rows", "fsub", "fmul", "squares", 32, 2 * 1536 * BLOCKS),
    ("rows", "norm_rows", "fmul", "fadd", "norms", 16, 1536 * BLOCKS),
]


def loops(path):
    """Innermost loops as (function, instructions)."""
    text = subprocess.run(["llvm-objdump-19", "-d", "--no-show-raw-insn", path], capture_output=True,
                          text=True,
                          check=True).stdout
    function, lines, at = "", [], {}
    for line in text.split("\n"):
        if start := re.match(r"[0-9a-f]+ <(.*)>:", line):
            function, lines, at = start[1], [], {}
        elif instruction := re.match(r"\s*([0-9a-f]+):\s+(.*)", line):
            at[instruction[1]] = len(lines)
            lines.append(instruction[2].replace("\t", " "))
            back = re.match(r"(b\.|cbn?z).*0x([0-9a-f]+) <", lines[-1])
            if back and back[2] in at:
                body = lines[at[back[2]]:-1]
                if not any(re.match(r"(bl?r?|b\..*|[ct]bn?z|ret)( |$)", other) for other in body):
                    yield function, body + ["b.ne #0"]


def mca(core, body):
    """Cycles a pass, and the pipe that is busiest."""
    command = ["llvm-mca-19", "-mtriple=aarch64", "-mcpu=" + core, "-mattr=+dotprod,+i8mm", "-iterations=200"]
    text = subprocess.run(command, input="\n".join(body), capture_output=True, text=True, check=True).stdout
    cycles = int(re.search(r"Total Cycles: +(\d+)", text)[1]) / 200
    names = re.findall(r"^\[[\d.]+\] +- (\w+)", text, re.M)
    pressure = re.search(r"per iteration:\n.*\n(.*)", text)[1].split()
    busy = sorted((float(p) if p != "-" else 0, name) for p, name in zip(pressure, names))[-1]
    return cycles, f"{busy[1]} {busy[0]:.0f}"


def rule(text):
    """(sources, targets, latency, lanes, cycles, memory): NEON's data path is two lanes of 64 bits."""
    name, _, rest = text.partition(" ")
    operands = [o.strip() for o in re.split(r",(?![^\[{]*[\]}])", rest)]
    registers = [[("v" if kind in "vqdsh" else "x") + n for kind, n in re.findall(r"\b([vqdshxw])(\d+)\b", o)]
                 for o in operands]
    target, sources = registers[0], sum(registers[1:], [])
    memory = re.search(r"\[(x|sp)", rest)
    if memory and name.startswith(("st", "prfm")):
        vector = name != "prfm" and target[0][0] == "v"
        return sources + target, [], 0, 2 if vector else 0, 2 if name == "stp" and vector else 1, True
    if memory:
        targets = target + (registers[1] if name == "ldp" else [])
        if target[0][0] == "x":
            return sources, targets, 3, 0, 1, True
        size = operands[0][0] if name != "ld1r" else "d"
        cycles = (2 if size == "q" else 1) * (2 if name == "ldp" else 1)
        return sources, targets, 4, 1 if cycles == 1 and name != "ld1r" else 2, cycles, True
    if name.startswith("b."):
        return ["flags"], [], 0, 0, 1, False
    if name in ("cmp", "subs"):
        return sources + target, ["flags"] + target * (name == "subs"), 1, 0, 1, False
    if target and target[0][0] == "x":
        return sources + ["flags"] * (name == "csel"), target, 1, 0, 1, False
    half = re.search(r"^v\d+\.(2s|8b|4h)|^v\d+\.d\[", operands[0])
    if name in ("fmla", "smlal", "smlal2", "sadalp", "sdot", "smmla", "bsl", "sli") or (name == "mov"
            and half):
        sources = sources + target
    latency = 8 if name == "fmla" else 2 if name in ("mov", "ins") else 3 if name == "dup" else 4
    return sources, target, latency, 1 if half else 2, 4 if name == "tbl" else 1, False


def a53(body, passes=40):
    """Two instructions a cycle, in order, if the two lanes suffice, one at most goes to memory and integer
    work comes second. As others measured on boards: Tencent/ncnn
    docs/developer-guide/arm-a53-a55-dual-issue.md and the benchmarks of daniestevez/qsdr. That a `dup` of 64
    bits pairs with a load as their `fadd` does is assumed.
    """
    program = [rule(text) for text in body]
    ready, now, begin = {}, 0, {}
    waits = lambda r: max([ready.get(s, 0) for s in r[0]] + [now])
    first = None  # what was issued in this cycle
    for i in range(passes * len(program)):
        one = program[i % len(program)]
        joins = (first is not None and first[4] == one[4] == 1 and waits(one) == now and first[3]
                 + one[3] <= 2
                 and not (first[5] and one[5]) and not (first[3] == 0 and one[3] == 2))
        if not joins:
            now += first[4] if first else 0
            now = waits(one)
        begin.setdefault(i // len(program), now)
        for register in one[1]:
            ready[register] = now + one[2] + one[4] - 1
        first = None if joins else one
        now += joins
    return (begin[passes - 1] - begin[passes // 2]) / (passes - 1 - passes // 2)


def main(folder):
    found = {name: list(loops(f"{folder}/{name}.o")) for name in {loop[0] for loop in LOOPS}}
    photo = {core: {} for core in GIGAHERTZ}
    for name, function, mark, lacks, unit, count, times in LOOPS:
        names = [(f, b, {i.split(" ")[0] for i in b}) for f, b in found[name]]
        body = max((b for f, b, n in names if f == function and mark in n and lacks not in n), key=len)
        print(f"\n{function}, {count} {unit} a pass, {len(body)} instructions")
        rows = [("A53 rules", a53(body), "")] + [(core, *mca(core, body)) for core in CORES]
        for core, cycles, busy in rows:
            rates = ", ".join(f"{count * ghz / cycles:.2f} G/s at {ghz} GHz"
                              for ghz in GIGAHERTZ.get(core, ()))
            print(f"  {core:12} {cycles:6.1f} cycles {count / cycles:6.2f} a cycle  {busy:24} "
                  f"{rates}".rstrip())
            if core in photo and (unit != "MAC"
                                  or (times and (name == "neon_dotprod") == (core == "neoverse-n1"))):
                photo[core][unit] = times * cycles / count
    print("\nA photo's loops on four cores, caches always hit; share of each")
    for core, parts in photo.items():
        every = sum(parts.values())
        shares = ", ".join(f"{unit} {100 * part / every:.1f} %" for unit, part in parts.items())
        for ghz in GIGAHERTZ[core]:
            print(f"  {core} at {ghz} GHz: {every / ghz / 4:.1f} s, {parts['MAC'] / ghz / 4:.1f} s of it "
                  f"products")
        print(f"    {shares}")


if __name__ == "__main__":
    main(sys.argv[1])
