#!/bin/sh
# Pictures of README.md and docs/colours.md: overlays as the program writes them, of the shipped scenes; with Pillow also
# what deuteranopes see of them. Usage: make_demo.sh TRIDENT [PYTHON], in the project's folder.
set -eu
trident=${1:?usage: make_demo.sh TRIDENT [PYTHON]}
python=${2:-python3}
demo=models/demo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
overlay() { # SCENE CLASSES OUT FLAG...
  scene=$1 classes=$2 out=$3
  shift 3
  "$trident" segment --model $demo/demo.gguf --classes "$classes" $demo/scenes/images/"$scene".jpg \
    --overlay "$out" --quiet "$@"
}
overlay farm $demo/scenes/classes.txt docs/images/farm.jpg --overlay-size 480 --legend inside
overlay street $demo/scenes/classes.txt docs/images/street.jpg --overlay-size 480 --legend beside

"$python" -c 'import PIL' 2>/dev/null || { echo "without Pillow: no simulation" && exit 0; }
# Words of three scenes, which are 21, and of the model's 84 every one that is in a scene, with others up to 60.
cat >"$work/21.txt" <<'WORDS'
sky
airplane
water
boat
umbrella
sand
crab
soccer ball
tree
house
horse
grass
sheep
duck
brick
road
bicycle
bus
car
dog
cat
WORDS
sort -u "$work/21.txt" $demo/scenes/classes.txt >"$work/seen"
sed 's/;.*//' $demo/words.txt | grep -vxFf "$work/seen" | head -n $((60 - $(wc -l <"$work/seen"))) |
  cat "$work/seen" - | sort >"$work/60.txt"
pictures() { # COUNT SCENE...
  count=$1
  shift
  for scene; do
    overlay "$scene" "$work/$count.txt" "$work/$scene-$count.png" --overlay-size 400 --legend inside --refine pamr
    set -- "$@" "$work/$scene-$count.png"
    shift
  done
  "$python" docs/images/eyes.py "docs/images/eyes-$count.jpg" 3 "$@"
}
pictures 21 beach farm street
pictures 60 beach farm music street table winter
