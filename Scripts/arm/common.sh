# Read by the scripts of this folder: where things are, and how to enter the root that setup.sh made.
# shellcheck shell=bash disable=SC2034
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
root=${1:-${ARM_ROOT:-$project/.build-arm/root}}
mkdir -p "$root"
root=$(cd "$root" && pwd)
scenes=$project/models/demo/scenes
version=$(sed -n 's/.*static let version = "\(.*\)"/\1/p' "$project/Sources/Segmentation/Library.swift")

# need PACKAGE...: installs what is missing.
need() {
  local missing="" package
  for package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -z "$missing" ] && return
  echo "installing:$missing"
  apt-get update -qq || true
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -o DPkg::Lock::Timeout=120 -y -qq --no-install-recommends $missing > /dev/null
}

# inside COMMAND...: runs it in the root, in the project's folder. Mounts are private and end with the command.
inside() {
  unshare -m bash -c '
    root=$1 project=$2; shift 2
    mount --bind "$project" "$root/src" && mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
    exec chroot "$root" env -i HOME=/root PATH=/usr/bin:/bin:/usr/sbin LANG=C.UTF-8 \
      sh -c "cd /src && exec \"\$@\"" sh "$@"' bash "$root" "$project" "$@"
}

# emulated CPU PROGRAM...: runs an ARM program of the root as on that processor, half an hour at most.
emulated() {
  local cpu=$1
  shift
  inside env LD_LIBRARY_PATH=/opt/swift-arm64/usr/libexec/swift/lib/swift/linux \
    timeout 1800 qemu-aarch64-static -cpu "$cpu" "$@"
}

# x86_labels SCENE LABELS: what the program says as built for this machine by the same compiler.
x86_labels() {
  inside /build/amd64/release/trident segment --model models/demo/demo.gguf --no-cache --quiet \
    --classes models/demo/scenes/classes.txt "models/demo/scenes/images/$1.jpg" --output /tmp/labels.png
  mv "$root/tmp/labels.png" "$2"
  rm -f "$root/tmp/labels.json"
}
