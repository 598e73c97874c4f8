# Read by the scripts that boot emulated ARM machines: a kernel to boot, a file system for it.
# shellcheck shell=bash disable=SC2154
need qemu-system-arm e2fsprogs cpio xz-utils python3
export PATH=$PATH:/usr/sbin
vm=$root/vm
mkdir -p "$vm"

# kernel FLAVOUR: Debian's newest kernel of that kind, and a first file system with busybox and the disk's modules.
kernel() {
  local flavour=$1 folder=$vm/$1 package module
  [ -e "$folder/complete" ] && return
  rm -rf "$folder"
  mkdir -p "$folder"/{initrd/bin,initrd/lib,initrd/proc,initrd/sys,initrd/dev,initrd/disk}
  mkdir -p "$root/var/lib/apt/lists/partial" "$root/tmp/vm"
  chroot "$root" apt-get -qq update
  package=$(chroot "$root" apt-cache depends "linux-image-$flavour:arm64" | sed -n 's/.*Depends: //p' | head -1)
  echo "kernel: $package"
  chroot "$root" sh -c "cd /tmp/vm && apt-get -qq download ${package%%:*}:arm64 busybox-static:arm64"
  dpkg-deb --fsys-tarfile "$root"/tmp/vm/linux-image-*.deb | tar -x -C "$folder" --wildcards './boot/vmlinuz*' \
    '*/virtio_blk.ko.xz' '*/ext4.ko.xz' '*/jbd2.ko.xz' '*/mbcache.ko.xz' '*/crc16.ko.xz' '*/crc32c_generic.ko.xz'
  dpkg-deb --fsys-tarfile "$root"/tmp/vm/busybox-static*.deb | tar -xO ./usr/bin/busybox > "$folder/initrd/bin/busybox"
  rm -r "$root/tmp/vm"
  find "$folder" -name '*.ko.xz' | while read -r module; do
    xz -dc "$module" > "$folder/initrd/lib/$(basename "$module" .xz)"
  done
  cat > "$folder/initrd/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in crc16 crc32c_generic mbcache jbd2 ext4 virtio_blk; do insmod /lib/$module.ko; done
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 -o ro /dev/vda /disk
for folder in dev proc sys; do mount --move /$folder /disk/$folder; done
exec switch_root /disk /init
INIT
  chmod +x "$folder"/initrd/init "$folder/initrd/bin/busybox"
  (cd "$folder/initrd" && find . | cpio -o -H newc --quiet | gzip -9 > ../initrd.gz)
  mv "$folder"/boot/vmlinuz* "$folder/vmlinuz"
  touch "$folder/complete"
}

# image FILE FOLDER: an ext4 file system of a folder.
image() {
  rm -f "$1"
  truncate -s $(($(du -sk "$2" | cut -f 1) * 5 / 4 + 8192))K "$1"
  mkfs.ext4 -q -F -O ^has_journal -b 4096 -d "$2" "$1"
}
