#!/bin/sh
# Measures the demo models on held-out scenes and writes the tables of docs/lab/accuracy.md. An ended run goes on where it stopped.
# Usage: [SCENES=300] [STUDY=100] [TABLES="radseg pnp"] [DATA=FOLDER] accuracy.sh [TRIDENT [MODEL]]
# SCENES: for INT8 beside float32; STUDY: for every other row; TABLES: those to write (all).
# DATA holds images/, labels/, classes.txt, present.txt; without it the scenes are made (needs python3 with numpy and Pillow, and the packages of models/demo/README.md).
set -eu
cd "$(dirname "$0")/.."
trident=${1:-.build/release/trident}
model=${2:-models/demo/demo.gguf}
scenes=${SCENES:-300}
study=${STUDY:-100}
data=${DATA:-out/accuracy/scenes}
page=docs/lab/accuracy.md
out=out/accuracy/$(sha256sum "$model" | cut -c1-12)
mkdir -p "$out"
if [ ! -f "$data/classes.txt" ]; then
  python3 models/demo/train/scenes.py --split test --count 300 --seed 20 --out "$data"
fi

# The network of a table and where its words come from.
network=$model
words="--classes $data/classes.txt"
# evaluate COUNT FLAGS...: means of the first COUNT scenes as "mIoU mAcc aAcc COUNT".
evaluate() {
  count=$1
  shift
  name=$(printf '%s' "$count $*" | tr -c 'a-zA-Z0-9.' '_')
  if [ "$network" != "$model" ]; then name=$(sha256sum "$network" | cut -c1-12)-$name; fi
  echo "$count scenes $*" >&2
  # $words are flags and their values.
  # shellcheck disable=SC2086
  "$trident" evaluate --model "$network" --images "$data/images" --labels "$data/labels" $words \
    --limit "$count" --results "$out/$name.txt" "$@" >"$out/$name.log"
  sed -n 's/^\(all \)*\([0-9]*\) .*: mIoU \([0-9.]*\), mAcc \([0-9.]*\), aAcc \([0-9.]*\)$/\3 \4 \5 \2/p' "$out/$name.log"
}

# row LABEL COUNT FLAGS...: a line of the table that is being written.
row() {
  if [ -z "$file" ]; then return; fi
  label=$1
  shift
  evaluate "$@" >"$out/means"
  read -r miou macc aacc count <"$out/means"
  echo "| $label | $miou | $macc | $aacc | $count |" >>"$file"
}

# table NAME FIRST_COLUMN: publishes the table before, and starts the file of a new one, if it is wanted.
file=
table() {
  publish
  file=
  case " ${TABLES:-$1} " in *" $1 "*) ;; *) return ;; esac
  file=$out/$1.part
  printf '| %s | mIoU | mAcc | aAcc | scenes |\n|---|---|---|---|---|\n' "$2" >"$file"
}

# publish: everything between <!-- NAME --> and <!-- end --> is replaced, where there is something new.
publish() {
  if [ -n "$file" ]; then mv "$file" "${file%.part}.md"; fi
  awk -v out="$out" '
    /^<!-- end -->$/ { skipping = 0 }
    !skipping { print }
    /^<!-- [a-z]+ -->$/ && $2 != "end" {
      while ((getline line < (out "/" $2 ".md")) > 0) {
        print line
        skipping = 1
      }
    }' "$page" >"$out/page.md"
  cp "$out/page.md" "$page"
}

table precision "arithmetic"
row "INT8" "$scenes" --report "$out/report.html"
row "float32" "$scenes" --precision float32
row "INT8, without refinement" "$scenes" --refine none

table correlation "what relates tokens (no refinement)"
row "nothing" "$study" --refine none --affinity none
row "cosine of SAM's values" "$study" --refine none --affinity cosine
row "SAM's attention" "$study" --refine none --affinity attention
row "affinity: attention where the cosine is high" "$study" --refine none
row "cosine, threshold factor 3" "$study" --refine none --affinity cosine --cos-factor 3

table parts "parts"
row "CLIP's own values, scores of windows averaged" "$study" --refine none --paradigm window --no-dino
row "+ DINO" "$study" --refine none --paradigm window
row "+ splice" "$study" --refine none --affinity none
row "+ SAM's affinity" "$study" --refine none
row "+ refinement (all of Trident)" "$study"
row "all but DINO" "$study" --no-dino

