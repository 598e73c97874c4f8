#!/bin/bash
# build-on-board.sh [ROOT] [MEMORY, 1024] [JOBS, 4] [CPU, cortex-a72]: does `swift build -c release` work on a board of so many MB? Boots an
# emulated ARM machine (4 cores, no swap) whose disk is Debian 13 with its own Swift and our sources, builds there, and
# says how much private memory the processes took. By hand: takes hours, and 6 GB of disk. Needs what setup.sh and vm.sh made.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/machine.sh"
need mmdebstrap git
memory=${2:-1024} jobs=${3:-4} cpu=${4:-cortex-a72}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
files=$vm/board.files
packages="git make swiftlang pkgconf libpng-dev libjpeg-dev zlib1g-dev"
system="base-files bash dash coreutils sed grep mawk mount gzip tar busybox-static"

# Packages are unpacked only: none of what they set up is needed, and it would run under emulation.
if [ ! -e "$files/complete" ]; then
  rm -rf "$files"
  mmdebstrap --quiet --variant=extract --architectures=arm64 --include="$(echo "$packages $system" | tr -s ' ' ,)" \
    --setup-hook='cd "$1" && mkdir -p usr/bin usr/sbin usr/lib && ln -s usr/bin usr/sbin usr/lib .' \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --aptopt='Acquire::Check-Date "false"' trixie "$files" "$mirror"
  ln -s ../libexec/swift/bin/swift "$files/usr/bin/swift"
  ln -s mawk "$files/usr/bin/awk"
  mkdir -p "$files"/{dev,proc,sys,tmp,root,opt}
  cp -r "$root/opt/dependencies" "$files/opt/"
  cp "$root/etc/gitconfig" "$files/etc/"
  echo 'root:x:0:0:root:/root:/bin/sh' > "$files/etc/passwd"
  cp "$project/Scripts/arm/board-job.sh" "$files/init"
  chmod +x "$files/init"
  touch "$files/complete"
fi
rm -rf "$files/src"
mkdir "$files/src"
git -C "$project" ls-files -z | tar -C "$project" --exclude=docs --exclude=models --null -T - -c | tar -x -C "$files/src"

kernel arm64
image "$vm/board.img" "$files"
echo "== building on $cpu, 4 cores, $memory MB, -j $jobs"
qemu-system-aarch64 -M virt -cpu "$cpu" -smp 4 -m "$memory" -nographic -no-reboot -nic none \
  -kernel "$vm/arm64/vmlinuz" -initrd "$vm/arm64/initrd.gz" \
  -append "console=ttyAMA0 quiet panic=-1 nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 jobs=$jobs" \
  -drive file="$vm/board.img,if=none,id=a,format=raw,snapshot=on" -device virtio-blk-pci,drive=a \
  < /dev/null | stdbuf -oL tr -d '\r' | tee "$vm/board.log"
grep -q '^BUILD ENDED WITH 0$' "$vm/board.log"
