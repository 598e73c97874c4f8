#!/bin/sh
# purge.sh PACKAGE...: run in a clean Debian by the scripts beside it: takes packages away; nothing of theirs may stay.
set -eu
files=$(dpkg -L "$@" | grep trident)
dpkg --purge "$@" > /dev/null
for file in $files; do
  if [ -e "$file" ]; then
    echo "$file is left behind"
    exit 1
  fi
done
