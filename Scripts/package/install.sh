#!/bin/sh
# install.sh FOLDER_OF_PROGRAMS PREFIX: programs, manual, completions and the demo model, as `make install` puts them.
# DESTDIR in the environment is a folder that stands for the root.
set -eu
bin=${1:?usage: install.sh FOLDER_OF_PROGRAMS PREFIX} prefix=${2:?usage: install.sh FOLDER_OF_PROGRAMS PREFIX}
cd "$(dirname "$0")/../.."
. Scripts/package/texts.sh
there=${DESTDIR:-}$prefix
version=$("$bin/trident" --version)
version=${version##* }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
command -v python3 >/dev/null 2>&1 || { echo "python3 is missing; it writes the manual" >&2 && exit 1; }
mkdir -p "$there/bin"
examples "$there"
if [ -f "$bin/libtridentc.so" ]; then
  install -Dm644 "$bin/libtridentc.so" "$there/lib/libtrident.so.0"
  ln -sf libtrident.so.0 "$there/lib/libtrident.so"
  install -Dm644 Sources/CTrident/include/trident.h "$there/include/trident.h"
  mkdir -p "$there/lib/pkgconfig"
  pc "$version" "$prefix" "$prefix/lib" >"$there/lib/pkgconfig/trident.pc"
fi
for program in trident trident-quantize; do
  install -m755 "$bin/$program" "$there/bin/"
  texts "$program" "$version" "$there" "$prefix/share/trident" site-functions "$bin/$program"
done
echo "installed under $there: $(find "$there/share/man/man1" -name 'trident*.gz' | wc -l) manual pages, completions for 3 shells"