table attention "CLIP's last block (no refinement)"
row "DINO's features, beside SAM's affinity (Trident)" "$study" --refine none
for kind in self neighbour value; do
  row "\`$kind\`, beside SAM's affinity" "$study" --refine none --clip-attention "$kind"
done
row "\`global\`, beside SAM's affinity" "$study" --refine none --clip-attention global --global-blocks 3-4
row "Trident, class token mixed in, 0.1" "$study" --refine none --class-mix 0.1
# Nothing is published for six blocks: the levels are those of Benchmarks/absence.py.
alone="--method sc-clip --short-side 448"
# $alone is flags and their values.
# shellcheck disable=SC2086
{
  row "CLIP alone: calibrated (SC-CLIP)" "$study" $alone --low-block 3 --mid-block 5 --levels 5-5 --class-weight 0
  for kind in self neighbour value; do
    row "CLIP alone: \`$kind\`" "$study" $alone --clip-attention "$kind"
  done
  row "CLIP alone: \`global\`" "$study" $alone --clip-attention global --global-blocks 3-4
  row "CLIP alone: \`self\`, class token mixed in, 0.1" "$study" $alone --clip-attention self --class-mix 0.1
  row "the same, of each window" "$study" $alone --clip-attention self --class-mix 0.1 --class-mix-of window
}

table refinement "what mends the borders"
row "nothing" "$study" --refine none
row "SAM, region by region (Trident)" "$study"
row "PAMR" "$study" --refine pamr
row "bilateral" "$study" --refine bilateral
row "dense CRF" "$study" --refine crf
row "PAMR, and no SAM at all: \`--profile fast --refine pamr\`" "$study" --refine pamr --affinity none

table prompts "prompts of a region"
row "no refinement" "$study" --refine none
for kinds in point box mask point,box point,mask box,mask point,box,mask; do
  row "$kinds" "$study" --prompts "$kinds"
done

table alpha "alpha of the mask prompt"
for alpha in 0.0005 0.001 0.005 0.01 0.05 0.1 1; do
  row "$alpha" "$study" --mask-alpha "$alpha"
done

table resolution "short side, paradigm (no refinement)"
for side in 336 448 560 672; do
  row "$side, windows" "$study" --refine none --short-side "$side" --paradigm window
  row "$side, splice" "$study" --refine none --short-side "$side"
done

network=models/demo/radseg.gguf
words="--vocabulary models/demo/words.tvoc"
table radseg "RADSeg"
row "INT8" "$scenes"
row "float32" "$scenes" --precision float32
row "INT8" "$study"
row "PAMR" "$study" --refine pamr
row "bilateral" "$study" --refine bilateral
row "dense CRF" "$study" --refine crf
row "SAM's decoder (RADSeg+)" "$study" --refine sam
row "sides to the patch" "$study" --round-sides patch
row "one pass, no windows" "$study" --windows none

network=models/demo/blip.gguf
untold="--preset models/demo/blip.json --classes $data/classes.txt"
words="$untold --present $data/present.txt"
table pnp "PnP-OVSS"
row "INT8" "$scenes"
row "float32" "$scenes" --precision float32
row "INT8" "$study"
row "no refinement" "$study" --refine none
row "PAMR" "$study" --refine pamr
row "one round" "$study" --rounds 1
row "the head that was not taught" "$study" --attention-head 1
words=$untold
row "the demo's Trident says what is there" "$study" --presence-model "$model"
row "the network itself says it" "$study" --presence match
publish

if [ -n "${TABLES:-}" ]; then exit; fi
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
path=$("$trident" version | awk '$2 == "chosen" { print $1 }')
file=$out/how.part
cat >"$file" <<EOF
Command: \`SCENES=$scenes STUDY=$study Scripts/accuracy.sh\`. Machine: $(nproc) cores, ${cpu:-$(uname -m)}, path \`$path\`.
Model: \`$model\`, SHA-256 $(basename "$out")….
EOF

publish
echo "$page is written; the worst scenes are in $out/report.html" >&2
