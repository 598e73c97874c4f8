#!/bin/sh
# `trident pull` against a server of this machine that has broken links, wrong files and short answers; our
# declarations of libcurl against its headers, where they are.
# Usage: check-pull.sh FOLDER_OF_PROGRAMS
set -u
bin=${1:?usage: check-pull.sh FOLDER_OF_PROGRAMS}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d) || exit 2
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
unset TRIDENT_MODEL TRIDENT_MIRROR TRIDENT_MEMORY_LIMIT http_proxy https_proxy all_proxy ALL_PROXY
export HOME="$work" XDG_DATA_HOME="$work/data" XDG_CACHE_HOME="$work/cache"
left=
# As root the library and its headers are installed where they are missing.
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 && ! dpkg-query -W libcurl4-openssl-dev >/dev/null 2>&1; then
  { apt-get update -qq || true; apt-get install -y -qq --no-install-recommends libcurl4-openssl-dev; } >/dev/null 2>&1 || true
fi
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=clang
headers="$("$cc" -E -x c - -o /dev/null 2>/dev/null <<'C' && echo yes
#include <curl/curl.h>
C
)"
if [ "$headers" = yes ]; then
  "$cc" -std=c11 -fsyntax-only -Wall -Wextra -Werror -ISources/CSystem/include Tests/CLibrary/check_curl.c || exit 1
else
  left=" (left out: libcurl's headers are not installed, so our declarations were not compared)"
fi
if ! command -v python3 >/dev/null 2>&1; then
  echo "skipped: trident pull (python3 is missing)"
  exit 0
fi
checks=0
fail() {
  echo "FAILED: $*" >&2
  tail -n 4 "$work/log" | sed 's/^/    /' >&2
  exit 1
}
# pull CODE NAME ARGUMENT...: ends with that code.
pull() {
  code=$1 name=$2
  shift 2
  "$bin/trident" pull "$@" >"$work/log" 2>&1
  got=$?
  [ "$got" -eq "$code" ] || fail "$name: exit code $got, not $code"
  checks=$((checks + 1))
}
said() { grep -q -- "$2" "$work/log" || fail "$1: '$2' was not said"; }
same() { cmp -s "$1" "$2" || fail "$3: not the same bytes"; }
absent() { [ ! -e "$1" ] || fail "$2: $1 is there"; }

files=$work/served
mkdir "$files"
gzip -dc Tests/Fixtures/golden-pnp/blip-toy.pth.gz >"$files/model_base_retrieval_coco.pth" || exit 1
cp Tests/Fixtures/golden-pnp/vocab.txt "$files/vocab.txt"
dino=dino_vitbase16_pretrain.pth
head -c 3000000 models/demo/demo.gguf >"$files/$dino"
cp Tests/Fixtures/golden/toy-b/vocab.txt.gz "$files/bpe_simple_vocab_16e6.txt.gz"
sum=$(sha256sum "$files/$dino" | cut -d' ' -f1)
python3 Scripts/pull_server.py "$files" >"$work/asked" 2>/dev/null &
server=$!
tries=0
while [ ! -s "$work/asked" ] && [ $tries -lt 300 ]; do
  tries=$((tries + 1))
  sleep 0.2
done
port=$(head -n 1 "$work/asked")
from=http://127.0.0.1:$port
store=$XDG_DATA_HOME/trident/checkpoints

pull 0 "the list"
if ! "$bin/trident" pull dino-b16 --quiet --from "file://$files" >"$work/log" 2>&1 && grep -q "needs libcurl" "$work/log"; then
  echo "skipped: trident pull (libcurl is missing: apt install libcurl4t64)"
  exit 0
