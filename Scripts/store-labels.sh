#!/bin/sh
# Stores the labels of the shipped scenes anew, after a demo model or the numerics changed on purpose.
# Usage: store-labels.sh [TRIDENT]; DemoTests compares them with every CPU path.
set -eu
trident=${1:-.build/release/trident}
out=Tests/Fixtures/scene-labels
mkdir -p "$out"
"$trident" segment --model models/demo/demo.gguf --classes models/demo/scenes/classes.txt models/demo/scenes/images \
  --output "$out" --overwrite --no-cache
"$trident" segment --model models/demo/radseg.gguf --vocabulary models/demo/words.tvoc models/demo/scenes/images \
  --output "$out/radseg" --overwrite
"$trident" segment --model models/demo/blip.gguf --preset models/demo/blip.json --classes models/demo/scenes/classes.txt \
  --present models/demo/scenes/present.txt models/demo/scenes/images --output "$out/pnp" --overwrite
rm -f "$out"/*.json "$out"/radseg/*.json "$out"/pnp/*.json
