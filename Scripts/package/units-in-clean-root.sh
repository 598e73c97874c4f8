#!/bin/sh
# units-in-clean-root.sh VERSION FILE: run by check.sh in a clean Debian that has systemd and the package FILE: its units are accepted
# with the programs at their places, stay disabled when it is installed again, and leave nothing behind.
set -eu
file=$2
# Packages then believe that systemd runs; systemctl itself notices that it is in a chroot.
mkdir -p /run/systemd/system
for unit in trident-serve.service trident-watch.service; do
  systemd-analyze verify --man=no "/usr/lib/systemd/system/$unit"
done
dpkg --install "$file" > /dev/null
for unit in trident-serve.service trident-watch.service; do
  [ "$(systemctl is-enabled "$unit")" = disabled ] || { echo "$unit is enabled"; exit 1; }
done
# What a first boot of an image does with units that nobody chose.
systemctl preset-all --preset-mode=enable-only > /dev/null 2>&1
[ "$(systemctl is-enabled trident-serve.service)" = disabled ] || { echo "presets enable the units"; exit 1; }
systemctl enable trident-serve.service trident-watch.service 2> /dev/null
dpkg --purge trident > /dev/null 2>&1
left=$(find / -xdev -name 'trident-*.service' -not -path '/proc/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
echo "units: accepted, disabled, gone with the package"
