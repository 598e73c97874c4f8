#!/bin/bash
# check.sh [amd64|arm64|both]: installs the packages of out/packages in a clean Debian 13 of each architecture (ARM through
# qemu-user), with nothing but their dependencies, segments the demo photo there and removes them again; lintian before that.
# The clean systems are in TMPDIR while they live. Needs root; the machine's own table of emulators is left alone.
set -euo pipefail
. "$(dirname "$0")/../arm/common.sh" ""
architectures=${1:-both}
[ "$architectures" = both ] && architectures="amd64 arm64"
need mmdebstrap arch-test qemu-user-static lintian
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

for architecture in $architectures; do
  package=$(ls "$out"/trident_*_"$architecture".deb)
  echo "== $(basename "$package"): $(stat -c %s "$package") bytes"
  dpkg-deb --field "$package" Depends Installed-Size
  lintian --fail-on error --allow-root --tag-display-limit 0 "$package"
  run=""
  [ "$architecture" = arm64 ] && run=emulating
  # The package is installed by mmdebstrap itself: apt works from outside, so that the system needs no way out.
  $run mmdebstrap --quiet --mode=unshare --architectures="$architecture" --variant=apt --format=null \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --aptopt='Acquire::Check-Date "false"' --hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount \
    --include="$package" --customize-hook="copy-in '$project/Scripts/package/in-clean-root.sh' /tmp" \
    --customize-hook='chroot "$1" sh /tmp/in-clean-root.sh' trixie - "$mirror"
done
echo "packages: $(echo $architectures | wc -w) passed, 0 failed"
