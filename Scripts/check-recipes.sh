#!/bin/sh
# Runs every block of docs/recipes.md, and of README's sections that begin with "For", on the shipped scenes.
# Usage: check-recipes.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]
# Each page has a PATH of its own.
# shellcheck disable=SC2030,SC2031
set -eu
bin=${1:?usage: check-recipes.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
root=$PWD
venv=${2:-.build/python-venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v python3 >/dev/null 2>&1; then
  echo "skipped: recipes (python3 is missing)"
  exit 0
fi

# Folders as their readers have them.
for page in recipes readme; do
  mkdir -p "$work/$page/photos" "$work/$page/truth" "$work/$page/blocks"
  for scene in farm street; do
    cp "models/demo/scenes/images/$scene.jpg" "$work/$page/photos/"
    cp "models/demo/scenes/labels/$scene.png" "$work/$page/truth/"
  done
  cp models/demo/scenes/classes.txt "$work/$page/words.txt"
done
export XDG_CACHE_HOME="$work/cache" XDG_DATA_HOME="$work/data"
unset TRIDENT_MODEL TRIDENT_MIRROR TRIDENT_MEMORY_LIMIT
python3 - "$work" <<'P'
"""Writes every fenced block of the pages as a file of its own. The camera of the recipes is one that has two photos."""
import pathlib
import re
import socket
import sys

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
camera = ('shot=0\ncamera() { shot=$((shot + 1)); [ "$shot" -le 2 ] && cp photos/farm.jpg "$1"; }\nsleep() { :; }')
readme = re.findall(r"^## For .*?(?=^## )", pathlib.Path("README.md").read_text(), re.M | re.S)
pages = {"recipes": pathlib.Path("docs/recipes.md").read_text(), "readme": "".join(readme)}
for page, text in pages.items():
    for number, (kind, block) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S), 1):
        block = re.sub(r"^camera\(\).*$", lambda _: camera, block, flags=re.M).replace("8080", str(port))
        ending = {"sh": "sh", "python": "py", "swift": "swift"}[kind]
        (pathlib.Path(sys.argv[1]) / page / "blocks" / f"{number:02}.{ending}").write_text(block)
P

