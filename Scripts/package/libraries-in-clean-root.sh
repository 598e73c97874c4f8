#!/bin/sh
# libraries-in-clean-root.sh VERSION: run by check.sh in a clean Debian that has libtrident0, libtrident-dev, python3-trident-boards, a C
# compiler and pkg-config. The model and the photo of the example lie in /tmp.
set -eu
version=$1
packages="libtrident0 libtrident-dev python3-trident-boards"
work=$(mktemp -d)
# Words are packages.
# shellcheck disable=SC2086
dpkg --verify $packages
if dpkg-query -W -f '${Package}\n' | grep -E '^(trident|.*swift.*|clang.*|libopenblas.*)$'; then
  echo "more than is needed is installed"
  exit 1
fi
# The others do not let the library go.
if dpkg --remove libtrident0 > /dev/null 2>&1; then
  echo "libtrident0 could be removed alone"
  exit 1
fi
[ "$(pkg-config --modversion trident)" = "$version" ]

# The C program of docs/libraries.md, as the package brings it.
cp /tmp/demo.gguf "$work/"
cp /tmp/farm.jpg "$work/photo.jpg"
cd "$work"
# shellcheck disable=SC2046
cc -Wall -Werror /usr/share/doc/libtrident-dev/examples/example.c $(pkg-config --cflags --libs trident) -o example
./example > rows
readelf -d example | grep -q 'NEEDED.*libtrident\.so\.0'

cat > example.py <<'P'
import importlib.metadata
import sys

import trident_boards

version = sys.argv[1]
assert trident_boards.__version__ == importlib.metadata.version("trident-boards") == version
assert trident_boards.__file__.startswith("/usr/lib/python3/dist-packages/")
model = trident_boards.Model("demo.gguf", memory_limit="48M")
classes = ["cow", "grass; meadow", "sky"]
result = model.segment("photo.jpg", classes, refine="none", negative="wall; floor")
for y, row in enumerate(result.labels):
    print(f"row {y} begins with class {row[0]}")
print(*(f"{name} {result.share(name):.3f}" for name in ("cow", "grass", "sky")), sep=", ", file=sys.stderr)
assert 0.2 < result.share("sky") < 0.7 and 0.2 < result.share("grass") < 0.7
P
python3 example.py "$version" > rows-python
cmp rows rows-python
echo "C and Python agree on $(wc -l < rows) rows, which begin with $(cut -d' ' -f6 rows | sort | uniq | wc -l) classes"

cd /
# shellcheck disable=SC2086
sh /tmp/purge.sh $packages
echo "$(dpkg --print-architecture): the libraries work"
