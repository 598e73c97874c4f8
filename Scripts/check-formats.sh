#!/bin/sh
# Opens results of every format with the tools that others use. Their Python packages go to a folder of their own.
# Usage: check-formats.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]
set -eu
bin=${1:?usage: check-formats.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
venv=${2:-.build/formats-venv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! "$venv/bin/python" -c 'import pycocotools, PIL, labelme, datumaro' 2>/dev/null; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'pycocotools==2.0.11' pillow 'labelme==6.3.1' 'datumaro==1.13.12'; } >"$work/log" 2>&1; then
    tail -n 2 "$work/log"
    echo "skipped: formats (Python's venv, pycocotools, labelme and datumaro cannot be had)"
    exit 0
  fi
fi
scenes=models/demo/scenes
for scene in farm street; do
  mkdir "$work/$scene"
  "$bin/trident" segment --model models/demo/demo.gguf --classes $scenes/classes.txt --quiet --no-cache \
    --output "$work/$scene/labels.png" --coco "$work/$scene/coco.json" --csv "$work/$scene/table.csv" \
    --confidence "$work/$scene/sure.png" --scores "$work/$scene/scores.npy" --masks "$work/$scene/masks" --instances "$work/$scene/regions.json" --yolo "$work/$scene/yolo" \
    --labelme "$work/$scene/labelme" --cvat "$work/$scene/cvat.xml" $scenes/images/$scene.jpg
  "$venv/bin/python" Scripts/check_formats.py "$work/$scene"
done
