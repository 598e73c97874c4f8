#!/bin/sh
# Run by check.sh in a clean Debian that has the package: does what was installed work, and does all of it go again?
set -eu
share=/usr/share/trident
work=$(mktemp -d)
if dpkg-query -W -f '${Package}\n' | grep -E '^(.*swift.*|clang.*|gcc-[0-9]+|libopenblas.*)$'; then
  echo "more than the package's dependencies is installed"
  exit 1
fi
dpkg --verify trident
trident version | head -n 1
trident-quantize --help > /dev/null
trident verify "$share/demo.gguf" > /dev/null
trident segment --model "$share/demo.gguf" --classes "$share/classes.txt" "$share/demo.jpg" --quiet \
  --output "$work/labels.png" --overlay "$work/overlay.png"
test -s "$work/labels.png" -a -s "$work/overlay.png"

# What the beach is made of, in truth: 27 % sky, 20 % sand, 37 % water.
awk -F'[:,] *' '
  /"name"/ { name = $2; gsub("\"", "", name) }
  /"share"/ { share[name] = $2 }
  END {
    printf "sky %.3f, sand %.3f, water %.3f\n", share["sky"], share["sand"], share["water"]
    exit !(share["sky"] > 0.22 && share["sky"] < 0.32 && share["sand"] > 0.15 && share["sand"] < 0.25 &&
      share["water"] > 0.32 && share["water"] < 0.42)
  }' "$work/labels.json"
for file in /usr/share/bash-completion/completions/trident*; do bash -n "$file"; done

dpkg -L trident | grep trident > "$work/files"
dpkg --purge trident > /dev/null
while read -r file; do
  if [ -e "$file" ]; then
    echo "$file is left behind"
    exit 1
  fi
done < "$work/files"
echo "$(dpkg --print-architecture): installed, segmented, removed"
