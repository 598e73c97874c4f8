# Read by build.sh: Debian's packages of what it compiled. Each is staged in a folder $tree of the root $root.
# shellcheck shell=bash disable=SC2154

# Opened at run time for a job each; see docs/decisions/0010-optional-libraries.md.
pictures="libwebp7, libtiff6"
blas="libopenblas0-pthread | libopenblas0"

# needs ARCHITECTURE FILE...: the packages whose libraries these files of $tree are linked with.
needs() {
  mkdir -p "$root$tree/debian"
  printf 'Source: trident\n\nPackage: trident\nArchitecture: any\n' > "$root$tree/debian/control"
  inside env DEB_HOST_ARCH="$1" sh -c 'cd "$1" && shift && dpkg-shlibdeps -O "$@"' sh "$tree" "${@:2}" |
    sed 's/^shlibs:Depends=//'
  rm -r "$root$tree/debian"
}

# mit: the copyright file of a package that holds nothing but our sources.
mit() { awk -v RS= '/^Format:/ { sub(/\nComment:.*/, "") } /^Format:|^Files: \*|^License: MIT/ { print $0 "\n" }' \
  Scripts/package/copyright; }

# changes PACKAGE: the first section of CHANGELOG.md as Debian writes it.
changes() {
  echo "$1 ($version) unstable; urgency=medium"
  awk '/^## / { section++ } section == 1 && /^(- |  )/ { printf "%s%s", /^-/ ? "\n" : " ", substr($0, 3) } END { print "" }' \
    CHANGELOG.md | sed 1d |
    while read -r line; do echo "$line" | fold -sw 74 | sed '1s/^/\n  * /; 2,$s/^/    /; s/ *$//'; done
  printf '\n -- %s  %s\n' "$maintainer" "$(date -uRd @"$SOURCE_DATE_EPOCH")"
}

# seal PACKAGE ARCHITECTURE: packs what is staged; the package's own fields come on standard input.
seal() {
  local file=$1_${version}_$2.deb control=$root$tree/DEBIAN script
  mkdir -p "$control"
  changes "$1" | gzip -9n > "$root$tree/usr/share/doc/$1/changelog.gz"
  { echo "Package: $1"
    [ "$1" = trident ] || echo "Source: trident"
    printf 'Version: %s\nArchitecture: %s\nMaintainer: %s\n' "$version" "$2" "$maintainer"
    find "$root$tree/usr" -printf '%y %s\n' |
      awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print "Installed-Size: " size }'
    echo "Priority: optional"
    cat
  } > "$control/control"
  for script in postinst prerm postrm; do
    [ ! -e "packaging/debian/$1.$script" ] || install -m755 "packaging/debian/$1.$script" "$control/$script"
  done
  (cd "$root$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
  inside env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" dpkg-deb --root-owner-group -Zxz --threads-max=1 \
    --build "$tree" "/build/$file"
  mv "$root/build/$file" "$out/"
  packed "$file"
}

