#!/bin/sh
# Runs every command of docs/recipes.md, block by block, on the shipped scenes.
# Usage: check-recipes.sh FOLDER_OF_PROGRAMS
set -eu
bin=${1:?usage: check-recipes.sh FOLDER_OF_PROGRAMS}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v python3 >/dev/null 2>&1; then
  echo "skipped: recipes (python3 is missing)"
  exit 0
fi
mkdir "$work/photos" "$work/truth" "$work/blocks"
for scene in farm street; do
  cp "models/demo/scenes/images/$scene.jpg" "$work/photos/"
  cp "models/demo/scenes/labels/$scene.png" "$work/truth/"
done
cp models/demo/scenes/classes.txt "$work/words.txt"
export TRIDENT_MODEL="$root/models/demo/demo.gguf" XDG_CACHE_HOME="$work/cache" XDG_DATA_HOME="$work/data"
PATH=$bin:$PATH
export PATH
python3 - "$work/blocks" <<'P'
"""Writes every fenced block of the page as a file of its own. The camera is one that has two photos."""
import pathlib
import re
import sys

page = pathlib.Path("docs/recipes.md").read_text()
camera = ('shot=0\ncamera() { shot=$((shot + 1)); [ "$shot" -le 2 ] && cp photos/farm.jpg "$1"; }\nsleep() { :; }')
for number, (kind, text) in enumerate(re.findall(r"^```(sh|python)\n(.*?)^```", page, re.M | re.S), 1):
    text = re.sub(r"^camera\(\).*$", lambda _: camera, text, flags=re.M)
    ending = "py" if kind == "python" else "sh"
    (pathlib.Path(sys.argv[1]) / f"{number:02}.{ending}").write_text(text)
P
cd "$work"
count=0
for block in blocks/*; do
  count=$((count + 1))
  case $block in *.py) run=python3 ;; *) run="sh -eu" ;; esac
  # The command and its flags are words.
  # shellcheck disable=SC2086
  if ! $run "$block" >log 2>&1; then
    echo "FAILED: a recipe of docs/recipes.md:" >&2
    cat "$block" >&2
    tail -n 5 log >&2
    exit 1
  fi
  [ "$block" != blocks/01.sh ] || [ "$(wc -l <all.csv)" -eq 9 ] || { echo "FAILED: all.csv has other lines" >&2; exit 1; }
done
for made in all.jsonl labels.png overlay.jpg horse.png found.json report.html full.txt drafts/farm.json yolo/data.yaml farm.xml farm.json figure.jpg; do
  [ -s "$made" ] || { echo "FAILED: no recipe made $made" >&2; exit 1; }
done
echo "recipes: $count blocks of docs/recipes.md ran, with a camera that has two photos"
