#!/bin/bash
# build.sh deb|tarball [amd64|arm64|both] [ROOT]: packs programs and library, built with Debian 13's Swift, in out/packages.
# The same commit gives the same bytes: paths are those of ROOT, tools are Debian 13's, times are the commit's.
set -euo pipefail
kind=${1:?usage: build.sh deb|tarball [amd64|arm64|both] [ROOT]} architectures=${2:-both}
. "$(dirname "$0")/../arm/common.sh" "${3:-}"
cd "$project"
. "$project/Scripts/package/texts.sh"
. "$project/Scripts/package/deb.sh"
[ "$architectures" = both ] && architectures="amd64 arm64"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# Whoever publishes packages says so; no address is made up here (RFC 2606).
maintainer=${MAINTAINER:-The Trident for small boards authors <authors@trident.invalid>}
out=$project/out/packages
umask 022
mkdir -p "$out"
Scripts/arm/setup.sh "$root"

# interface: what libtrident.so offers.
interface() { sed -n 's/^ \(.*\)@Base.*/\1/p' packaging/debian/libtrident0.symbols | sort | xargs; }

# compile ARCHITECTURE: both programs and, for Debian's packages, the library, stripped, Swift's runtime linked statically.
# A Debian package takes the picture libraries from Debian; a tarball, for systems that name or number them differently,
# brings them along.
compile() {
  local library product libraries="" own products="trident trident-quantize"
  # SwiftPM links Swift's runtime statically into programs only; a library is told by the compiler's own flags.
  local flags="-Xswiftc -static-stdlib"
  if [ "$1" = arm64 ]; then
    flags="$flags -Xswiftc -resource-dir -Xswiftc /opt/swift-arm64/usr/libexec/swift/lib/swift_static"
  else
    # Debian's Swift links for x86-64 with gold, which maps the constants writable; for ARM with lld, which does not.
    flags="$flags -Xswiftc -use-ld=lld"
  fi
  [ "$kind" = deb ] && products="$products tridentc"
  if [ "$kind" = tarball ]; then
    # The linker takes what it finds first: a folder of static libraries only, which copies of the .pc files name.
    libraries=$scratch/static
    mkdir -p "$root$libraries"
    for library in $gnu/libpng16.a $gnu/libpng.a $gnu/libjpeg.a $gnu/libz.a gcc/$gnu/14/libstdc++.a; do
      ln -sf "/usr/lib/$library" "$root$libraries/"
    done
    for library in libpng libjpeg zlib; do
      sed "s|^libdir=.*|libdir=$libraries|" "$root/usr/lib/$gnu/pkgconfig/$library.pc" > "$root$libraries/$library.pc"
    done
    flags="$flags -Xlinker -lz"
  fi
  # For builds to come, the compiler stores hashes of its intermediate code, which differ where the programs do not.
  flags="$flags -Xswiftc -Xfrontend -Xswiftc -disable-incremental-llvm-codegen"
  mkdir -p "$root$scratch"
  echo "{ global: $(interface | sed 's/ /; /g'); local: *; };" > "$root$scratch/interface.map"
  for product in $products; do
    own=""
    # The library's own copy of the runtime stays its own.
    [ "$product" = tridentc ] && own="-Xlinker --version-script=$scratch/interface.map"
    # shellcheck disable=SC2086
    STATIC_LIBRARIES=$libraries Scripts/arm/build.sh "$root" "$1" --scratch-path "$scratch" --static-swift-stdlib \
      --disable-local-rpath -Xlinker -s -Xlinker -znow $flags $own --product "$product"
  done
}

# stage ARCHITECTURE PREFIX SHARE ZSH: the installed files under $root$tree; SHARE and ZSH as `texts` takes them.
stage() {
  local prefix=$root$tree$2 run="" program
  [ "$1" = arm64 ] && run=qemu-aarch64-static
  rm -rf "${root:?}$tree"
  mkdir -p "$prefix/bin"
  for program in trident trident-quantize; do
    install -m755 "$root$scratch/release/$program" "$prefix/bin/$program"
    # shellcheck disable=SC2086
    texts "$program" "$version" "$prefix" "$3" "$4" inside $run "$scratch/release/$program"
  done
  examples "$prefix"
  install -Dm644 Scripts/package/copyright "$prefix/share/doc/trident/copyright"
  install -Dm644 -t "$prefix/share/doc/trident/models" models/README.md
  install -Dm644 -t "$prefix/share/doc/trident/models/demo" models/demo/README.md
  # What Debian says about the compiler's own sources, whose runtime is in the programs.
  gzip -9nc "$root/usr/share/doc/swiftlang/copyright" > "$prefix/share/doc/trident/swift-runtime.copyright.gz"
}

# packed FILE: says what was made.
packed() { (cd "$out" && stat -c '%s bytes %n' "$1" && sha256sum "$1"); }

pack_tarball() {
  local top=trident-$version-linux-$1 library
  tree=$tree/$top stage "$1" "" share/trident site-functions
  for library in libpng-dev libjpeg62-turbo-dev zlib1g-dev libstdc++6; do
    cp -L "$root/usr/share/doc/$library/copyright" "$root$tree/$top/share/doc/trident/$library.copyright"
  done
  cp -L "$root/usr/share/common-licenses/Apache-2.0" "$root$tree/$top/share/doc/trident/"
  inside sh -c 'tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$2" -c "$3" | xz -9 -T1' \
    sh "$tree" "$SOURCE_DATE_EPOCH" "$top" > "$out/$top.tar.xz"
  packed "$top.tar.xz"
}

for architecture in $architectures; do
  scratch=/build/package-$architecture tree=$scratch/tree gnu=x86_64-linux-gnu
  [ "$architecture" = arm64 ] && gnu=aarch64-linux-gnu
  compile "$architecture"
  "pack_$kind" "$architecture"
done
