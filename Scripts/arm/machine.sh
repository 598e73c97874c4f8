# Read by the scripts that boot emulated ARM machines: a kernel to boot, a file system for it.
# shellcheck shell=bash disable=SC2154
need qemu-system-arm e2fsprogs cpio xz-utils python3
# Linux's test camera "vivid" and what it stands on, in the order in which they are loaded.
camera_modules="mc videodev rc-core cec v4l2-dv-timings videobuf2-common videobuf2-memops videobuf2-v4l2 videobuf2-vmalloc \
videobuf2-dma-contig v4l2-tpg vivid"
export PATH=$PATH:/usr/sbin
vm=$root/vm
mkdir -p "$vm"

# kernel FLAVOUR: Debian's newest kernel of that kind, and a first file system with busybox and the disk's modules.
kernel() {
  local flavour=$1 folder=$vm/$1 package module wanted
  [ -e "$folder/ready" ] && return
  rm -rf "$folder"
  mkdir -p "$folder"/{initrd/bin,initrd/lib,initrd/proc,initrd/sys,initrd/dev,initrd/disk}
  mkdir -p "$root/var/lib/apt/lists/partial" "$root/tmp/vm"
  chroot "$root" apt-get -qq update
  package=$(chroot "$root" apt-cache depends "linux-image-$flavour:arm64" | sed -n 's/.*Depends: //p' | head -1)
  echo "kernel: $package"
  chroot "$root" sh -c "cd /tmp/vm && apt-get -qq download ${package%%:*}:arm64 busybox-static:arm64"
  wanted=(./boot/vmlinuz*)
  for module in virtio_blk ext4 jbd2 mbcache crc16 crc32c_generic $camera_modules; do wanted+=("*/$module.ko.xz"); done
  dpkg-deb --fsys-tarfile "$root"/tmp/vm/linux-image-*.deb | tar -x -C "$folder" --wildcards "${wanted[@]}"
  dpkg-deb --fsys-tarfile "$root"/tmp/vm/busybox-static*.deb | tar -xO ./usr/bin/busybox > "$folder/initrd/bin/busybox"
  rm -r "$root/tmp/vm"
  find "$folder" -name '*.ko.xz' | while read -r module; do
    xz -dc "$module" > "$folder/initrd/lib/$(basename "$module" .xz)"
  done
  cat > "$folder/initrd/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in crc16 crc32c_generic mbcache jbd2 ext4 virtio_blk; do insmod /lib/\$module.ko; done
case \$(cat /proc/cmdline) in *job=camera*)
  for module in $camera_modules; do
    settings=
    [ \$module = vivid ] && settings="n_devs=1 node_types=1"
    insmod /lib/\$module.ko \$settings
  done
esac
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 -o ro /dev/vda /disk
for folder in dev proc sys; do mount --move /\$folder /disk/\$folder; done
exec switch_root /disk /init
INIT
  chmod +x "$folder"/initrd/init "$folder/initrd/bin/busybox"
  (cd "$folder/initrd" && find . | cpio -o -H newc --quiet | gzip -9 > ../initrd.gz)
  mv "$folder"/boot/vmlinuz* "$folder/vmlinuz"
  touch "$folder/ready"
}

# image FILE FOLDER: an ext4 file system of a folder.
image() {
  rm -f "$1"
  truncate -s $(($(du -sk "$2" | cut -f 1) * 5 / 4 + 8192))K "$1"
  mkfs.ext4 -q -F -O ^has_journal -b 4096 -d "$2" "$1"
}
