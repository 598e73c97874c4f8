#!/bin/sh
# `trident serve` as its users meet it: every address, refusals, slow clients, bounded load, memory, and its page in a real
# Chromium. Usage: check-serve.sh [--long] [--screenshots FOLDER] FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]
# --long: five minutes of load instead of some seconds, and more cases from the interface's description.
set -eu
long=no shots=
while :; do
  case ${1:-} in
  --long) long=yes && shift ;;
  --screenshots) shots=$2 && shift 2 ;;
  *) break ;;
  esac
done
bin=${1:?usage: check-serve.sh [--long] [--screenshots FOLDER] FOLDER_OF_PROGRAMS [FOLDER_FOR_PYTHON_PACKAGES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
case $shots in '' | /*) ;; *) shots=$PWD/$shots ;; esac
cd "$(dirname "$0")/.."
venv=${2:-.build/serve-venv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
left=
# installed COMMAND PACKAGE...: whether the command is there, or can be installed.
installed() {
  command -v "$1" >/dev/null 2>&1 && return
  command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] || return 1
  shift
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >"$work/log" 2>&1
}
library() { ldconfig -p 2>/dev/null | grep -q 'libmicrohttpd\.so\.12 '; }
if ! library && ! { installed no-such-command libmicrohttpd-dev && library; }; then
  echo "skipped: trident serve (libmicrohttpd.so.12 is missing: apt install libmicrohttpd12)"
  exit 0
fi
python3 Scripts/embed-page.py --check

# Our declarations against the library's own.
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=clang
if [ -e /usr/include/microhttpd.h ] || installed no-such-command libmicrohttpd-dev; then
  "$cc" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -include microhttpd.h -ISources/CServe/include Sources/CServe/serve.c
  echo "serve: declarations agree with microhttpd.h"
else
  left="$left declarations (microhttpd.h is missing);"
fi

"$bin/trident" serve --help-all >"$work/help"
for default in 32M 1m 10m; do
  grep -q "default: $default" "$work/help" || { echo "FAILED: serve --help-all tells no default of $default"; exit 1; }
done

seconds=8
[ $long = no ] || seconds=300
# package NAME PIN: whether Python has the package, or it can be had.
package() {
  { [ -x "$venv/bin/python" ] || python3 -m venv "$venv"; } >"$work/log" 2>&1 &&
    { "$venv/bin/python" -c "import $1" || "$venv/bin/pip" install -q "$2"; } >"$work/log" 2>&1
}
if package schemathesis 'schemathesis==4.32.5'; then
  described="--schemathesis $venv/bin/schemathesis"
  case $venv in /*) ;; *) described="--schemathesis $PWD/$venv/bin/schemathesis" ;; esac
else
  described=
  left="$left schemathesis (cannot be had);"
fi
# $described is two words or none.
# shellcheck disable=SC2086
PYTHONDONTWRITEBYTECODE=1 python3 Scripts/check_serve.py "$bin/trident" --seconds $seconds $described

if installed chromedriver chromium chromium-driver && package selenium 'selenium==4.51.0' &&
  { [ -z "$shots" ] || package PIL pillow; }; then
  PYTHONPATH=Scripts PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" Scripts/check_serve_browser.py "$bin/trident" \
    ${shots:+--screenshots "$shots"}
else
  tail -n 2 "$work/log"
  left="$left page in Chromium (chromium-driver or selenium cannot be had);"
fi

if command -v systemd-analyze >/dev/null 2>&1; then
  # The program is not at its installed place here.
  sed "s#/usr/bin/trident#$bin/trident#; /^Documentation=/d" packaging/systemd/trident-serve.service \
    >"$work/trident-serve.service"
  if systemd-analyze verify "$work/trident-serve.service" >"$work/log" 2>&1; then
    echo "serve: systemd accepts the unit"
  else
    cat "$work/log" >&2
    exit 1
  fi
else
  left="$left unit (systemd-analyze is missing);"
fi
[ -z "$left" ] && left=" nothing"
echo "serve: checked; left out:$left"
