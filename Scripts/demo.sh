#!/bin/sh
# Segments the shipped scenes with the shipped model and says where the pictures are.
set -eu
bin=$1
model=models/demo/demo.gguf
out=out/demo
mkdir -p "$out"
"$bin/trident" inspect "$model"
for photo in models/demo/scenes/images/*.jpg; do
  name=$(basename "$photo" .jpg)
  echo
  "$bin/trident" segment --model "$model" --classes models/demo/scenes/classes.txt "$photo" \
    --output "$out/$name.png" --overlay "$out/$name-overlay.png"
done
echo
echo "RADSeg, one network in place of three, on all 84 words at once:"
for photo in models/demo/scenes/images/*.jpg; do
  name=$(basename "$photo" .jpg)-radseg
  "$bin/trident" segment --model models/demo/radseg.gguf --vocabulary models/demo/words.tvoc --refine pamr "$photo" \
    --output "$out/$name.png" --overlay "$out/$name-overlay.png"
done
echo
echo "PnP-OVSS, a caption network, told what each scene shows:"
for photo in models/demo/scenes/images/*.jpg; do
  name=$(basename "$photo" .jpg)-pnp
  "$bin/trident" segment --model models/demo/blip.gguf --preset models/demo/blip.json --classes models/demo/scenes/classes.txt \
    --present models/demo/scenes/present.txt "$photo" --output "$out/$name.png" --overlay "$out/$name-overlay.png"
done
echo
echo "Pictures: $(pwd)/$out (NAME.png = labels, NAME.json = legend, NAME-overlay.png = labels over the photo; NAME-radseg: RADSeg's, NAME-pnp: PnP-OVSS's)"
echo "Words of your own: $bin/trident segment -m $model --class horse --class grass --class sky \\"
echo "    models/demo/scenes/images/farm.jpg -o labels.png --overlay overlay.png"
