#!/bin/bash
# check.sh [amd64|arm64|both]: tries the packages and archives of out/packages: lintian, manual and completions; then each in a
# clean Debian 13 of its architecture (ARM through qemu-user) with nothing but its dependencies, where it segments the demo photo, a C
# program is compiled with the library and a Python script runs.
# The clean systems are in TMPDIR while they live. Needs root; the machine's own table of emulators is left alone.
set -euo pipefail
. "$(dirname "$0")/../arm/common.sh" ""
architectures=${1:-both}
[ "$architectures" = both ] && architectures="amd64 arm64"
need mmdebstrap arch-test qemu-user-static lintian man-db groff zsh fish
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
out=$project/out/packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# emulating COMMAND...: runs it where ARM programs start through qemu-user: a user namespace has a table of its own.
emulating() {
  local gate child
  gate=$(mktemp -u)
  mkfifo "$gate"
  unshare -Um bash -c 'read -r < "$1"; rm "$1"; shift
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
    exec "$@"' bash "$gate" "$@" &
  child=$!
  until [ "$(readlink /proc/$child/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done
  echo "0 0 65536" > /proc/$child/uid_map
  echo "0 0 65536" > /proc/$child/gid_map
  echo go > "$gate"
  wait $child
}

# texts FOLDER: manual and completions under a prefix are whole: every page that is named is there, none draws a warning.
texts() {
  local page file other
  for page in "$1"/share/man/man1/*.gz; do
    MANROFFSEQ="" MANWIDTH=80 man --warnings --local-file "$page" 2>&1 > "$work/page" | tee "$work/warnings"
    [ -s "$work/page" ] && [ ! -s "$work/warnings" ]
    # shellcheck disable=SC1003
    for other in $(gzip -dc "$page" | sed -n 's/^\.BR \(trident[^ ]*\) (1).*/\1/p' | tr -d '\\'); do
      [ -s "$1/share/man/man1/$other.1.gz" ] || { echo "$page names $other"; return 1; }
    done
  done
  for file in "$1"/share/bash-completion/completions/trident*; do bash -n "$file"; done
  for file in "$1"/share/zsh/*/_trident*; do zsh -n "$file"; done
  for file in "$1"/share/fish/vendor_completions.d/trident*; do fish --no-execute "$file"; done
  echo "manual: $(find "$1/share/man/man1" -type f | wc -l) pages; completions: $(find "$1"/share/{bash-completion,zsh,fish} -type f | wc -l)"
}

# clean ARCHITECTURE INSTALLED SCRIPT FILE...: a clean system with these packages, and what the script says there, with purge.sh and
# the files beside it. Packages are installed by mmdebstrap itself: apt works from outside, so that the system needs no way out.
clean() {
  local run="" architecture=$1 script=$3 package included=()
  for package in $2; do included+=("--include=$package"); done
  [ "$1" = arm64 ] && run=emulating
  shift 3
  $run mmdebstrap --quiet --mode=unshare --architectures="$architecture" --variant=apt --format=null \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --aptopt='Acquire::Check-Date "false"' --hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount \
    "${included[@]}" --customize-hook="copy-in '$project/Scripts/package/$script' '$project/Scripts/package/purge.sh'$(printf " '%s'" "$@") /tmp" \
    --customize-hook='chroot "$1" sh'" /tmp/$script '$version' '/tmp/$(basename "$1")'" trixie - "$mirror"
}

# sound PACKAGE...: sizes, dependencies, and what lintian says.
sound() {
  local file
  for file; do
    echo "== $(basename "$file"): $(stat -c %s "$file") bytes"
    dpkg-deb --field "$file" Depends Installed-Size
    lintian --fail-on error --allow-root --tag-display-limit 0 "$file"
  done
}

for architecture in $architectures; do
  file=$out/trident_${version}_$architecture.deb
  sound "$file"
  dpkg-deb -x "$file" "$work/$architecture"
  texts "$work/$architecture/usr"
  clean "$architecture" "$file" in-clean-root.sh "$file"
  # Units are the same files everywhere.
  [ "$architecture" = arm64 ] || clean "$architecture" "$file systemd" units-in-clean-root.sh "$file"

  libraries="$out/libtrident0_${version}_$architecture.deb $out/libtrident-dev_${version}_$architecture.deb
    $out/python3-trident-boards_${version}_all.deb"
  # shellcheck disable=SC2086
  sound $libraries
  clean "$architecture" "$libraries gcc libc6-dev pkgconf" libraries-in-clean-root.sh \
    "$project/models/demo/demo.gguf" "$project/models/demo/scenes/images/farm.jpg"

  file=$out/trident-$version-linux-$architecture.tar.xz
  echo "== $(basename "$file"): $(stat -c %s "$file") bytes"
  tar -C "$work" -xf "$file"
  texts "$work/trident-$version-linux-$architecture"
  clean "$architecture" xz-utils in-clean-root.sh "$file"
done
echo "packages and archives: $(($(echo "$architectures" | wc -w) * 4 + 1)) passed, 0 failed"