deb_program() {
  local depends
  stage "$1" /usr /usr/share/trident vendor-completions
  install -Dm644 -t "$root$tree/usr/lib/systemd/system" packaging/systemd/*.service
  install -Dm644 -t "$root$tree/usr/lib/systemd/system-preset" packaging/systemd/80-trident.preset
  depends=$(needs "$1" usr/bin/trident usr/bin/trident-quantize)
  seal trident "$1" <<CONTROL
Depends: $depends
Recommends: libcurl4t64 | libcurl4
Suggests: $blas, libmicrohttpd12t64 | libmicrohttpd12, libmosquitto1, $pictures
Static-Built-Using: $compiler
Section: graphics
Description: segments photos by words of your choice, in little memory
 Tells every pixel of a photo which of your words it belongs to, without
 training, graphics processor or network, in some 70 MB of memory. Made for
 small boards. Runs published CLIP, DINO and Segment Anything checkpoints as
 8-bit integers, after trident-quantize has converted them, by the Trident
 method. A small demo model that knows drawings is included.
 .
 Units of systemd for "trident serve" and "trident watch" are installed, not
 enabled.
CONTROL
}

# start PACKAGE: an empty tree for it.
start() {
  rm -rf "${root:?}$tree"
  mkdir -p "$root$tree/usr/share/doc/$1"
}

deb_library() {
  local libraries=usr/lib/$gnu doc=$root$tree/usr/share/doc/libtrident0 exported depends
  start libtrident0
  install -Dm644 "$root$scratch/release/libtridentc.so" "$root$tree/$libraries/libtrident.so.$version"
  ln -s "libtrident.so.$version" "$root$tree/$libraries/libtrident.so.0"
  # Nothing of Swift is for others to link with.
  exported=$(nm -D --defined-only "$root$tree/$libraries/libtrident.so.0" | awk '{ print $3 }' | sort | xargs)
  [ "$exported" = "$(interface)" ] || { echo "the library offers $exported, not $(interface)" >&2; return 1; }
  install -m644 Scripts/package/copyright "$doc/copyright"
  gzip -9nc "$root/usr/share/doc/swiftlang/copyright" > "$doc/swift-runtime.copyright.gz"
  install -Dm644 packaging/debian/libtrident0.symbols "$root$tree/DEBIAN/symbols"
  echo "libtrident 0 libtrident0 (>= $version)" > "$root$tree/DEBIAN/shlibs"
  echo "activate-noawait ldconfig" > "$root$tree/DEBIAN/triggers"
  depends=$(needs "$1" "$libraries/libtrident.so.$version")
  seal libtrident0 "$1" <<CONTROL
Multi-Arch: same
Depends: $depends
Suggests: $blas, $pictures
Static-Built-Using: $compiler
Section: libs
Description: segments photos by words of your choice: C library
 Tells every pixel of a photo which of your words it belongs to, without
 training, graphics processor or network, in some 70 MB of memory.
 .
 This package contains the shared library.
CONTROL
}

deb_headers() {
  local libraries=usr/lib/$gnu doc=$root$tree/usr/share/doc/libtrident-dev
  start libtrident-dev
  install -Dm644 -t "$root$tree/usr/include" Sources/CTrident/include/trident.h
  mkdir -p "$root$tree/$libraries/pkgconfig" "$doc/examples"
  ln -s libtrident.so.0 "$root$tree/$libraries/libtrident.so"
  pc "$version" /usr "/$libraries" > "$root$tree/$libraries/pkgconfig/trident.pc"
  awk '/^```/ { on = $0 == "```c"; next } on' docs/libraries.md > "$doc/examples/example.c"
  mit > "$doc/copyright"
  seal libtrident-dev "$1" <<CONTROL
Multi-Arch: same
Depends: libtrident0 (= $version)
Section: libdevel
Description: segments photos by words of your choice: development files
 Tells every pixel of a photo which of your words it belongs to, without
 training, graphics processor or network, in some 70 MB of memory.
 .
 This package contains the C header, the description for pkg-config and an
 example.
CONTROL
}

# The same for every architecture.
deb_python() {
  local doc=$root$tree/usr/share/doc/python3-trident-boards packages=$root$tree/usr/lib/python3/dist-packages
  start python3-trident-boards
  install -Dm644 -t "$packages/trident_boards" Python/src/trident_boards/*.py Python/src/trident_boards/py.typed
  mkdir "$packages/trident_boards-$version.dist-info"
  python3 - "$version" > "$packages/trident_boards-$version.dist-info/METADATA" <<'P'
import sys
import tomllib

project = tomllib.load(open("Python/pyproject.toml", "rb"))["project"]
print(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {sys.argv[1]}\nSummary: {project['description']}")
print(f"License: {project['license']['text']}\nRequires-Python: {project['requires-python']}")
for need in project["dependencies"]:
    print("Requires-Dist:", need)
P
  install -m644 Python/README.md "$doc/README.md"
  mit > "$doc/copyright"
  seal python3-trident-boards all <<CONTROL
Depends: python3 (>= 3.11), python3-numpy, libtrident0 (>= $version)
Section: python
Description: segments photos by words of your choice: Python package
 Tells every pixel of a photo which of your words it belongs to, without
 training, graphics processor or network, in some 70 MB of memory.
 .
 This package contains the module trident_boards, which hands labels and
 confidences on as NumPy arrays.
CONTROL
}

pack_deb() {
  # Whose runtime is linked in.
  # shellcheck disable=SC2016
  compiler=$(inside dpkg-query -W -f 'swiftlang (= ${source:Version})' swiftlang)
  deb_program "$1"
  deb_library "$1"
  deb_headers "$1"
  [ "$1" != "${architectures%% *}" ] || deb_python
}
