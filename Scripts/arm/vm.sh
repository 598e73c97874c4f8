#!/bin/bash
# vm.sh [ROOT] [--camera | --full MODEL PHOTO WORDS.tvoc]: runs the ARM program in emulated ARM machines (QEMU's "virt",
# 4 cores, no swap, Debian's kernel): the demo model on a shipped scene with 512 MB and 256 MB, with 512 MB and pages of
# 16 KiB, with faults of weak boards (full card, unreadable blocks, files cut short), and watching the camera that Linux's
# test driver "vivid" plays, until it is unplugged. Labels are compared with x86-64's, peak memory with limits. --camera runs
# the last of these alone; --full runs one big model in the 512 MB machine instead; that takes half an hour.
# Needs what test.sh built. Emulated time says nothing about a board.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/machine.sh"

# disk NAME MODEL PHOTO WORDS: the file system NAME.img, with just the libraries that the program names.
disk() {
  local files=$vm/$1.files needed library name
  rm -rf "$files"
  mkdir -p "$files"/{bin,dev,proc,sys,tmp,root,app,lib/swift}
  cp "$vm/arm64/initrd/bin/busybox" "$files/bin/"
  needed=$(emulated max /lib/ld-linux-aarch64.so.1 --list /build/arm64/release/trident | grep -o '/[^ ]*')
  for library in $needed; do
    case $library in
      /opt/*) cp -L "$root$library" "$files/lib/swift/" ;;
      *) mkdir -p "$files/$(dirname "$library")"; cp -L "$root$library" "$files$library" ;;
    esac
  done
  cp "$root/build/arm64/release/trident" "$project/Scripts/arm/vm-job.sh" "$files/app/"
  cp "$2" "$files/app/model.gguf"
  cp "$3" "$files/app/photo.jpg"
  cp "$4" "$files/app/words"
  printf '#!/bin/busybox sh\nmount -t tmpfs tmpfs /tmp\n%s\npoweroff -f\n' \
    '/bin/sh /app/vm-job.sh' > "$files/init"
  chmod +x "$files/init"
  for name in $(emulated max "/vm/$1.files/bin/busybox" --list | grep -vx busybox); do
    ln -s busybox "$files/bin/$name"
  done
  image "$vm/$1.img" "$files"
}

# A disk with a model and a photo whose middle block cannot be read; prints QEMU's options for it.
bad_disk() {
  local folder=$vm/bad name number=0 blocks
  rm -rf "$folder"
  mkdir "$folder"
  cp "$project/models/demo/demo.gguf" "$folder/model.gguf"
  cp "$scenes/images/street.jpg" "$folder/photo.jpg"
  image "$vm/bad.img" "$folder"
  echo "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=$vm/bad.img"
  for name in model.gguf photo.jpg; do
    # shellcheck disable=SC2207
    blocks=($(debugfs -R "blocks /$name" "$vm/bad.img" 2> /dev/null))
    echo ",file.inject-error.$number.event=read_aio,file.inject-error.$number.errno=5,file.inject-error.$number.once=off"
    echo ",file.inject-error.$number.sector=$((blocks[${#blocks[@]} / 2] * 8))"
    number=$((number + 1))
  done
}

# boot NAME FLAVOUR CPU MEMORY DISK JOB SECONDS: runs the machine; its console is NAME.log, its results the folder NAME.
boot() {
  local name=$1 kernel=$vm/$2 cpu=$3 memory=$4 disk=$5 job=$6 seconds=$7 bad=driver=null-co
  echo "== $name: $cpu, 4 cores, $memory MB"
  rm -rf "${vm:?}/$name" "$vm/$name.results"
  mkdir "$vm/$name"
  truncate -s 16M "$vm/$name.results"
  if [ "$job" = faults ]; then bad=$(bad_disk | tr -d '\n'); fi
  timeout "$seconds" qemu-system-aarch64 -M virt -cpu "$cpu" -smp 4 -m "$memory" -nographic -no-reboot -nic none \
    -rtc base=1970-01-01T00:00:00 -kernel "$kernel/vmlinuz" -initrd "$kernel/initrd.gz" \
    -append "console=ttyAMA0 quiet panic=-1 nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 job=$job" \
    -drive file="$vm/$disk.img,if=none,id=a,format=raw,readonly=on" -device virtio-blk-pci,drive=a \
    -drive file="$vm/$name.results,if=none,id=b,format=raw" -device virtio-blk-pci,drive=b \
    -drive "$bad,if=none,id=c" -device virtio-blk-pci,drive=c \
    < /dev/null | stdbuf -oL tr -d '\r' | tee "$vm/$name.log"
  grep -q '^JOB ENDED WITH 0$' "$vm/$name.log"
  tar -x -C "$vm/$name" -f "$vm/$name.results"
}

# within NAME KEY LIMIT: a figure of the log, in KiB, is at most so many MiB.
within() {
  local found
  found=$(sed -n "s/^$2 \([0-9]*\) KiB/\1/p" "$vm/$1.log")
  echo "$2 $((found / 1024)) MiB of at most $3"
  [ "$found" -gt 0 ] && [ "$found" -le $(($3 * 1024)) ]
}

# Frames of a real driver, Linux's test camera: its colour bars, as raw pixels of every form, and its end.
camera() {
  local form
  boot camera arm64 max 512 demo camera 900
  for form in YUYV UYVY NV12 YU12 RGB3 BGR3; do python3 "$project/Scripts/check_bars.py" "$vm/camera/$form.png"; done
  python3 "$project/Scripts/check_bars.py" --grey "$vm/camera/GREY.png"
}

kernel arm64
if [ "${2:-}" = --full ]; then
  disk full "$3" "$4" "$5"
  boot full arm64 cortex-a72 512 full full 14400
  within full VmHWM 96
  within full RssAnon 56
  exit
fi
disk demo "$project/models/demo/demo.gguf" "$scenes/images/street.jpg" "$scenes/classes.txt"
if [ "${2:-}" = --camera ]; then
  camera
  exit
fi
kernel arm64-16k
x86_labels street "$vm/street.png"
for run in "512MB arm64 cortex-a72 512" "256MB arm64 cortex-a72 256" "16KiB-pages arm64-16k cortex-a76 512"; do
  name=${run%% *}
  # shellcheck disable=SC2086
  boot $run demo scene 3600
  python3 "$project/Scripts/arm/compare-labels.py" "$vm/street.png" "$vm/$name/labels.png"
  within "$name" VmHWM 32
  within "$name" RssAnon 16
done
boot faults arm64 cortex-a72 256 demo faults 3600
camera
