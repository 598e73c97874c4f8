"""check-warnings.py FOLDER_OF_PROGRAMS: the Swift compiler had nothing to say about any module that is built
there.

Each module's file of diagnostics (NAME.build/NAME.dia) is from the last time it was compiled, so a warning
stays found when a later build has nothing to do. Without a finding such a file holds no text. C is compiled
with warnings as errors for ARM (Scripts/arm/build.sh), Swift too, by the older compiler."""
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
found = sorted(folder.glob("*.build/*.dia"))
if not found:
    if not any(folder.glob("*.build/*.swift.o")):
        sys.exit(f"{folder}: no module's diagnostics are here; build first")
    # Debian 13's package manager (6.0.3) tells the compiler to write none.
    print("compiler: left out: this Swift keeps no diagnostics; 6.3 does")
    sys.exit(0)
problems = 0
for path in found:
    texts = [text.decode() for text in re.findall(rb"[ -~]{12,}", path.read_bytes())]
    if texts:
        problems += 1
        print(f"{path.stem}:", *texts, sep="\n  ")
print(f"compiler: {len(found)} modules, {problems} with warnings")
sys.exit(1 if problems else 0)