left=
# block FILE: runs it.
block() {
  case $1 in
    *.py) "$python" "$1" ;;
    *.swift) swift_block "$1" ;;
    *) sh -eu "$1" ;;
  esac
}
# all PAGE: its blocks, one after another, in its folder.
all() {
  count=0
  for one in blocks/*; do
    if ! block "$one" >"log-$(basename "$one")" 2>&1; then
      echo "FAILED: a block of $1:" >&2
      cat "$one" >&2
      tail -n 5 "log-$(basename "$one")" >&2
      exit 1
    fi
    count=$((count + 1))
  done
}
# made PAGE FILE...: they are there.
made() {
  page=$1
  shift
  for file; do
    [ -s "$file" ] || { echo "FAILED: no block of $page made $file" >&2; exit 1; }
  done
}

# ---- docs/recipes.md, with the demo model
(
  cd "$work/recipes"
  python=python3 PATH=$bin:$PATH TRIDENT_MODEL=$root/models/demo/demo.gguf
  export PATH TRIDENT_MODEL
  all docs/recipes.md
  [ "$(wc -l <all.csv)" -eq 9 ] || { echo "FAILED: all.csv has other lines" >&2; exit 1; }
  made docs/recipes.md all.jsonl labels.png overlay.jpg horse.png found.json report.html full.txt drafts/farm.json yolo/data.yaml \
    farm.xml farm.json figure.jpg
  echo "recipes: $count blocks of docs/recipes.md ran, with a camera that has two photos"
)

# ---- README: what stands in for a published model, checkpoints and a camera
cd "$work/readme"
mkdir "$work/stand-ins"
cat >"$work/stand-ins/trident" <<END
#!/bin/sh
# The demo model under the name of a model that the program offers.
[ "\$1" = pull ] || exec "$bin/trident" "\$@"
"$bin/trident" pull | grep -q "^\$2 " || exit 2
mkdir -p "$XDG_DATA_HOME/trident/models"
cp "$root/models/demo/demo.gguf" "$XDG_DATA_HOME/trident/models/\$2.gguf"
ln -sfn "\$2.gguf" "$XDG_DATA_HOME/trident/models/default.gguf"
END
cat >"$work/stand-ins/rpicam-vid" <<'END'
#!/bin/sh
cat photos/farm.jpg
sleep 1
cat photos/street.jpg
END
ln -s "$bin/trident-quantize" "$work/stand-ins/"
command -v cc >/dev/null 2>&1 || ln -s "$(command -v clang)" "$work/stand-ins/cc"
chmod +x "$work/stand-ins/trident" "$work/stand-ins/rpicam-vid"
toy=$root/Tests/Fixtures/golden/toy-b
for pair in clip.pt:ViT-B-16.pt dino.pth:dino_vitbase16_pretrain.pth sam.pth:sam_vit_b_01ec64.pth; do
  gzip -dc "$toy/${pair%:*}.gz" >"${pair#*:}"
done
cp "$toy/vocab.txt.gz" bpe_simple_vocab_16e6.txt.gz
cp photos/farm.jpg photo.jpg
mkdir -p models/demo
cp "$root/models/demo/demo.gguf" models/demo/
ln -s models/demo/demo.gguf demo.gguf
awk '/^```/ { on = $0 == "```c"; next } on' "$root/docs/libraries.md" >example.c
sh "$root/Scripts/package/install.sh" "$bin" "$work/usr" >/dev/null

# As root what is missing is installed; without it a block is left out.
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  for wanted in curl libmicrohttpd12; do
    dpkg-query -W "$wanted*" 2>/dev/null | grep -q . && continue
    { apt-get update -qq || true; apt-get install -y -qq --no-install-recommends "$wanted"; } >/dev/null 2>&1 || true
  done
fi
if ! command -v curl >/dev/null 2>&1 || ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libmicrohttpd\.so\.12'; then
  left="$left serve (curl or libmicrohttpd is missing);"
  sed -i '/^trident serve/,/served\.png$/d' blocks/*.sh
fi
python=$venv/bin/python
"$python" -c 'import numpy' 2>/dev/null || python=python3
if ! "$python" -c 'import numpy' 2>/dev/null; then
  left="$left Python (numpy is missing);"
  rm blocks/*.py
fi
swiftc=$(dirname "$(readlink -f "$(command -v swiftc || command -v swift || echo /none)")")/swiftc
if [ ! -x "$swiftc" ]; then
  left="$left Swift (swiftc is missing);"
  rm blocks/*.swift
fi
# Compiled against what is built already, and run.
swift_block() {
  set -- "$1" -I "$bin/Modules"
  for map in "$bin"/C*.build/module.modulemap "$root"/Sources/C*/module.modulemap; do
    set -- "$@" -Xcc "-fmodule-map-file=$map"
  done
  for module in Segmentation Compute Container Raster System CKernels CRaster CSystem; do
    # Names of objects hold no spaces. A source that was moved leaves its old object behind.
    # shellcheck disable=SC2044
    for object in $(find "$bin/$module.build" -name '*.o'); do
      source=$(basename "$object" .o)
      if [ -n "$(find "$root/Sources" -name "$source" -print -quit)" ]; then set -- "$@" "$object"; fi
    done
  done
  "$swiftc" "$@" -ljpeg -lpng -lz -o from-swift && ./from-swift
}
# A server that a block leaves behind ends with it.
for one in blocks/*.sh; do
  if grep -q '&$' "$one"; then sed -i '1i trap "kill \\$!" EXIT' "$one"; fi
done
(
  PATH=$work/stand-ins:$PATH PKG_CONFIG_PATH=$work/usr/lib/pkgconfig LD_LIBRARY_PATH=$work/usr/lib
  PYTHONPATH=$root/Python/src TRIDENT_LIBRARY=$work/usr/lib/libtrident.so.0 PYTHONDONTWRITEBYTECODE=1
  export PATH PKG_CONFIG_PATH LD_LIBRARY_PATH PYTHONPATH TRIDENT_LIBRARY PYTHONDONTWRITEBYTECODE
  all README.md
  ./example >rows
  made README.md labels.png overlay.jpg tables/farm.csv overlays report.html trident-b.gguf rows
  case $left in *serve*) ;; *) [ "$(head -c 4 served.png | tail -c 3)" = PNG ] || { echo "FAILED: served.png is none" >&2; exit 1; } ;; esac
  echo "README: $count blocks ran, with stand-ins for models, checkpoints and a camera; left out:${left:- nothing}"
)
