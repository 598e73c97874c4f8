#!/bin/sh
# The pictures of README.md: overlays as the program writes them, of two shipped scenes.
# Usage: make_demo.sh TRIDENT, in the project's folder.
set -eu
trident=${1:?usage: make_demo.sh TRIDENT}
demo=models/demo
overlay() { # SCENE FLAG...
  scene=$1
  shift
  "$trident" segment --model $demo/demo.gguf --classes $demo/scenes/classes.txt $demo/scenes/images/"$scene".jpg \
    --overlay docs/images/"$scene".jpg --overlay-size 480 --quiet "$@"
}
overlay farm --legend inside
overlay street --legend beside
