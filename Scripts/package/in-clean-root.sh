#!/bin/sh
# in-clean-root.sh VERSION FILE: run by check.sh in a clean Debian that has the package FILE installed, or where the archive FILE is
# unpacked first: does it work, with no more than it needs, and does all of the package go again?
set -eu
version=$1 file=$2
work=$(mktemp -d)
foreign='^(.*swift.*|clang.*|gcc-[0-9]+|libopenblas.*)$'
case $file in
  *.deb)
    prefix=/usr
    dpkg --verify trident
    ;;
  *)
    prefix=/usr/local
    tar -C $prefix --strip-components 1 -xf "$file"
    foreign="$foreign|^lib(jpeg|png).*$"
    # Nothing of its own is asked of the system but the C library and gcc's.
    if ldd $prefix/bin/trident* | grep -Ev ':$|linux-vdso|ld-linux|lib(c|m|gcc_s)\.so'; then
      echo "the archive's programs need these"
      exit 1
    fi
    ;;
esac
if dpkg-query -W -f '${Package}\n' | grep -E "$foreign"; then
  echo "more than is needed is installed"
  exit 1
fi
share=$prefix/share/trident
for program in trident trident-quantize; do
  [ "$($program --version)" = "trident $version" ]
done
trident version | sed -n 's/^ *\(.*[^ ]\)  *chosen$/kernels: \1/p'
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

if [ $prefix = /usr ]; then sh /tmp/purge.sh trident; fi
echo "$(dpkg --print-architecture): works"
