#!/bin/bash
# check.sh [amd64|arm64|both]: installs the packages of out/packages in a clean Debian 13 of each architecture (ARM through
# qemu-user), with nothing but their dependencies, segments the demo photo there, removes them, and runs lintian.
# The clean systems are in TMPDIR while they live. Needs root; the machine's own table of emulators is left alone.
set -euo pipefail
. "$(dirname "$0")/../arm/common.sh"
architectures=${1:-both}
[ "$architectures" = both ] && architectures="amd64 arm64"
need mmdebstrap arch-test qemu-user-static
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
out=$project/out/packages

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

# clean ARCHITECTURE HOOK...: a Debian 13 with the package, gone again at the end.
clean() {
  local hook hooks=() run=""
  [ "$1" = arm64 ] && run=emulating
  for hook in "${@:2}"; do hooks+=("--customize-hook=$hook"); done
  $run mmdebstrap --quiet --mode=unshare --architectures="$1" --variant=apt --format=null \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --aptopt='Acquire::Check-Date "false"' "${hooks[@]}" trixie - "$mirror"
}

install='APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get install -y -qq'
for architecture in $architectures; do
  package=$(ls "$out"/trident_*_"$architecture".deb)
  echo "== $(basename "$package"): $(stat -c %s "$package") bytes"
  dpkg-deb --field "$package" Depends Installed-Size
  hooks=(
    "copy-in '$package' '$project/Scripts/package/in-clean-root.sh' /tmp"
    "$install \"\$1/tmp/$(basename "$package")\" >/dev/null"
    "chroot \"\$1\" sh /tmp/in-clean-root.sh"
  )
  # lintian looks at files only, so the native system does it for all.
  if [ "$architecture" = amd64 ]; then
    hooks+=("copy-in $(ls "$out"/trident_*.deb | tr '\n' ' ') /tmp" "$install lintian >/dev/null"
      "chroot \"\$1\" sh -c 'lintian --fail-on error --allow-root --tag-display-limit 0 /tmp/*.deb'")
  fi
  clean "$architecture" "${hooks[@]}"
done
echo "packages: $(echo $architectures | wc -w) passed, 0 failed"
