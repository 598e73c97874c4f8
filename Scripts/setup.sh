#!/bin/sh
# Installs the packages that building and testing need, where they are missing; on systems without apt it only looks.
# Usage: setup.sh [lint|test]    lint: what `make lint` needs; test: also what a small Debian does not have: Python, a
#                                compiler of C++ for the C library's check, what labelme's Qt loads
set -eu
missing=""
extra=""
if [ "${1:-}" = lint ]; then
  command -v shellcheck >/dev/null 2>&1 || missing=" shellcheck"
  python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
elif command -v dpkg-query >/dev/null 2>&1; then
  have() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
  for package in libjpeg-dev libpng-dev zlib1g-dev pkg-config; do have "$package" || missing="$missing $package"; done
elif ! pkg-config --exists libjpeg libpng zlib 2>/dev/null; then
  missing=" pkg-config and the headers of libjpeg, libpng and zlib"
fi
command -v git >/dev/null 2>&1 || missing="$missing git ca-certificates"
command -v swift >/dev/null 2>&1 || missing="$missing swiftlang"
# Only --precision float32 and tests of it load OpenBLAS.
if [ "${1:-}" != lint ]; then
  PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libopenblas\.so\.0' || extra=" libopenblas0-pthread"
fi
if [ "${1:-}" = test ]; then
  python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3 python3-venv"
  cc=${CC:-cc}
  command -v "$cc" >/dev/null 2>&1 || cc=clang
  echo '#include <string>' | "$cc" -x c++ -fsyntax-only - 2>/dev/null || missing="$missing g++"
  loaded=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p)
  case $loaded in *libGL.so.1*) ;; *) missing="$missing libgl1" ;; esac
  case $loaded in *libgthread-2.0.so.0*) ;; *) missing="$missing libglib2.0-0" ;; esac
fi
[ -n "$missing$extra" ] || exit 0

root=""
if [ "$(id -u)" != 0 ]; then
  root=sudo
  # Without a terminal sudo cannot ask for a password.
  if ! command -v sudo >/dev/null 2>&1 || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then root=none; fi
fi
if [ "$root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
  if [ -z "$missing" ]; then
    echo "note: without$extra there is no --precision float32, and its tests are skipped"
    exit 0
  fi
  echo "missing:$missing" >&2
  if command -v apt-get >/dev/null 2>&1; then echo "as root: apt-get install$missing$extra" >&2; fi
  exit 1
fi

install() { $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
echo "installing:$missing$extra"
$root apt-get update -qq || true
case $missing in
  *swiftlang*)
    if ! apt-cache show swiftlang >/dev/null 2>&1; then
      missing=${missing%swiftlang}
      # shellcheck disable=SC2086
      [ -z "$missing$extra" ] || install $missing $extra
      echo "This system has no package of Swift; Debian 13 has (swiftlang). Install Swift 6 from" \
        "https://www.swift.org/install/linux, so that 'swift' is found, and run make again." >&2
      exit 1
    fi
    echo "(Swift is a large download: some minutes)" ;;
esac
# shellcheck disable=SC2086
install $missing $extra
