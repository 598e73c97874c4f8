#!/bin/sh
# Installs the packaged libraries that the build needs, only where they are missing.
set -eu
missing=""
have() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
for package in libjpeg-dev libpng-dev zlib1g-dev libopenblas0-pthread pkg-config; do
  have "$package" || missing="$missing $package"
done
command -v swift >/dev/null 2>&1 || missing="$missing swiftlang"
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  echo "missing:$missing; install them with your package manager" >&2
  exit 1
fi
echo "installing:$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq || true
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
