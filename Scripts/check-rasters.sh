#!/bin/sh
# WebP and TIFF as Pillow reads them, label TIFFs as GDAL and rasterio read them, tiles over a long raster. Python
# packages go to a folder of their own.
# Usage: check-rasters.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]
set -eu
bin=${1:?usage: check-rasters.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
venv=${2:-.build/rasters-venv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
left_out=
# The libraries, and what declares them, where this may install them.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  if ! dpkg -s libtiff-dev >/dev/null 2>&1 ||
    ! "$bin/trident" version -v | grep -q 'libwebp .*\.so'; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libtiff-dev libwebp-dev \
      >/dev/null 2>&1 || true
  fi
fi

# What this program declares of libtiff, against the real headers.
cat >"$work/declared.c" <<'END'
#include <tiffio.h>
#include "tiff_calls.h"
#define CHECK(result, name, parameters) result(*check_##name) parameters = name;
CR_TIFF_CALLS(CHECK) CR_TIFF_NEW_CALLS(CHECK)
END
cat >"$work/there.c" <<'END'
#include <tiffio.h>
#if TIFFLIB_VERSION < 20221213
#error before 4.5
#endif
END
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=clang
if "$cc" -fsyntax-only "$work/there.c" 2>/dev/null; then
  "$cc" -Wall -Wextra -Werror -fsyntax-only -ISources/CRaster "$work/declared.c"
  echo "libtiff's functions are declared as <tiffio.h> declares them"
else
  left_out="$left_out; the headers of libtiff 4.5"
fi

# Libraries that are there but cannot be opened are missing ones.
mkdir "$work/none"
for file in libwebp.so.7 libtiff.so.6 libtiff.so.5; do : >"$work/none/$file"; done
for name in lossy.webp rgb-lzw.tif; do
  code=0
  LD_LIBRARY_PATH=$work/none "$bin/trident" segment --model models/demo/demo.gguf --class dog --class grass --quiet \
    --output "$work/none.png" "Tests/Fixtures/raster/rasters/$name" 2>"$work/err" || code=$?
  if [ $code -ne 3 ] || ! grep -q 'which is not read; convert it: .* apt install lib' "$work/err"; then
    echo "without its library $name gives $code: $(cat "$work/err")" >&2
    exit 1
  fi
done
LD_LIBRARY_PATH=$work/none "$bin/trident" version -v | grep -q 'libwebp .*missing; apt install libwebp7'
echo "without libwebp and libtiff their packages are named"

if ! "$venv/bin/python" -c 'import PIL, rasterio' 2>/dev/null; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'pillow==12.2.0' 'rasterio==1.4.4'; } >"$work/log" 2>&1; then
    tail -n 2 "$work/log"
    echo "skipped: rasters (Python's venv, Pillow and rasterio cannot be had)$left_out"
    exit 0
  fi
fi
if "$bin/trident" version -v | grep -q 'libwebp .*missing\|libtiff .*missing'; then
  echo "skipped: rasters (libwebp or libtiff is missing)$left_out"
  exit 0
fi
"$venv/bin/python" Scripts/check_rasters.py "$bin/trident" "$work"
echo "checked: headers, missing libraries, Pillow, GDAL and rasterio, tiles${left_out:+; left out${left_out}}"