fi
same "$files/$dino" "$store/$dino" "a file of this machine"
rm "$store/$dino"
pull 2 "a name that nothing has" dino-b17
pull 2 "a sum that is none" dino-b16 --sha256 12
pull 2 "an address that is none" dino-b16 --from ftp.example.org
pull 0 "a good server" dino-b16 --from "$from/good" --sha256 "$sum"
said "licence" "licence Apache 2.0"
same "$files/$dino" "$store/$dino" "a good server"
pull 0 "what is there" dino-b16 --from "$from/nowhere" --sha256 "$sum"
said "what is there" "there already"
rm "$store/$dino"
pull 6 "a broken link" dino-b16 --from "$from/nowhere"
said "a broken link" "the server answers 404"
absent "$store/$dino" "a broken link"
pull 4 "a wrong sum" dino-b16 --from "$from/wrong" --sha256 "$sum"
said "a wrong sum" "not $sum"
absent "$store/$dino" "a wrong sum"
absent "$store/$dino.partial" "a wrong sum"
pull 4 "a wrong sum of the catalogue" vocab --from "$from/good"
said "a wrong sum of the catalogue" "not 924691ac288e"
pull 0 "a redirect" dino-b16 --from "$from/moved"
said "the sum that was found" "SHA-256 $sum; its publisher states none"
same "$files/$dino" "$store/$dino" "a redirect"
rm "$store/$dino"
pull 0 "an answer that ends in the middle" dino-b16 --from "$from/cut" --sha256 "$sum"
same "$files/$dino" "$store/$dino" "an answer that ends in the middle"
grep -q "^/cut/$dino bytes=1500000-" "$work/asked" || fail "the rest was not asked for"
rm "$store/$dino"
pull 6 "answers that always end early, without ranges" dino-b16 --from "$from/shorts" --sha256 "$sum"
rm -f "$store/$dino.partial"
pull 6 "answers that always end early" dino-b16 --from "$from/cuts" --sha256 "$sum"
said "answers that always end early" "the same command goes on with them"
[ -s "$store/$dino.partial" ] || fail "nothing was kept"
pull 0 "going on elsewhere" dino-b16 --from "$from/good" --sha256 "$sum"
said "going on elsewhere" "going on after"
same "$files/$dino" "$store/$dino" "going on elsewhere"
mv "$store/$dino" "$store/$dino.partial"
pull 0 "a whole part" dino-b16 --from "$from/good" --sha256 "$sum"
same "$files/$dino" "$store/$dino" "a whole part"
head -c 1000 "$store/$dino" >"$store/$dino.partial"
rm "$store/$dino"
pull 0 "a server without ranges" dino-b16 --from "$from/plain" --sha256 "$sum"
said "a server without ranges" "once more from the start"
same "$files/$dino" "$store/$dino" "a server without ranges"
rm "$store/$dino"
pull 0 "a busy server" dino-b16 --from "$from/busy"
same "$files/$dino" "$store/$dino" "a busy server"
rm "$store/$dino"
(
  export http_proxy="$from" no_proxy=
  pull 6 "a proxy" dino-b16 --from "http://mirror.invalid/good"
) || exit 1
grep -q "^http://mirror.invalid/good/$dino" "$work/asked" || fail "the proxy was not asked"
pull 6 "nobody there" dino-b16 --from "http://127.0.0.1:1"

# A whole model, which is then the usual one.
"$bin/trident" segment --class cat --class dog photo.png --output "$work/l.png" >"$work/log" 2>&1
[ $? -eq 2 ] || fail "no model: exit code"
said "no model" "trident pull"
pull 0 "a model" pnp-blip-base --from "$from/good"
said "a model" "the usual model"
photo=Tests/Fixtures/golden-pnp/plain/photo.png
set -- --class cat --class water --short-side 144 --attention-layer 2 --attention-head 2 --quiet "$photo"
"$bin/trident" segment "$@" --output "$work/usual.png" >"$work/log" 2>&1 || fail "the usual model"
"$bin/trident" segment --model pnp-blip-base "$@" --output "$work/named.png" >"$work/log" 2>&1 || fail "a model by its name"
same "$work/usual.png" "$work/named.png" "the usual model"
TRIDENT_MODEL=pnp-blip-base "$bin/trident" version | grep -q "model .*pnp-blip-base" || fail "a model by its name in version"
"$bin/trident" version >"$work/log" 2>&1 || fail "version beside a usual model"
"$bin/trident" bench --model pnp-blip-base --photo "$work/none.jpg" >"$work/log" 2>&1
said "a model by its name in bench" "none.jpg"
pull 0 "a model that is there" pnp-blip-base --from "$from/nowhere"
said "a model that is there" "there already"
mkdir "$work/alone"
cp "$bin/trident" "$work/alone/"
PATH=/usr/bin:/bin "$work/alone/trident" pull pnp-blip-base --from "$from/good" --folder "$work/other" >"$work/log" 2>&1 ||
  fail "without a quantizer"
said "without a quantizer" "trident-quantize is not installed here"
pull 0 "the list again"
said "the list again" "here, usual"
echo "trident pull: $checks checks against a local server$left"
