#!/bin/bash
# build.sh deb|tarball [amd64|arm64|both] [ROOT]: packs the programs, built with Debian 13's Swift, in out/packages.
# The same commit gives the same bytes: paths are those of ROOT, tools are Debian 13's, times are the commit's.
set -euo pipefail
kind=${1:?usage: build.sh deb|tarball [amd64|arm64|both] [ROOT]} architectures=${2:-both}
. "$(dirname "$0")/../arm/common.sh" "${3:-}"
cd "$project"
. "$project/Scripts/package/texts.sh"
[ "$architectures" = both ] && architectures="amd64 arm64"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# Whoever publishes packages says so; no address is made up here (RFC 2606).
maintainer=${MAINTAINER:-The Trident for small boards authors <authors@trident.invalid>}
out=$project/out/packages
umask 022
mkdir -p "$out"
Scripts/arm/setup.sh "$root"

# compile ARCHITECTURE: both programs, stripped, Swift's runtime linked statically. A Debian package takes the picture
# libraries from Debian; a tarball, for systems that name or number them differently, brings them along.
compile() {
  # Debian's Swift links for x86-64 with gold, which maps the constants writable; for ARM with lld, which does not.
  local gnu=x86_64-linux-gnu library program libraries="" flags="-Xswiftc -use-ld=lld"
  [ "$1" = arm64 ] && gnu=aarch64-linux-gnu flags=""
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
  for program in trident trident-quantize; do
    # shellcheck disable=SC2086
    STATIC_LIBRARIES=$libraries Scripts/arm/build.sh "$root" "$1" --scratch-path "$scratch" --static-swift-stdlib \
      --disable-local-rpath -Xlinker -s -Xlinker -znow $flags --product "$program"
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

pack_deb() {
  local doc=$root$tree/usr/share/doc/trident depends
  stage "$1" /usr /usr/share/trident vendor-completions
  { echo "trident ($version) unstable; urgency=medium"
    awk '/^## / { section++ } section == 1 && /^(- |  )/ { printf "%s%s", /^-/ ? "\n" : " ", substr($0, 3) } END { print "" }' \
      CHANGELOG.md | sed 1d |
      while read -r line; do echo "$line" | fold -sw 74 | sed '1s/^/\n  * /; 2,$s/^/    /; s/ *$//'; done
    printf '\n -- %s  %s\n' "$maintainer" "$(date -uRd @"$SOURCE_DATE_EPOCH")"
  } | gzip -9n > "$doc/changelog.gz"
  mkdir -p "$root$tree/DEBIAN" "$root$tree/debian"
  printf 'Source: trident\n\nPackage: trident\nArchitecture: any\n' > "$root$tree/debian/control"
  depends=$(inside env DEB_HOST_ARCH="$1" sh -c 'cd "$1" && dpkg-shlibdeps -O usr/bin/*' sh "$tree")
  rm -r "$root$tree/debian"
  cat > "$root$tree/DEBIAN/control" <<CONTROL
Package: trident
Version: $version
Architecture: $1
Maintainer: $maintainer
Installed-Size: $(find "$root$tree/usr" -printf '%y %s\n' | awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print size }')
Depends: ${depends#shlibs:Depends=}
Recommends: libcurl4t64 | libcurl4
Suggests: libopenblas0-pthread | libopenblas0, libmicrohttpd12t64 | libmicrohttpd12, libmosquitto1
Static-Built-Using: swiftlang (= $(inside dpkg-query -W -f '${source:Version}' swiftlang))
Section: graphics
Priority: optional
Description: segments photos by words of your choice, in little memory
 Tells every pixel of a photo which of your words it belongs to, without
 training, graphics processor or network, in some 70 MB of memory. Made for
 small boards. Runs published CLIP, DINO and Segment Anything checkpoints as
 8-bit integers, after trident-quantize has converted them, by the Trident
 method. A small demo model that knows drawings is included.
CONTROL
  (cd "$root$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
  inside env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" dpkg-deb --root-owner-group -Zxz --threads-max=1 \
    --build "$tree" "/build/$name"
  mv "$root/build/$name" "$out/"
}

pack_tarball() {
  local top=trident-$version-linux-$1 library
  tree=$tree/$top stage "$1" "" share/trident site-functions
  for library in libpng-dev libjpeg62-turbo-dev zlib1g-dev libstdc++6; do
    cp -L "$root/usr/share/doc/$library/copyright" "$root$tree/$top/share/doc/trident/$library.copyright"
  done
  cp -L "$root/usr/share/common-licenses/Apache-2.0" "$root$tree/$top/share/doc/trident/"
  inside sh -c 'tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$2" -c "$3" | xz -9 -T1' \
    sh "$tree" "$SOURCE_DATE_EPOCH" "$top" > "$out/$name"
}

for architecture in $architectures; do
  scratch=/build/package-$architecture tree=$scratch/tree
  compile "$architecture"
  case $kind in
    deb) name=trident_${version}_$architecture.deb ;;
    tarball) name=trident-$version-linux-$architecture.tar.xz ;;
  esac
  "pack_$kind" "$architecture"
  (cd "$out" && stat -c '%s bytes %n' "$name" && sha256sum "$name")
done
