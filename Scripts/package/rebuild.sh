#!/bin/bash
# rebuild.sh [amd64|arm64|both]: makes the packages and archives of out/packages again and compares the bytes: later, from a clone of
# the commit in another folder, in a root of its own (a fresh Debian 13), in another time zone. Needs root and 4 GB in TMPDIR.
set -euo pipefail
. "$(dirname "$0")/../arm/common.sh" ""
[ -z "$(git -C "$project" status --porcelain)" ] || { echo "there are changes that no commit holds"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$project" "$work/elsewhere"
export TZ=Pacific/Auckland
for kind in deb tarball; do
  "$work/elsewhere/Scripts/package/build.sh" $kind "${1:-both}" "$work/root"
done
for file in "$work"/elsewhere/out/packages/*; do
  cmp "$project/out/packages/$(basename "$file")" "$file"
  echo "the same bytes: $(basename "$file")"
done
