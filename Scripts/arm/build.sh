#!/bin/bash
# build.sh [ROOT] [amd64|arm64|both] [OPTION...]: builds the package in release with Debian 13's Swift, warnings as errors, in
# ROOT/build/ARCHITECTURE. Further options go to `swift build`. .pc files in STATIC_LIBRARIES, a folder of the root, come first.
set -euo pipefail
. "$(dirname "$0")/common.sh"
architectures=${2:-both}
[ "$architectures" = both ] && architectures="amd64 arm64"
for architecture in $architectures; do
  echo "== Swift 6.0.3, $architecture"
  sdk="" libraries=x86_64-linux-gnu
  [ "$architecture" = arm64 ] && sdk="--swift-sdks-path /opt/sdks --swift-sdk arm64" libraries=aarch64-linux-gnu
  # $sdk is words.
  # shellcheck disable=SC2086
  # -O3: clang's vectorizer is most of what the C kernels' plain loops get.
  inside env PKG_CONFIG_PATH="${STATIC_LIBRARIES:+$STATIC_LIBRARIES:}/usr/lib/$libraries/pkgconfig" swift build -c release \
    --scratch-path "/build/$architecture" $sdk -Xcc -O3 -Xcc -Werror -Xswiftc -warnings-as-errors "${@:3}"
done
