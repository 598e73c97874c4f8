#!/bin/sh
# The C library with a C and a C++ program, under valgrind where that is there, and the Python package over it.
# Usage: check-libraries.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]
set -eu
bin=${1:?usage: check-libraries.sh FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
venv=${2:-.build/python-venv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=models/demo/demo.gguf photo=models/demo/scenes/images/farm.jpg
cp "$bin/libtridentc.so" "$work/libtrident.so"
ln -s libtrident.so "$work/libtrident.so.0"
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=clang
build() { "$cc" -Wall -Wextra -Werror -g -ISources/CTrident/include "$@" -L"$work" -ltrident -Wl,-rpath,"$work"; }
build -std=c11 Tests/CLibrary/check.c -o "$work/check"
build -x c++ -std=c++17 Tests/CLibrary/check.cc -lstdc++ -o "$work/check-cc"
wanted=$("$work/check" $model $photo)
found=$("$work/check-cc" $model $photo)
[ "$wanted" = "$found" ] || { echo "C says $wanted, C++ $found" >&2; exit 1; }
echo "C and C++ programs agree"
if command -v valgrind >/dev/null 2>&1; then
  # valgrind knows no AVX-512, and not every form of debugging information.
  objcopy --strip-debug "$work/libtrident.so"
  TRIDENT_CPU=avx2 valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite --suppressions=Tests/CLibrary/valgrind.supp \
    "$work/check-cc" $model $photo affinity none short_side 112 window 112 stride 112 >/dev/null
  echo "valgrind: nothing lost, nothing read that was not written"
else
  echo "skipped: valgrind is missing"
fi
if ! "$venv/bin/python" -c 'import numpy, PIL, pytest, pycocotools, wheel' 2>/dev/null; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q numpy pillow pytest 'pycocotools==2.0.11' 'setuptools>=68' wheel; } >"$work/log" 2>&1; then
    tail -n 2 "$work/log"
    echo "skipped: the Python package (Python's venv, numpy and pytest cannot be had)"
    exit 0
  fi
fi
# As a user has it: from a wheel that carries the library.
cp -r Python "$work/python"
cp "$work/libtrident.so" "$work/python/src/trident_boards/"
"$venv/bin/pip" wheel -q --no-deps --no-build-isolation -w "$work" "$work/python"
rm -rf "$work/site"
"$venv/bin/pip" install -q --no-deps --target "$work/site" "$work"/trident_boards-*.whl
PYTHONPATH=$work/site TRIDENT_PROGRAM=$bin/trident TRIDENT_ROOT=$PWD "$venv/bin/python" -m pytest -q -p no:cacheprovider Python/tests
