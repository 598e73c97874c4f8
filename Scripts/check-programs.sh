#!/bin/sh
# Runs the real programs end to end: results, exit codes, memory promises, no litter.
# Usage: check-programs.sh FOLDER_OF_PROGRAMS
# Commands, flags and words stand in variables and are split on purpose.
# shellcheck disable=SC2086
set -u
bin=${1:?usage: check-programs.sh FOLDER_OF_PROGRAMS}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.." || exit 2
golden=Tests/Fixtures/golden
work=$(mktemp -d) || exit 2
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export XDG_CACHE_HOME="$work/cache"
unset TRIDENT_MEMORY_LIMIT TRIDENT_CPU TRIDENT_MODEL
passed=0
failed=0
skipped=0

pass() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  echo "FAILED: $*"
  if [ -s "$work/log" ]; then tail -n 3 "$work/log" | sed 's/^/    /'; fi
}
skip() {
  skipped=$((skipped + 1))
  echo "skipped: $*"
}

# expect CODE NAME COMMAND...: the command ends with CODE, and says why unless it is 0.
expect() {
  code=$1
  name=$2
  shift 2
  "$@" >"$work/log" 2>&1
  got=$?
  if [ "$got" -ne "$code" ]; then
    fail "$name: exit code $got, not $code"
  elif [ "$code" -ne 0 ] && [ ! -s "$work/log" ]; then
    fail "$name: no message"
  else
    pass
  fi
}

# check NAME COMMAND...: the command succeeds.
check() {
  name=$1
  shift
  if "$@" >"$work/log" 2>&1; then pass; else fail "$name"; fi
}

# said NAME PATTERN: the command before said so.
said() { if grep -q "$2" "$work/log"; then pass; else fail "$1"; fi; }

# Only the named files are in a folder.
only() {
  folder=$1
  shift
  have=$(ls -A "$folder" | sort | tr '\n' ' ')
  want=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
  [ "$have" = "$want" ] && return 0
  echo "$folder holds: $have instead of: $want"
  return 1
}

# The first bytes of a file, as text without control characters.
starts() { [ "$(head -c 8 "$1" | LC_ALL=C tr -cd '[:upper:]')" = "$2" ]; }
empty() { [ -z "$(ls -A "$1")" ]; }
absent() { [ ! -e "$1" ]; }
size() { wc -c <"$1" | tr -d ' '; }

make_toy() {
  for name in clip.pt dino.pth sam.pth; do gzip -dc "$golden/toy-b/$name.gz" >"$work/$name" || return 1; done
  expect 0 "quantize" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dino.pth" \
    --sam "$work/sam.pth" --vocab "$golden/toy-b/vocab.txt.gz" --output "$toy" --quiet
  expect 0 "quantize CLIP alone" "$bin/trident-quantize" --clip "$work/clip.pt" --vocab "$golden/toy-b/vocab.txt.gz" \
    --output "$work/alone.gguf" --quiet
  expect 0 "quantize again" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dino.pth" \
    --sam "$work/sam.pth" --vocab "$golden/toy-b/vocab.txt.gz" --output "$work/again.gguf" --quiet
  check "same inputs, same bytes" cmp "$toy" "$work/again.gguf"
  rm -f "$work/again.gguf"
  expect 0 "quantize CLIP alone" "$bin/trident-quantize" --clip "$work/clip.pt" --vocab "$golden/toy-b/vocab.txt.gz" \
    --output "$work/clip.gguf" --quiet
  rm -f "$work/clip.gguf"
  make_halves
  head -c 3000 "$work/clip.pt" >"$work/short.pt"
  expect 4 "truncated checkpoint" "$bin/trident-quantize" --clip "$work/short.pt" --dino "$work/dino.pth" \
    --sam "$work/sam.pth" --vocab "$golden/toy-b/vocab.txt.gz" --output "$work/none.gguf" --quiet
  check "no model from a truncated checkpoint" absent "$work/none.gguf"
  expect 2 "a model in the place of a checkpoint" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dino.pth" \
    --sam "$work/sam.pth" --vocab "$golden/toy-b/vocab.txt.gz" --output "$work/./sam.pth" --overwrite --quiet
}

# DINOv2 in DINO's place: both publishers' names, the fast profile, a window that does not fit.
check_dinov2() {
  gzip -dc "$golden/toy-dinov2-g/dino.pth.gz" >"$work/dinov2.pth"
  gzip -dc "$golden/toy-dinov2-hf/dino.safetensors.gz" >"$work/dinov2.safetensors"
  set -- --sam "$work/sam.pth" --vocab "$golden/toy-b/vocab.txt.gz" --output "$work/dinov2.gguf" --overwrite --quiet
  expect 0 "quantize DINOv2, Hugging Face's names" "$bin/trident-quantize" --clip "$work/clip.pt" \
    --dino "$work/dinov2.safetensors" "$@"
  expect 0 "inspect it" "$bin/trident" inspect "$work/dinov2.gguf"
  said "its rule of positions" "positions by size"
  expect 2 "a rule that is none" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dinov2.pth" \
    --dino-positions table "$@"
  expect 4 "a rule for DINO" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dino.pth" --dino-positions size "$@"
  said "what the flag is for" "is for DINOv2"
  expect 0 "quantize DINOv2, the hub's names" "$bin/trident-quantize" --clip "$work/clip.pt" --dino "$work/dinov2.pth" "$@"
  expect 0 "verify it" "$bin/trident" verify "$work/dinov2.gguf" --quiet
  expect 0 "inspect it" "$bin/trident" inspect "$work/dinov2.gguf" --json
  said "its registers" '"registers": 4'
  set -- --model "$work/dinov2.gguf" --class cat --class sofa --class tree --short-side 160 --stride 64 --quiet
  expect 2 "a window that is no multiple of both patches" "$bin/trident" segment "$@" --window 160 \
    --output "$work/dinov2.png" "$golden/toy-b/photo.png"
  said "which windows fit" "112 or 224 is"
  expect 0 "segment with DINOv2" "$bin/trident" segment "$@" --window 112 --output "$work/dinov2.png" "$golden/toy-b/photo.png"
  expect 0 "the fast profile with DINOv2" "$bin/trident" segment "$@" --window 112 --profile fast \
    --output "$work/dinov2-fast.png" "$golden/toy-b/photo.png"
  expect 0 "measure with DINOv2" "$bin/trident" measure "$@" --window 112 --profile fast "$golden/toy-b/photo.png"
}

# BLIP: texts beside a photo, and PnP-OVSS.
check_pnp() {
  pnp=Tests/Fixtures/golden-pnp
  gzip -dc "$pnp/blip-toy.pth.gz" >"$work/blip.pth"
  expect 4 "BLIP without a word list" "$bin/trident-quantize" --blip "$work/blip.pth" --output "$work/blip.gguf" --quiet
  said "which flag names the word list" "name it with --vocab"
  expect 2 "BLIP with CLIP" "$bin/trident-quantize" --blip "$work/blip.pth" --clip "$work/clip.pt" \
    --output "$work/blip.gguf" --quiet
  expect 0 "quantize BLIP" "$bin/trident-quantize" --blip "$work/blip.pth" --vocab "$pnp/vocab.txt" \
    --output "$work/blip.gguf" --quiet
  expect 0 "verify BLIP" "$bin/trident" verify "$work/blip.gguf" --quiet
  expect 0 "inspect BLIP" "$bin/trident" inspect "$work/blip.gguf"
  said "its text tower" "bert"
  expect 0 "match" "$bin/trident" match --model "$work/blip.gguf" --side 96 --quiet "$pnp/match/photo.png" \
    "a zebra on the sofa" "the water"
  said "a line a text" "the water"
  expect 2 "match: a side that is no multiple of the patch" "$bin/trident" match --model "$work/blip.gguf" --side 100 \
    --quiet "$pnp/match/photo.png" "the water"
  expect 4 "match needs BLIP" "$bin/trident" match --model "$toy" --quiet "$pnp/match/photo.png" "the water"
  set -- --short-side 144 --attention-layer 2 --attention-head 2 --quiet
  names="--class background --class cat --class sofa --class water --background"
  expect 0 "segment by PnP-OVSS" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --json \
    --output "$work/pnp.png" "$pnp/plain/photo.png"
  said "what was found" '"rule": "match"'
  expect 2 "a rule of presence where it is told" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --presence all \
    --present cat,water --output "$work/no.png" "$pnp/plain/photo.png"
  said "that it is useless" "leave it out"
  expect 2 "no rule of absence" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --absent purify \
    --output "$work/no.png" "$pnp/plain/photo.png"
  said "what there is instead" "means nothing to --method pnp-ovss; --presence match"
  expect 0 "with the classes named" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --present cat,water --json \
    --refine none --output "$work/given.png" "$pnp/plain/photo.png"
  said "who named them" '"rule": "given"'
  echo "photo.png: cat, water" >"$work/present.txt"
  expect 0 "from a list" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --present "$work/present.txt" \
    --refine none --output "$work/listed.png" "$pnp/plain/photo.png"
  check "the same labels" cmp "$work/given.png" "$work/listed.png"
  expect 0 "PnP-OVSS: words that are one text" "$bin/trident" segment --model "$work/blip.gguf" --class cat --class Cat "$@" \
    --output "$work/pnp.png" --overwrite "$pnp/plain/photo.png"
  said "words that are one text to BLIP" "are one text to the model"
  tar -C "$pnp/plain" -cf "$work/pnp.tar" photo.png
  expect 2 "an archive in the place of the list" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" \
    --present "$work/present.txt" --tar "$work/pnp.tar" --tar-output "$work/present.txt" --overwrite
  said "what it would replace" "would replace the input"
  expect 0 "classes that another model finds" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" \
    --presence-model models/demo/demo.gguf --json --refine none --output "$work/found.png" "$pnp/plain/photo.png"
  python3 - "$work/log" <<'END' >"$work/found.txt" || fail "--presence-model: what was found"
import json, sys
found = json.load(open(sys.argv[1]))["presence"]
there = [one for one in found["classes"] if one["present"]]
assert found["rule"] == "model" and there and len(found["classes"]) > len(there), found
for one in found["classes"]:
    assert (one["share"] >= 0.005) == one["present"] or len(there) == 1, found
print(",".join(one["name"] for one in there))
END
  expect 0 "the same, said by the user" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" \
    --present "$(cat "$work/found.txt")" --refine none --output "$work/said.png" "$pnp/plain/photo.png"
  cmp -s "$work/found.png" "$work/said.png" || fail "--presence-model: other labels than with --present"
  expect 0 "plan with another model" "$bin/trident" plan --model "$work/blip.gguf" $names --short-side 96 \
    --attention-layer 2 --attention-head 2 --presence-model models/demo/demo.gguf
  said "both runs are planned" "clip "
  expect 2 "present twice" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --present cat \
    --presence-model models/demo/demo.gguf --output "$work/no.png" "$pnp/plain/photo.png"
  expect 2 "another model for Trident" "$bin/trident" segment --model models/demo/demo.gguf --class cat \
    --presence-model models/demo/demo.gguf --output "$work/no.png" "$pnp/plain/photo.png"
  expect 2 "PnP-OVSS asked by itself" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" \
    --presence-model "$work/blip.gguf" --output "$work/no.png" "$pnp/plain/photo.png"
  expect 2 "a name that is no class's" "$bin/trident" segment --model "$work/blip.gguf" $names "$@" --present dog \
    --output "$work/no.png" "$pnp/plain/photo.png"
  expect 2 "--present for another method" "$bin/trident" segment --model "$toy" --class cat --class dog --present cat \
    --quiet --output "$work/no.png" "$pnp/plain/photo.png"
  expect 0 "plan of PnP-OVSS" "$bin/trident" plan --model "$work/blip.gguf" --classes 30 --short-side 96 \
    --attention-layer 2 --attention-head 1
  check "no labels after refusals" absent "$work/no.png"
}

# CLIP's towers in files of their own give what one file gives.
make_halves() {
  set -- --clip "$work/clip.pt" --quiet
  expect 0 "quantize CLIP without text" "$bin/trident-quantize" "$@" --without-text --output "$work/image.gguf"
  expect 0 "quantize CLIP's text" "$bin/trident-quantize" "$@" --text-only --vocab "$golden/toy-b/vocab.txt.gz" \
    --output "$work/text.gguf"
  expect 2 "both halves" "$bin/trident-quantize" "$@" --without-text --text-only --output "$work/none.gguf"
  expect 2 "text with SAM" "$bin/trident-quantize" "$@" --text-only --sam "$work/sam.pth" --output "$work/none.gguf"
  expect 0 "text by the text half" "$bin/trident" text --model "$work/text.gguf" --class cat --class wall \
    --output "$work/halves.tvoc" --quiet
  set -- --short-side 112 --window 112 --stride 56 --low-block 1 --mid-block 2 --levels 1-2 --class-weight 0.3 --quiet
  # A vocabulary brings no neutral phrases.
  expect 0 "one file" "$bin/trident" segment --model "$work/alone.gguf" --class cat --class wall --absent keep "$@" \
    --output "$work/whole.png" "$golden/toy-b/photo.png"
  expect 0 "the image half" "$bin/trident" segment --model "$work/image.gguf" --vocabulary "$work/halves.tvoc" "$@" \
    --output "$work/halves.png" "$golden/toy-b/photo.png"
  check "halves give what one file gives" cmp "$work/whole.png" "$work/halves.png"
  last=$work/last.png
  other="--short-side 112 --window 112 --stride 56 --quiet --clip-attention"
  for kind in self neighbour value "global --global-blocks 1-2"; do
    # $other and $kind are flags and their values.
    # shellcheck disable=SC2086
    expect 0 "CLIP's last block: $kind" "$bin/trident" segment --model "$work/alone.gguf" --class cat --class wall \
      --absent keep $other $kind --overwrite --output "$last" "$golden/toy-b/photo.png"
    if cmp -s "$work/whole.png" "$last"; then fail "$kind is another answer"; else pass; fi
  done
  check "the legend names it" grep -q '"clip_attention": *"global"' "$work/last.json"
  # shellcheck disable=SC2086
  expect 0 "the class token mixed in" "$bin/trident" segment --model "$toy" --method sc-clip --class cat --class wall \
    --absent keep $other self --class-mix 0.9 --output "$work/mixed.png" "$golden/toy-b/photo.png"
  # shellcheck disable=SC2086
  expect 2 "the class token of a file without its MLP" "$bin/trident" segment --model "$work/alone.gguf" --class cat \
    --class wall $other self --class-mix 0.1 --output "$work/none.png" "$golden/toy-b/photo.png"
  said "how to keep it" "keep-last-mlp"
  expect 2 "levels that nothing looks at" "$bin/trident" segment --model "$work/alone.gguf" --class cat --class wall \
    "$@" --clip-attention self --output "$work/none.png" "$golden/toy-b/photo.png"
  said "which attention that is" "means nothing beside --clip-attention self"
  # shellcheck disable=SC2086
  expect 2 "middle blocks that are none" "$bin/trident" segment --model "$work/alone.gguf" --class cat --class wall \
    $other global --global-blocks 2-0 --output "$work/none.png" "$golden/toy-b/photo.png"
  said "which there are" "must be blocks of 1...2"
  # shellcheck disable=SC2086
  expect 2 "middle blocks of another depth" "$bin/trident" segment --model "$work/alone.gguf" --class cat \
    --class wall $other global --output "$work/none.png" "$golden/toy-b/photo.png"
  said "which flag names them" "global-blocks must be given"
  expect 2 "two answers in one block" "$bin/trident" segment --model "$toy" --class cat --clip-attention self --no-dino \
    --quiet --output "$work/none.png" "$golden/toy-b/photo.png"
  said "which to leave out" "leave out --no-dino"
  check "the legend has the blocks" grep -q '"blocks": {' "$work/whole.json"
  check "as they were" grep -q '"levels": "1-2"' "$work/whole.json"
  expect 2 "templates by photos, blocks that nobody published" "$bin/trident" text --model "$work/alone.gguf" --class cat \
    --class wall --choose-templates "$golden/toy-b/photo.png" --output "$work/own.tvoc" --quiet
  said "where they can be named" "give --preset FILE"
  echo '{"trident_preset": 1, "options": {"low_block": 1, "mid_block": 2, "levels": "1-2", "class_weight": 0.3}}' >"$work/own.json"
  expect 0 "templates by photos, blocks of a preset" "$bin/trident" text --model "$work/alone.gguf" --class cat --class wall \
    --preset "$work/own.json" --choose-templates "$golden/toy-b/photo.png" --output "$work/own.tvoc" --quiet
  expect 4 "the image half encodes no words" "$bin/trident" segment --model "$work/image.gguf" --class cat --class wall \
    "$@" --output "$work/none.png" "$golden/toy-b/photo.png"
  said "whose words it takes" "with the text tower clip-"
  expect 4 "another file's vocabulary" "$bin/trident" segment --model "$work/alone.gguf" \
    --vocabulary "$work/halves.tvoc" "$@" --output "$work/none.png" "$golden/toy-b/photo.png"
}

# CLIP alone leaves out its last MLP: the same labels, from a file that says so; whole images ask for it.
check_last_mlp() {
  expect 0 "keep the last MLP" "$bin/trident-quantize" --clip "$work/clip.pt" --vocab "$golden/toy-b/vocab.txt.gz" \
    --output "$work/whole.gguf" --keep-last-mlp --quiet
  check "it is smaller without" test "$(size "$work/alone.gguf")" -lt "$(size "$work/whole.gguf")"
  expect 0 "inspect" "$bin/trident" inspect "$work/alone.gguf"
  said "that the last MLP is missing" "without the last MLP"
  expect 0 "inspect" "$bin/trident" inspect "$work/alone.gguf" --json
  said "for programs, too" '"last_mlp": false'
  expect 0 "verify" "$bin/trident" verify "$work/alone.gguf" --quiet
  set -- --class cat --class wall --short-side 112 --window 112 --stride 56 --low-block 1 --mid-block 2 --levels 1-2 \
    --class-weight 0.3 --quiet
  for refinement in none pamr crf; do
    for file in alone whole; do
      expect 0 "segment, $file, $refinement" "$bin/trident" segment --model "$work/$file.gguf" "$@" --refine $refinement \
        --output "$work/$file.png" --scores "$work/$file.npy" --overwrite "$golden/toy-b/photo.png"
    done
    check "the same labels without the last MLP, $refinement" cmp "$work/alone.png" "$work/whole.png"
    check "the same scores, $refinement" cmp "$work/alone.npy" "$work/whole.npy"
  done
  expect 2 "keep the last MLP of a text tower" "$bin/trident-quantize" --clip "$work/clip.pt" --text-only --keep-last-mlp \
    --output "$work/none.gguf" --quiet
  expect 2 "keep the last MLP of no CLIP" "$bin/trident-quantize" --radio "$work/clip.pt" --keep-last-mlp \
    --output "$work/none.gguf" --quiet
}

# Channel suppression: what is asked for is said, recorded and another model; elsewhere it is refused.
check_suppression() {
  set -- --clip "$work/clip.pt" --vocab "$golden/toy-b/vocab.txt.gz" --output "$work/quiet.gguf"
  expect 4 "nothing is published for three blocks" "$bin/trident-quantize" "$@" --suppress-channels
  said "which flag names them" "name blocks with --suppress-blocks A-B"
  expect 2 "blocks without suppression" "$bin/trident-quantize" "$@" --suppress-blocks 1-2
  expect 2 "blocks that are no range" "$bin/trident-quantize" "$@" --suppress-channels --suppress-blocks 2-1
  expect 4 "blocks that are not there" "$bin/trident-quantize" "$@" --suppress-channels --suppress-blocks 2-4
  expect 2 "suppression in a text tower" "$bin/trident-quantize" "$@" --text-only --suppress-channels --suppress-blocks 1-2
  expect 2 "suppression without CLIP" "$bin/trident-quantize" --radio "$work/clip.pt" --output "$work/quiet.gguf" \
    --suppress-channels
  check "no model from refusals" absent "$work/quiet.gguf"
  expect 0 "suppress channels" "$bin/trident-quantize" "$@" --suppress-channels --suppress-blocks 1-2 \
    --report "$work/quiet.json"
  said "which channel" "^suppressed: clip.blocks.1.mlp_out, channel [0-9]* of norm [0-9.]* times 0[.][0-9]*$"
  check "the report says so, too" grep -q '"suppressed": {"channel": [0-9]*, "norm": [0-9.]*, "factor": 0[.]' "$work/quiet.json"
  expect 0 "inspect it" "$bin/trident" inspect "$work/quiet.gguf"
  said "what was recorded" "suppressed: clip.blocks.0.mlp_out, channel"
  expect 0 "verify it" "$bin/trident" verify "$work/quiet.gguf" --quiet
  "$bin/trident" inspect --json "$work/quiet.gguf" | grep -o '"model_id": "[0-9a-f]*"' >"$work/quiet.id"
  "$bin/trident" inspect --json "$work/alone.gguf" | grep -o '"model_id": "[0-9a-f]*"' >"$work/alone.id"
  if cmp -s "$work/quiet.id" "$work/alone.id"; then fail "suppressed channels: the same model"; else pass; fi
}

# C-RADIO and the text tower that makes its words: two model files and a vocabulary between them.
check_radseg() {
  radseg=Tests/Fixtures/golden-radseg
  gzip -dc "$radseg/square/radio-16.pth.tar.gz" >"$work/radio.pth.tar"
  gzip -dc "$radseg/text/model.safetensors.gz" >"$work/model.safetensors"
  sed -n 's/^class //p' "$radseg/text/case.txt" >"$work/radseg.txt"
  expect 0 "quantize C-RADIO" "$bin/trident-quantize" --radio "$work/radio.pth.tar" --output "$work/radio.gguf" --quiet
  expect 4 "a text tower without a tokenizer" "$bin/trident-quantize" --siglip-text "$work/model.safetensors" \
    --output "$work/tower.gguf" --quiet
  said "which flag names the tokenizer" "name it with"
  expect 0 "quantize a text tower" "$bin/trident-quantize" --siglip-text "$work/model.safetensors" \
    --tokenizer "$radseg/text/tokenizer.model" --output "$work/tower.gguf" --quiet
  mkdir "$work/siglip-folder" "$work/clip-folder"
  cp "$work/model.safetensors" "$radseg/text/tokenizer.model" "$work/siglip-folder/"
  expect 0 "quantize a text tower's folder" "$bin/trident-quantize" --siglip-text "$work/siglip-folder" \
    --output "$work/folder.gguf" --quiet
  expect 0 "the same model, but for its name" "$bin/trident-quantize" --siglip-text "$work/siglip-folder/" --name model \
    --output "$work/folder.gguf" --overwrite --quiet
  check "as from the file" cmp "$work/tower.gguf" "$work/folder.gguf"
  expect 4 "a folder without a checkpoint" "$bin/trident-quantize" --clip "$work/clip-folder" --output "$work/none.gguf" --quiet
  said "which file was expected" "no model.safetensors and no pytorch_model.bin in this folder"
  cp "$work/clip.pt" "$work/clip-folder/pytorch_model.bin"
  cp "$golden/toy-b/vocab.txt.gz" "$work/clip-folder/bpe_simple_vocab_16e6.txt.gz"
  expect 2 "a model in the place of a folder's checkpoint" "$bin/trident-quantize" --clip "$work/clip-folder" \
    --output "$work/clip-folder/pytorch_model.bin" --overwrite --quiet
  expect 0 "quantize CLIP's folder, the vocabulary in it" "$bin/trident-quantize" --clip "$work/clip-folder" \
    --output "$work/none.gguf" --quiet
  rm -f "$work/none.gguf"
  expect 0 "text by SigLIP" "$bin/trident" text --model "$work/tower.gguf" --classes "$work/radseg.txt" \
    --output "$work/radseg.tvoc" --quiet
  set -- --short-side 128 --window 96 --stride 64 --quiet
  expect 0 "segment by RADSeg" "$bin/trident" segment --model "$work/radio.gguf" --vocabulary "$work/radseg.tvoc" \
    "$@" --output "$work/radseg.png" "$radseg/square/photo.png"
  expect 0 "in one pass, sides to the patch" "$bin/trident" segment --model "$work/radio.gguf" \
    --vocabulary "$work/radseg.tvoc" "$@" --windows none --round-sides patch --output "$work/pass.png" \
    "$radseg/square/photo.png"
  expect 0 "negative phrases in a vocabulary" "$bin/trident" text --model "$work/tower.gguf" \
    --class "$(sed -n 1p "$work/radseg.txt")" --class zebra --negative "object; things" --output "$work/open.tvoc" --quiet
  expect 0 "RADSeg beside them" "$bin/trident" segment --model "$work/radio.gguf" --vocabulary "$work/open.tvoc" "$@" \
    --class-gate 1 --output "$work/open.png" --json "$radseg/square/photo.png"
  said "nothing of what was named is an answer" '"name": *"unknown"'
  expect 0 "negative phrases one by one" "$bin/trident" text --model "$work/tower.gguf" --class zebra \
    --negative object --negative "things; stuff" --output "$work/three.tvoc"
  said "all of them count" "3 negative"
  expect 2 "an empty negative phrase" "$bin/trident" text --model "$work/tower.gguf" --class zebra --negative "" \
    --output "$work/none.tvoc" --quiet
  said "which flag" "negative has an empty phrase"
  expect 2 "a class that is negative in capitals" "$bin/trident" text --model "$work/tower.gguf" --class zebra \
    --negative Zebra --strict --output "$work/none.tvoc" --quiet
  said "what it is to the model" "one text with class 0"
  expect 2 "a benchmark knows no unknown" "$bin/trident" evaluate --model "$work/radio.gguf" \
    --vocabulary "$work/open.tvoc" --images Tests/Fixtures/scenes/images --labels Tests/Fixtures/scenes/labels --quiet
  said "what it lacks" "no label for pixels of no class"
  expect 0 "two words in a vocabulary" "$bin/trident" text --model "$work/tower.gguf" --class zebra --class horse \
    --output "$work/open2.tvoc" --quiet
  expect 0 "RADSeg by a relative rule" "$bin/trident" segment --model "$work/radio.gguf" \
    --vocabulary "$work/radseg.tvoc" "$@" --absent relative --unknown-threshold 0.1 --class-gate 0 \
    --output "$work/relative.png" "$radseg/square/photo.png"
  expect 0 "two words, a gate and a threshold leave nothing" "$bin/trident" segment --model "$work/radio.gguf" \
    --vocabulary "$work/open2.tvoc" "$@" --unknown-threshold 0.2 --class-gate 1 --output "$work/none2.png" \
    "$radseg/square/photo.png"
  expect 2 "RADSeg has no purify" "$bin/trident" segment --model "$work/radio.gguf" \
    --vocabulary "$work/radseg.tvoc" "$@" --absent purify --output "$work/none.png" "$radseg/square/photo.png"
  said "whose it is" "CLIP's own attention"
  expect 4 "a text tower segments nothing" "$bin/trident" segment --model "$work/tower.gguf" \
    --vocabulary "$work/radseg.tvoc" "$@" --output "$work/none.png" "$radseg/square/photo.png"
  said "what to do instead" "trident text"
  expect 4 "C-RADIO encodes no words" "$bin/trident" segment --model "$work/radio.gguf" --class cat --class dog "$@" \
    --output "$work/none.png" "$radseg/square/photo.png"
  said "which tower does" "siglip2-so400m"
  expect 4 "a vocabulary of another tower" "$bin/trident" segment --model "$toy" --vocabulary "$work/radseg.tvoc" \
    --quiet --output "$work/none.png" "$radseg/square/photo.png"
  check "no labels after refusals" absent "$work/none.png"
}

# $sizes and $words are flags and file names without spaces of their own.
segment() { "$bin/trident" segment --model "$model" $sizes "$@"; }

# Everything that one photo can give.
check_results() {
  out=$work/results
  mkdir "$out"
  expect 0 "segment" segment $words --json --output "$out/labels.png" --overlay "$out/overlay.png" \
    --scores "$out/scores.npy" "$photo"
  cp "$work/log" "$work/json"
  check "nothing but the results" only "$out" labels.png labels.json overlay.png scores.npy
  check "label map is a PNG" starts "$out/labels.png" PNG
  check "overlay is a PNG" starts "$out/overlay.png" PNG
  check "scores are an NPY" starts "$out/scores.npy" NUMPY
  if command -v python3 >/dev/null; then
    check "legend is JSON" python3 -m json.tool "$out/labels.json"
    check "--json is JSON" python3 -c \
      'import json, sys; t = open(sys.argv[1]).read(); json.loads(t[t.index("{"):t.rindex("}") + 1])' \
      "$work/json"
  else
    skip "JSON (python3 is missing)"
  fi
  cp "$out/labels.png" "$work/first.png"
  expect 0 "segment with another thread count" segment $words --quiet --threads 1 --output "$out/labels.png" \
    "$photo"
  check "the same labels with one thread" cmp "$work/first.png" "$out/labels.png"
  expect 0 "text" "$bin/trident" text --model "$model" $words --output "$work/words.tvoc" --quiet
  expect 0 "segment with a vocabulary" segment --vocabulary "$work/words.tvoc" --quiet \
    --output "$out/labels.png" "$photo"
  check "the same labels with a vocabulary" cmp "$work/first.png" "$out/labels.png"
}

check_memory() {
  if command -v prlimit >/dev/null; then
    expect 0 "prlimit --data=64M" prlimit --data=67108864 \
      "$bin/trident" segment --model "$model" $sizes $words --quiet --no-cache --threads 2 \
      --output "$work/limited.png" "$photo"
    check "the same labels under prlimit" cmp "$work/first.png" "$work/limited.png"
  else
    skip "prlimit (util-linux is missing)"
  fi
  expect 5 "memory limit of 1M" segment $words --quiet --memory-limit 1M --output "$work/none.png" "$photo"
  needed=$(sed -n 's/.* \([0-9][0-9]*\) MiB needed by .*/\1/p' "$work/log" | head -n 1)
  check "no output over the limit" absent "$work/none.png"
  if [ -n "$needed" ]; then
    expect 0 "the named smallest limit, ${needed}M" segment $words --quiet --memory-limit "${needed}M" \
      --output "$work/small.png" "$photo"
    check "the same labels with the smallest limit" cmp "$work/first.png" "$work/small.png"
  else
    fail "exit code 5 names no smallest limit"
  fi
}

# plan_agrees NAME ARGUMENT...: the peak that the kernel counted is the planned one, within 5 % or 2 MiB, and never above it by more.
plan_agrees() {
  name=$1
  shift
  "$bin/trident" measure --model "$model" $sizes $words --no-cache --quiet "$@" "$photo" >"$work/log" 2>&1
  if sed -n 's/^peak private \([0-9.]*\) MiB measured, \([0-9.]*\) MiB planned.*/\1 \2/p' "$work/log" |
    awk '{ d = $1 - $2; if (d < 0) d = -d; if (d <= 2 || d <= 0.05 * $1) ok = 1 } END { exit !ok }'; then
    pass
  else
    fail "planned and measured memory differ: $name"
  fi
}

check_plan() {
  plan_agrees "as it is"
  plan_agrees "one thread" --threads 1
  plan_agrees "no refinement" --refine none
  plan_agrees "smallest limit" --memory-limit "${needed}M"
  plan_agrees "cosine" --affinity cosine
  plan_agrees "window paradigm" --paradigm window
  plan_agrees "float32" --precision float32
}

check_refusals() {
  out=$work/refused
  mkdir "$out"
  expect 2 "unknown flag" segment $words --no-such-flag --output "$out/a.png" "$photo"
  expect 2 "option out of range" segment $words --window 0 --output "$out/a.png" "$photo"
  expect 0 "a plan for as many classes as there can be" "$bin/trident" plan --model "$model" $sizes --classes 65534
  expect 2 "one more" "$bin/trident" plan --model "$model" $sizes --classes 65535
  expect 2 "no classes" segment --output "$out/a.png" "$photo"
  expect 3 "missing photo" segment $words --quiet --output "$out/a.png" "$work/no-such.jpg"
  head -c 2000 "$jpeg" >"$work/truncated.jpg"
  expect 3 "truncated JPEG" segment $words --quiet --output "$out/a.png" "$work/truncated.jpg"
  expect 3 "no photo at all" segment $words --quiet --output "$out/a.png" "$0"
  for share in 1 40 99; do
    head -c $(($(size "$toy") * share / 100)) "$toy" >"$work/truncated.gguf"
    expect 4 "model cut to $share %" "$bin/trident" segment --model "$work/truncated.gguf" $words --quiet \
      --output "$out/a.png" "$photo"
  done
  expect 4 "missing model" "$bin/trident" segment --model "$work/no-such.gguf" $words \
    --output "$out/a.png" "$photo"
  expect 6 "output in a missing folder" segment $words --quiet --output "$work/no-such/a.png" "$photo"
  expect 6 "scores in a missing folder" segment $words --quiet --output "$out/a.png" \
    --scores "$work/no-such/a.npy" "$photo"
  check "no litter after refusals" empty "$out"
  if [ "$(id -u)" -ne 0 ]; then
    chmod a-w "$out"
    expect 6 "output in a read-only folder" segment $words --quiet --output "$out/a.png" "$photo"
    chmod u+w "$out"
  else
    skip "read-only folder (running as root)"
  fi
  if [ -c /dev/full ]; then
    expect 6 "full device for scores" segment $words --quiet --output "$out/a.png" --scores /dev/full "$photo"
    check "/dev/full is still there" test -c /dev/full
    check "no litter after a full device" empty "$out"
    "$bin/trident" inspect "$model" 2>"$work/log" >/dev/full
    check "a full standard output ends with 6" test $? -eq 6
  fi
}

check_folder() {
  mkdir "$work/photos" "$work/labels"
  cp "$photo" "$work/photos/a.${photo##*.}"
  cp "$work/truncated.jpg" "$work/photos/b.jpg"
  cp "$photo" "$work/photos/c.${photo##*.}"
  expect 3 "folder with a bad photo" segment $words --quiet --output "$work/labels" "$work/photos"
  expect 2 "a folder of photos to one file" segment $words --quiet --output "$work/first.png" "$work/photos"
  check "the good photos of the folder" only "$work/labels" a.png a.json c.png c.json
  check "a folder's labels" cmp "$work/first.png" "$work/labels/c.png"
  rm "$work/photos/b.jpg"
  : >"$work/labels/a.png"
  expect 0 "folder again" segment $words --quiet --output "$work/labels" "$work/photos"
  check "photos that are done are skipped" test ! -s "$work/labels/a.png"
  rm "$work/labels/a.json"
  expect 0 "folder without a legend" segment $words --quiet --output "$work/labels" "$work/photos"
  check "a photo without its legend is done again" cmp "$work/first.png" "$work/labels/a.png"
  : >"$work/labels/.trident-1-0.part"
  expect 0 "folder with --overwrite" segment $words --quiet --overwrite --output "$work/labels" "$work/photos"
  check "photos are done again" cmp "$work/first.png" "$work/labels/a.png"
  check "a killed run's temporary file is gone" only "$work/labels" a.png a.json c.png c.json
  cp "$work/labels/a.png" "$work/kept.png"
  expect 2 "folder with another option" segment $words --quiet --refine none --output "$work/labels" "$work/photos"
  expect 2 "folder with other words" segment --class dog --class grass --quiet --output "$work/labels" "$work/photos"
  mkdir "$work/others"
  plain 40 30 100 >"$work/others/a.ppm"
  expect 2 "another photo of the same name" segment $words --quiet --output "$work/labels" "$work/others"
  check "nothing of another run was replaced" cmp "$work/kept.png" "$work/labels/a.png"
  expect 0 "other words with --overwrite" segment --class dog --class grass --quiet --overwrite --output "$work/labels" \
    "$work/photos"
  expect 0 "other words again" segment --class dog --class grass --output "$work/labels" "$work/photos"
  said "done with other words" "2 of 2 photos are done already"
  check_mixed_folder
}

# Photos by content, whatever they are called; what is none is named and counted; folders in folders; a rerun counts.
check_mixed_folder() {
  mixed=$work/mixed
  mkdir "$mixed" "$mixed/deep"
  cp "$jpeg" "$mixed/a.jfif"
  cp "$jpeg" "$mixed/a.HEIC"
  cp "$jpeg" "$mixed/deep/a.jpg"
  size=$(size "$jpeg")
  head -c $((size - 2)) "$jpeg" >"$mixed/b.jpg"
  printf 'RIFF....WEBPVP8 ' >"$mixed/c.webp"
  printf 'GIF89a..........' >"$mixed/d.gif"
  echo mine >"$mixed/notes.txt"
  head -c 2000 "$jpeg" >"$mixed/e.jpg"
  expect 3 "a mixed folder" segment $words --output "$work/mixed-out" "$mixed"
  said "a WebP picture is named with the command that converts it" "1 WebP picture (convert: dwebp "
  said "a GIF is named" "1 GIF picture (convert: magick "
  said "what is no picture is counted" "1 other file (notes.txt)"
  said "a folder is named with its flag" "1 folder (--recursive enters it)"
  said "a missing end marker is said" "b.jpg ends without a jpeg's end marker"
  said "one line at the end" "4 photos: 3 done, 0 skipped (done before), 1 failed; 3 other files left out -> $work/mixed-out"
  check "two photos of one name keep their endings" only "$work/mixed-out" a.HEIC.png a.HEIC.json a.jfif.png a.jfif.json b.png b.json
  expect 3 "a mixed folder again" segment $words --output "$work/mixed-out" "$mixed" --recursive
  said "a rerun counts right" "5 photos: 1 done, 3 skipped (done before), 1 failed"
  check "folders are kept" only "$work/mixed-out/deep" a.png a.json
  expect 3 "a mixed folder as JSON" segment $words --json --quiet --output "$work/mixed-out" "$mixed"
  said "a line for a failed photo" '^{"photo":".*e.jpg","error":".*","exit_code":3}$'
  said "a last line of all" '^{"photos":4,"done":0,"skipped":3,"failed":1,"left_out":3}$'
  expect 2 "a folder under a picture's name" segment $words --output "$work/q.png" "$photo" "$mixed/b.jpg"
  check "no folder was made" absent "$work/q.png"
}

# kept NAME FILE: a file that says "mine" still does.
kept() { if [ "$(cat "$2")" = mine ]; then pass; else fail "$1: $2 was replaced"; fi; }

# Nothing that the user has is lost: each output in the place of what it must not replace.
check_foreign() {
  out=$work/foreign
  mkdir "$out" "$out/set" "$out/masks"
  cp "$photo" "$out/set/img1.${photo##*.}"
  for name in set/img1.json set/img1.npy set/img1.csv set/img1.coco.json a.png a.json a.npy a.csv a.coco.json \
    masks/0-cat.png a.tvoc a.npz a.html a.svg a.txt report.json; do
    echo mine >"$out/$name"
  done
  expect 2 "a stranger's legend in a folder" segment $words --quiet --output "$out/set" "$out/set"
  expect 2 "a stranger's scores in a folder" segment $words --quiet --scores "$out/set" "$out/set"
  expect 2 "a stranger's table in a folder" segment $words --quiet --csv "$out/set" "$out/set"
  expect 2 "a stranger's COCO file in a folder" segment $words --quiet --coco "$out/set" "$out/set"
  expect 2 "a stranger's picture" segment $words --quiet --output "$out/a.png" "$photo"
  expect 2 "a stranger's picture as overlay" segment $words --quiet --overlay "$out/a.png" "$photo"
  expect 2 "a stranger's scores" segment $words --quiet --scores "$out/a.npy" "$photo"
  expect 2 "a stranger's table" segment $words --quiet --csv "$out/a.csv" "$photo"
  expect 2 "a stranger's COCO file" segment $words --quiet --coco "$out/a.coco.json" "$photo"
  expect 2 "a stranger's mask" "$bin/trident" segment --model "$model" $sizes --class cat --class dog --quiet \
    --masks "$out/masks" "$photo"
  expect 2 "one file by two spellings" segment $words --quiet --output "$out/x.png" --overlay "$out/./x.png" "$photo"
  check "nothing was written" absent "$out/x.png"
  expect 2 "a stranger's chart" "$bin/trident" measure --model "$model" $words --quiet --chart "$out/a.svg" "$photo"
  for name in a.tvoc a.npz; do
    expect 2 "a stranger's $name" "$bin/trident" text --model "$model" $words --quiet --output "$out/$name"
  done
  printf 'cat\ndog\n' >"$out/words.npz"
  ln -s "$out/words.npz" "$out/link.tvoc"
  for name in words.npz link.tvoc; do
    expect 2 "a vocabulary in the place of its classes" "$bin/trident" text --model "$model" --classes "$out/words.npz" \
      --quiet --output "$out/$name"
  done
  cp "$model" "$out/model.npz"
  expect 2 "a vocabulary in the place of the model" "$bin/trident" text --model "$out/model.npz" $words --quiet \
    --output "$out/./model.npz"
  check "the model is still there" cmp "$model" "$out/model.npz"
  mkdir "$out/images" "$out/labels"
  cp "$photo" "$out/images/1.${photo##*.}"
  for target in a.html a.txt words.npz; do
    expect 2 "a page over $target" "$bin/trident" evaluate --model "$model" --classes "$out/words.npz" --images "$out/images" \
      --labels "$out/labels" --report "$out/$target"
    expect 2 "results over $target" "$bin/trident" evaluate --model "$model" --classes "$out/words.npz" --images "$out/images" \
      --labels "$out/labels" --results "$out/$target"
  done
  check "the classes are still there" grep -q dog "$out/words.npz"
  for name in set/img1.json set/img1.npy set/img1.csv set/img1.coco.json a.png a.json a.npy a.csv a.coco.json \
    masks/0-cat.png a.tvoc a.npz a.html a.svg a.txt; do
    kept "what was there" "$out/$name"
  done
  expect 0 "a stranger's picture with --overwrite" segment $words --quiet --overwrite --output "$out/a.png" "$photo"
  expect 0 "one's own results again" segment $words --quiet --output "$out/a.png" "$photo"
  rm "$out/a.json"
  expect 0 "a map without its legend" segment $words --quiet --output "$out/a.png" "$photo"
  for kind in overlay:o.png scores:o.npy csv:o.csv coco:o.coco.json masks:m; do
    for turn in first second; do
      expect 0 "one's own ${kind%:*}, $turn" segment $words --quiet "--${kind%:*}" "$out/${kind#*:}" "$photo"
    done
  done
  : >"$out/empty.png"
  expect 0 "an empty file may go" segment $words --quiet --output "$out/empty.png" "$photo"
}

# Standard input and output, models and classes that need not be named, outputs in the place of inputs.
check_names() {
  out=$work/names
  mkdir "$out"
  # A pipe, not the file itself.
  # shellcheck disable=SC2002
  cat "$photo" | segment $words --output - - >"$out/piped.png" 2>"$work/log"
  check "the same labels through pipes" cmp "$work/first.png" "$out/piped.png"
  segment $words --quiet --output "$out/read.png" - <"$photo" >"$work/log" 2>&1
  check "the same labels from standard input" cmp "$work/first.png" "$out/read.png"
  head -c 2000 "$jpeg" | segment $words --output - - >"$out/cut.png" 2>"$work/log"
  said "half a photo in a pipe is named" "^trident: error: standard input: "
  check "nothing comes out of half a photo" test ! -s "$out/cut.png"
  # The first files that a program opens would take the numbers of streams that are closed.
  "$bin/trident" segment --model "$model" $words --output "$out/closed.png" "$photo" >&- 2>&-
  check "the same labels with standard streams closed" cmp "$work/first.png" "$out/closed.png"
  "$bin/trident" segment --model "$model" $words --quiet --output "$out/closed.png" "$photo" <&- >&- 2>&-
  check "closed streams that nothing is printed to are no error" test $? -eq 0
  ("$bin/trident" segment --model "$model" $words --json "$photo" "$photo" 2>"$work/log" || echo $? >"$out/code") | :
  check "whoever stops reading ends the run silently" test ! -s "$work/log" -a "$(cat "$out/code")" = 141
  rm -f "$out/code" "$out/closed.png" "$out/closed.json"
  expect 2 "two files on standard output" segment $words --output - --overlay - "$photo"
  expect 2 "several photos on standard output" segment $words --output - "$photo" "$photo"
  cp "$model" "$out/model.gguf"
  expect 2 "a label map in the place of the model" "$bin/trident" segment --model "$out/model.gguf" $words \
    --output "$out/./model.gguf" "$photo"
  check "the model is still there" cmp "$model" "$out/model.gguf"
  expect 2 "a file and JSON on standard output" segment $words --output - --json "$photo"
  cp "$photo" "$out/photo"
  expect 2 "a label map in the place of its photo" segment $words --output "$out/../names/photo" "$out/photo"
  expect 2 "a chart in the place of its photo" "$bin/trident" measure --model "$model" $words --chart "$out/photo" "$out/photo"
  ln -sf "$out/photo" "$out/photo.svg"
  expect 2 "a chart in the place of its photo, by another name" "$bin/trident" measure --model "$model" $words \
    --chart "$out/photo.svg" "$out/photo"
  check "the photo is still there" cmp "$photo" "$out/photo"
  expect 2 "a label map called .jpg" segment $words --output "$out/a.jpg" "$photo"
  mkdir "$out/folder"
  expect 0 "one photo into a folder" segment $words --quiet --output "$out/folder" --overlay "$out/overlays/" --scores "$out/a.npy" \
    "$photo"
  stem=$(basename "$photo")
  stem=${stem%.*}
  check "a folder's map and legend" only "$out/folder" "$stem.png" "$stem.json"
  check "a folder's overlay" only "$out/overlays" "$stem.png"
  check "the same labels in a folder" cmp "$work/first.png" "$out/folder/$stem.png"
  rm "$out/overlays/$stem.png"
  expect 0 "an overlay is missing" segment $words --quiet --output "$out/folder" --overlay "$out/overlays/" "$photo"
  check "the photo is done again for its overlay" starts "$out/overlays/$stem.png" PNG
  expect 2 "two outputs of one name" segment $words --output "$out/a.png" --overlay "$out/a.png" "$photo"
  check "nothing was written" absent "$out/a.png"
  expect 2 "no model" "$bin/trident" segment $words --output "$out/a.png" "$photo"
  said "where to get a model" "trident pull"
  (export TRIDENT_MODEL="$model" && "$bin/trident" segment $sizes $words --quiet --output "$out/a.png" "$photo" >"$work/log" 2>&1)
  check "the model of TRIDENT_MODEL" cmp "$work/first.png" "$out/a.png"
  expect 0 "a preset brings its classes" segment --preset voc21 --no-cache --output "$out/voc.png" "$photo"
  check "class 0 of a preset is the background" grep -q '"name": "background"' "$out/voc.json"
  expect 0 "a preset's vocabulary" "$bin/trident" text --model "$model" --preset voc21 --no-cache --output "$out/voc.tvoc"
  cp "$out/voc.png" "$out/first.png"
  expect 0 "a preset with its vocabulary" segment --preset voc21 --vocabulary "$out/voc.tvoc" --quiet --output "$out/voc.png" "$photo"
  check "the same labels with a preset's vocabulary" cmp "$out/first.png" "$out/voc.png"
  expect 2 "words without quotes" "$bin/trident" segment --model "$model" $sizes --class horse grass sky "$photo" --output "$out/q.png"
  said "quotes, or --class again" 'there is no photo .grass.; .*--class "horse grass".*--class "horse" --class "grass"'
  check "no folder q.png" absent "$out/q.png"
  printf 'sky\ndog; puppy\n \n' | segment --classes - --quiet --output "$out/words.png" "$photo" >"$work/log" 2>&1
  check "classes from standard input" grep -q '"puppy"' "$out/words.json"
  expect 2 "bytes that are no UTF-8" "$bin/trident" segment --model "$model" $sizes --class "$(printf 'caf\351')" --output "$out/u.png" "$photo"
  said "the argument is named" "argument [0-9]*, .* is not UTF-8"
  expect 0 "a list in another form" segment --class "cat, dog" --class "sky, sea" --quiet --output "$out/c.png" "$photo"
  said "commas are doubted" "warning: 2 of 2 classes are like 'cat, dog': commas"
  expect 2 "a list in another form, strictly" segment --strict --class "cat, dog" --class "sky, sea" --output "$out/d.png" "$photo"
  expect 0 "a background is added" segment --background --class horse --class grass --quiet --output "$out/e.png" "$photo"
  said "and said" "adds class 0, 'background'; 'horse' is class 1"
  check "no word is eaten" grep -q '"horse"' "$out/e.json"
  expect 2 "a flag misspelt" segment $words --overlai "$out/o.png" "$photo"
  said "the flag that was meant" "^trident: error: .*--overlay"
  expect 2 "a command misspelt" "$bin/trident" segmet "$photo"
  said "the commands there are" "^trident: error: .*segment"
  expect 0 "help of daily options" "$bin/trident" segment --help
  said "and where the others are" "[-]-help-all"
  check "the papers' are not there" sh -c '! grep -q -- --beta "$1"' sh "$work/log"
  expect 0 "help of all options" "$bin/trident" segment --help-all
  said "the papers' are there" "[-]-beta"
  expect 2 "a colour of no class" segment $words --color "nobody=#112233" --output "$out/f.png" "$photo"
  said "which classes there are" "there is no class 'nobody'; there are: "
  expect 2 "a palette that is none" segment $words --palette "$0" --output "$out/f.png" "$photo"
  check "nothing was written" absent "$out/f.png"
  expect 0 "an overlay as JPEG, in VOC's colours" segment $words --palette voc --overlay "$out/f.JPG" --overlay-size 64 \
    --legend none --quiet "$photo"
  check "it is one" sh -c 'head -c 64 "$1" | grep -q "Software: trident"' sh "$out/f.JPG"
}

# Short and failing reads, a full card, a model that shrinks in use, no home for the cache.
check_storage() {
  out=$work/storage
  mkdir "$out" "$work/card"
  card=$work/bad-card.so
  if cc -shared -fPIC -o "$card" Scripts/bad-card.c -ldl >"$work/log" 2>&1; then
    expect 0 "short reads" with_card BAD_CARD_SHORT=1 $words --quiet --no-cache --output "$out/a.png" "$photo"
    check "the same labels with short reads" cmp "$work/first.png" "$out/a.png"
    rm "$out"/a.*
    for reads in 0 2; do
      expect 3 "a photo that fails after $reads reads" with_card "BAD_CARD_FAILS=${photo##*/} BAD_CARD_AFTER=$reads" \
        $words --quiet --output "$out/a.png" "$photo"
      said "failing reads: the reason" "input/output error"
    done
    printf 'dog\ngrass\n' >"$work/two.txt"
    expect 2 "a class list that cannot be read" with_card BAD_CARD_FAILS=two.txt --classes "$work/two.txt" --quiet \
      --output "$out/a.png" "$photo"
    check "no litter after failing reads" empty "$out"
    check_pair
  else
    skip "short and failing reads (cc is missing)"
  fi
  if unshare -rm true 2>/dev/null; then
    expect 6 "full card" unshare -rm sh -c \
      'mount -t tmpfs -o size=4k tmpfs "$0"; "$@"; code=$?; [ -z "$(ls -A "$0")" ] && exit "$code"' "$work/card" \
      "$bin/trident" segment --model "$model" $sizes $words --quiet --output "$work/card/a.png" \
      --scores "$work/card/a.npy" "$photo"
  else
    skip "full card (no user namespaces)"
  fi
  cut=0
  for wait in 0.05 0.1 0.2 0.4 0.8; do
    cp "$model" "$work/shrinks.gguf"
    "$bin/trident" segment --model "$work/shrinks.gguf" $sizes $words --quiet --no-cache --threads 1 \
      --output "$out/a.png" "$photo" >"$work/log" 2>&1 &
    run=$!
    sleep "$wait"
    : >"$work/shrinks.gguf"
    wait "$run"
    code=$?
    if grep -q "while in use" "$work/log" && [ "$code" -eq 4 ]; then cut=$((cut + 1)); fi
    if [ "$code" -eq 0 ] || [ "$code" -eq 4 ]; then pass; else fail "a model that shrinks after $wait s: code $code"; fi
    if [ "$code" -eq 0 ]; then rm "$out"/a.*; fi
  done
  check "a model that shrinks in use is noticed" test "$cut" -gt 0
  check "no litter after a model that shrinks" empty "$out"
  expect 0 "a home that takes no files" homeless $words --quiet --output "$out/a.png" "$photo"
  check "the same labels without a cache" cmp "$work/first.png" "$out/a.png"
}

# A run with other words that ends before it has renamed the map, or before the legend: the next run mends it.
check_pair() {
  mkdir "$work/one" "$work/pair" "$work/wanted"
  cp "$photo" "$work/one"
  expect 0 "a folder of one photo" segment $words --quiet --output "$work/wanted" "$work/one"
  for ends in 1 2; do
    expect 0 "other words" segment --class dog --class grass --quiet --overwrite --output "$work/pair" "$work/one"
    with_card "BAD_CARD_ENDS=$ends" $words --quiet --overwrite --output "$work/pair" "$work/one" >"$work/log" 2>&1
    check "the run ended at renaming $ends" test $? -eq 137
    expect 0 "the next run" segment $words --quiet --output "$work/pair" "$work/one"
    check "map and legend belong together after renaming $ends" diff -r "$work/wanted" "$work/pair"
  done
}

# Runs in a shell of their own, with settings for one command.
# shellcheck disable=SC2163
with_card() { (export LD_PRELOAD="$card" $1 && shift && segment "$@"); }
homeless() { (unset XDG_CACHE_HOME && export HOME=/proc && segment "$@"); }

# A run that is ended at several moments leaves nothing half written.
check_signal() {
  mkdir "$work/ended"
  ended=0
  for wait in 0.02 0.05 0.1 0.2 0.3 0.5 0.8; do
    "$bin/trident" segment --model "$model" $sizes $words --quiet --no-cache --threads 1 \
      --output "$work/ended/a.png" --scores "$work/ended/a.npy" --overlay "$work/ended/o.png" \
      "$photo" >"$work/log" 2>&1 &
    run=$!
    sleep "$wait"
    kill -TERM "$run" 2>/dev/null
    wait "$run"
    if [ $? -eq 143 ]; then ended=$((ended + 1)); fi
    # shellcheck disable=SC2010
    if ls -A "$work/ended" | grep -qv '^a\.png$\|^a\.json$\|^a\.npy$\|^o\.png$'; then
      ls -A "$work/ended" >"$work/log"
      fail "kill -TERM after $wait s leaves a partial file"
    else
      pass
    fi
    rm -f "$work"/ended/*
  done
  check "a run was ended by the signal" test "$ended" -gt 0
}

# Every single flipped byte of the model is found.
check_flips() {
  expect 0 "verify" "$bin/trident" verify "$toy"
  if ! command -v python3 >/dev/null; then
    skip "flipped bytes (python3 is missing)"
    return
  fi
  python3 - "$toy" "$work/flips" <<'PYTHON'
import random, sys
random.seed(20240607)
count = len(open(sys.argv[1], "rb").read())
with open(sys.argv[2], "w") as out:
    for _ in range(200):
        out.write(f"{random.randrange(count)} {random.randrange(1, 256)}\n")
PYTHON
  cp "$toy" "$work/flipped.gguf"
  found=0
  while read -r place bits; do
    flip "$place" "$bits"
    "$bin/trident" verify "$work/flipped.gguf" >"$work/log" 2>&1
    code=$?
    if [ "$code" -eq 4 ]; then
      found=$((found + 1))
    else
      fail "byte $place flipped by $bits: exit code $code"
    fi
    flip "$place" "$bits"
  done <"$work/flips"
  echo "verify found $found of 200 flipped bytes"
  check "200 flipped bytes" test "$found" -eq 200
  check "flips were undone" cmp "$toy" "$work/flipped.gguf"
}

# Changes one byte of the copy in place.
flip() {
  old=$(od -An -tu1 -j "$1" -N 1 "$work/flipped.gguf" | tr -d ' ')
  # shellcheck disable=SC2059
  printf "\\$(printf %03o $((old ^ $2)))" |
    dd of="$work/flipped.gguf" bs=1 seek="$1" conv=notrunc 2>/dev/null
}

check_listing() {
  expect 0 "inspect" "$bin/trident" inspect --tensors "$toy"
  expect 0 "inspect -m" "$bin/trident" inspect -m "$toy" --json
  said "a JSON object" '"model_id": "'
  expect 0 "verify --model" "$bin/trident" verify --model "$toy" --json
  said "what was verified" '"verified": true'
  for command in inspect "verify --quiet" "version --json"; do
    expect 0 "$command of TRIDENT_MODEL" env TRIDENT_MODEL="$toy" "$bin/trident" $command
  done
  said "the model's id in JSON" '"model_id": "'
  expect 2 "two models" "$bin/trident" inspect -m "$toy" "$toy"
  expect 2 "no model to inspect" "$bin/trident" inspect
  expect 0 "version with a model" "$bin/trident" version -m "$toy"
  said "the model's id" " id [0-9a-f]"
  expect 2 "a limit without a unit" segment $words --memory-limit 48 --output "$work/limit.png" "$photo"
  said "the unit that was meant" "did you mean 48M?"
  "$bin/trident" segment --model "$model" $words --json "$work/no-such.jpg" >"$work/log" 2>/dev/null
  said "a line for one failed photo" '^{"photo":".*no-such.jpg","error":".*","exit_code":3}$'
  expect 0 "a summary" segment $words --output "$work/sum.png" --csv "$work/sum.csv" "$photo"
  said "every file that was written" "  -> $work/sum.png, $work/sum.json, $work/sum.csv"
  if python3 Tests/Fixtures/gguf-judge.py --probe >/dev/null 2>&1; then
    check "gguf from PyPI lists the model" python3 Tests/Fixtures/gguf-judge.py "$toy"
    tensors=$(grep -c '^tensor ' "$work/log")
    "$bin/trident" inspect "$toy" >"$work/listing"
    check "as many tensors as inspect" grep " $tensors tensors" "$work/listing"
  else
    skip "gguf from PyPI is not installed"
  fi
}

# Presets in files, and finding one without labels.
check_tune() {
  out=$work/tuned
  mkdir "$out" "$out/photos"
  cp models/demo/scenes/images/farm.jpg models/demo/scenes/images/beach.jpg "$out/photos"
  printf 'farm.jpg: horse, house\nbeach.jpg: crab, umbrella\n' >"$out/present.txt"
  set -- --model models/demo/demo.gguf --classes models/demo/scenes/classes.txt
  search="--photos $out/photos --present $out/present.txt --profile fast --background --trials 4 --seed 3"
  expect 0 "tune" "$bin/trident" tune "$@" $search --quiet --output "$out/mine.json"
  check "who made it" grep -q '"tool": "trident tune"' "$out/mine.json"
  cp "$out/mine.json" "$out/first.json"
  lines=$(wc -l <"$out/mine.json.journal")
  head -n $((lines - 1)) "$out/mine.json.journal" >"$out/half"
  mv "$out/half" "$out/mine.json.journal"
  rm "$out/mine.json"
  expect 0 "tune goes on" "$bin/trident" tune "$@" $search --threads 1 --output "$out/mine.json"
  said "what was done before" "1 of 2 photos are done already"
  check "the same preset after a run was ended" cmp "$out/first.json" "$out/mine.json"
  expect 2 "another search in its place" "$bin/trident" tune "$@" $search --reward published --quiet --output "$out/mine.json"
  expect 0 "a preset from a file" "$bin/trident" segment "$@" --background --preset "$out/mine.json" --output "$out/labels.png" \
    models/demo/scenes/images/farm.jpg
  said "where its numbers come from" "tool trident tune"
  check "the legend names it" grep -q '"tool": "trident tune"' "$out/labels.json"
  cp "$out/mine.json" "$out/labels2.json"
  expect 2 "a legend in the place of the preset" "$bin/trident" segment "$@" --preset "$out/labels2.json" \
    --output "$out/labels2.png" --quiet models/demo/scenes/images/farm.jpg
  echo '{"trident_preset": 1, "options": {"betta": 1}}' >"$out/wrong.json"
  expect 2 "a preset with an option that is none" "$bin/trident" plan "$@" --preset "$out/wrong.json"
  said "the file and the option" "wrong.json: options.betta: there is no such option"
  expect 2 "no such preset" "$bin/trident" plan "$@" --preset voc22
  set -- --model "$work/blip.gguf" --class cat --class sofa --class water --short-side 96 --rounds 1
  printf 'photo.png: cat, water\n' >"$out/cats.txt"
  mkdir "$out/cats"
  cp Tests/Fixtures/golden-pnp/plain/photo.png "$out/cats"
  search="--photos $out/cats --present $out/cats.txt --attention-layer 2 --attention-head 2 --trials 6"
  expect 2 "BLIP has no judge of its own" "$bin/trident" tune "$@" $search --output "$out/cats.json"
  said "which flag names one" "clip MODEL names a model file"
  expect 0 "tune PnP-OVSS" "$bin/trident" tune "$@" $search --clip models/demo/demo.gguf --quiet --output "$out/cats.json"
  expect 0 "segment with what was found" "$bin/trident" segment "$@" --present cat,water --preset "$out/cats.json" --quiet \
    --output "$out/labels3.png" "$out/cats/photo.png"
}

# mIoU that an evaluation printed.
miou() { sed -n 's/.*classes occur in .*: mIoU \([0-9.]*\),.*/\1/p' "$1"; }
# between LOW HIGH FILE: an evaluation's mIoU.
between() {
  echo "mIoU $(miou "$3"), wanted $1 to $2"
  awk -v found="$(miou "$3")" -v low="$1" -v high="$2" 'BEGIN { exit !(found != "" && found >= low && found <= high) }'
}
# beside_float NAME LOG COMMAND...: an evaluation in float32 is within a point of the one in INT8 that LOG has.
beside_float() {
  name=$1 int8=$2
  shift 2
  if ldconfig -p 2>/dev/null | grep -q libopenblas; then
    expect 0 "$name in float32" "$@" --precision float32
    cp "$work/log" "$int8.float"
    low=$(awk -v found="$(miou "$int8")" 'BEGIN { print found - 1 }')
    high=$(awk -v found="$(miou "$int8")" 'BEGIN { print found + 1 }')
    check "$name: float32 beside INT8" between "$low" "$high" "$int8.float"
  else
    skip "$name in float32 (OpenBLAS is missing)"
  fi
}
# evaluate FOLDER FLAGS...
evaluate() {
  folder=$1
  shift
  "$bin/trident" evaluate --model models/demo/demo.gguf --images "$folder/images" --labels "$folder/labels" \
    --classes "$folder/classes.txt" --quiet "$@"
}
# Results without their seconds, in order of names.
counts() { cut -f 1,3 "$1" | sort; }

# Labelled scenes: the same numbers at once, in parts, and after being ended; floors for the demo model.
check_evaluate() {
  out=$work/evaluated
  mkdir "$out"
  shown=models/demo/scenes
  expect 0 "evaluate the shipped scenes" evaluate $shown --results "$out/whole.txt" --report "$out/page.html"
  cp "$work/log" "$out/whole"
  check "mIoU of the shipped scenes" between 60 100 "$out/whole"
  check "the page has its pictures inside" test "$(grep -c 'url(data:image/png;base64' "$out/page.html")" -eq 6
  check "the page needs no other file" sh -c "! grep -q 'http\|src=\"[^d]' '$out/page.html'"
  for part in 1 2; do
    expect 0 "part $part of 2" evaluate $shown --shard $part/2 --results "$out/part$part.txt"
  done
  expect 0 "merge" "$bin/trident" evaluate --merge "$out/part1.txt" "$out/part2.txt" --results "$out/merged.txt"
  check "parts add up" test "$(miou "$work/log")" = "$(miou "$out/whole")"
  counts "$out/whole.txt" >"$out/wanted"
  counts "$out/merged.txt" >"$out/found"
  check "the same areas in parts" cmp "$out/wanted" "$out/found"
  expect 0 "two runs compared" "$bin/trident" evaluate --compare "$out/whole.txt" "$out/merged.txt"
  said "and not told apart" "do not tell A and B apart"
  expect 2 "one run compared" "$bin/trident" evaluate --compare "$out/whole.txt"
  expect 2 "a part twice" "$bin/trident" evaluate --merge "$out/part1.txt" "$out/part1.txt"
  head -c $(($(size "$out/whole.txt") - 90)) "$out/whole.txt" >"$out/ended.txt"
  expect 0 "evaluate what is left" evaluate $shown --results "$out/ended.txt"
  counts "$out/ended.txt" >"$out/found"
  check "the same areas after a run was ended" cmp "$out/wanted" "$out/found"
  expect 0 "evaluate as JSON" evaluate $shown --results "$out/whole.txt" --json
  said "classes that never occur" '"never_true": \['
  said "a place for warnings" '"warnings": \[\]'
  said "numbers that are numbers" '"logit_scale": [0-9]'
  said "words that are words" '"refine": "sam"'
  expect 2 "evaluate tells no confidence" evaluate $shown --confidence-kind margin
  check "the page names what was confused" grep -q "Most confused" "$out/page.html"
  expect 2 "results of other options" evaluate $shown --results "$out/whole.txt" --refine none
  expect 0 "evaluate without refinement" evaluate $shown --refine none
  cp "$work/log" "$out/coarse"
  check "mIoU without refinement" between 60 100 "$out/coarse"
  beside_float evaluate "$out/whole" evaluate $shown
  mkdir "$out/images" "$out/labels"
  cp $shown/images/farm.jpg "$out/images"
  cp $shown/classes.txt "$out"
  expect 3 "no label map" evaluate "$out"
  cp $shown/labels/table.png "$out/labels/farm.png"
  expect 3 "a label map of another size" evaluate "$out"
  cp $shown/images/farm.jpg "$out/labels/farm.png"
  expect 3 "a photo as label map" evaluate "$out"
  head -c 2000 $shown/labels/farm.png >"$out/labels/farm.png"
  expect 3 "half a label map" evaluate "$out" --results "$out/none.txt"
  check "no result from half a label map" test "$(tail -n 1 "$out/none.txt")" = ""
  expect 2 "a root without a preset" "$bin/trident" evaluate --model "$model" --root "$out"
  expect 3 "a root that is none" "$bin/trident" evaluate --model "$model" --preset voc21 --root "$out"
  limit=
  if command -v prlimit >/dev/null; then limit="prlimit --data=67108864"; fi
  expect 0 "40 held-out scenes" $limit "$bin/trident" evaluate --model models/demo/demo.gguf --threads 2 --quiet \
    --images Tests/Fixtures/scenes/images --labels Tests/Fixtures/scenes/labels \
    --classes Tests/Fixtures/scenes/classes.txt
  cp "$work/log" "$out/held"
  check "mIoU of 40 held-out scenes" between 62 100 "$out/held"
}

# RADSeg's demo network on held-out scenes: a floor for each refinement, float32 beside INT8, another tower's words.
check_radseg_demo() {
  out=$work/radseg-demo
  mkdir "$out"
  radseg() { # FOLDER FLAGS...
    folder=$1
    shift
    "$bin/trident" evaluate --model models/demo/radseg.gguf --vocabulary models/demo/words.tvoc --quiet \
      --images "$folder/images" --labels "$folder/labels" "$@"
  }
  expect 0 "RADSeg on 40 held-out scenes" radseg Tests/Fixtures/scenes --threads 2
  cp "$work/log" "$out/held"
  check "mIoU of RADSeg on 40 held-out scenes" between 62 100 "$out/held"
  for refinement in pamr crf sam; do
    expect 0 "RADSeg on 10 scenes, $refinement" radseg Tests/Fixtures/scenes --limit 10 --refine $refinement
    cp "$work/log" "$out/$refinement"
    check "mIoU of RADSeg with $refinement" between 67 100 "$out/$refinement"
  done
  beside_float RADSeg "$out/held" radseg Tests/Fixtures/scenes --threads 2
  # The demo's CLIP makes the words, and no other model's are taken.
  head -n 3 models/demo/scenes/classes.txt >"$out/words.txt"
  expect 0 "words of the demo's CLIP" "$bin/trident" text --model models/demo/demo.gguf --classes "$out/words.txt" --quiet \
    --output "$out/words.tvoc"
  expect 0 "RADSeg takes them" "$bin/trident" segment --model models/demo/radseg.gguf --vocabulary "$out/words.tvoc" --quiet \
    --output "$out/labels.png" models/demo/scenes/images/farm.jpg
  if command -v python3 >/dev/null && python3 -c 'import numpy' 2>/dev/null; then
    expect 0 "words as arrays" "$bin/trident" text --model models/demo/demo.gguf --classes "$out/words.txt" --quiet \
      --output "$out/words.npz"
    check "arrays that are silent about the background" python3 -c 'import sys, numpy
v = dict(numpy.load(sys.argv[1]))
del v["background"]
numpy.savez(sys.argv[2], **v)
v["text_model"] = v.pop("model_id")
numpy.savez(sys.argv[3], **v)' "$out/words.npz" "$out/silent.npz" "$out/tower.npz"
    radseg_words() { "$bin/trident" segment --model models/demo/radseg.gguf --vocabulary "$1" --output "$out/l.png" --overwrite models/demo/scenes/images/farm.jpg; }
    expect 0 "RADSeg takes a tower's" radseg_words "$out/tower.npz"
    said "what is assumed" "does not say whether '.*' is the background"
    expect 4 "but no model's" radseg_words "$out/silent.npz"
    said "what is missing" "one bool must say"
  else
    skip "vocabularies that are silent about the background (numpy is missing)"
  fi
  expect 0 "words of another model" "$bin/trident" text --model "$toy" --classes "$out/words.txt" --quiet \
    --output "$out/others.tvoc"
  expect 4 "RADSeg does not take them" "$bin/trident" segment --model models/demo/radseg.gguf --vocabulary "$out/others.tvoc" \
    --quiet --output "$out/labels2.png" models/demo/scenes/images/farm.jpg
}

# PnP-OVSS's demo network on held-out scenes, told and not told what they show: floors, float32 beside INT8; captions
# that match score higher than those that do not.
check_pnp_demo() {
  out=$work/pnp-demo
  mkdir "$out"
  pnp() { # FLAGS...
    "$bin/trident" evaluate --model models/demo/blip.gguf --preset models/demo/blip.json --threads 2 --quiet \
      --images Tests/Fixtures/scenes/images --labels Tests/Fixtures/scenes/labels \
      --classes Tests/Fixtures/scenes/classes.txt "$@"
  }
  shown="--present Tests/Fixtures/scenes/present.txt"
  expect 0 "PnP-OVSS on 40 held-out scenes" pnp $shown
  cp "$work/log" "$out/told"
  check "mIoU of PnP-OVSS on 40 held-out scenes" between 80 100 "$out/told"
  beside_float PnP-OVSS "$out/told" pnp $shown
  expect 0 "PnP-OVSS finds what is there" pnp --presence match --limit 20
  cp "$work/log" "$out/found"
  check "mIoU of PnP-OVSS that finds what is there" between 35 100 "$out/found"
  farm=models/demo/scenes/images/farm.jpg
  expect 0 "match on the farm" "$bin/trident" match --model models/demo/blip.gguf --quiet $farm \
    "a picture of horse grass" "a picture of pig grass"
  cp "$work/log" "$out/match"
  check "the caption that is true" awk '$3 == "a" { score[++n] = $1 } END { exit !(n == 2 && score[1] > score[2] + 0.3) }' \
    "$out/match"
  expect 2 "a layer that the demo does not have" "$bin/trident" segment --model models/demo/blip.gguf --class horse \
    --present horse --quiet --output "$out/labels.png" $farm
}

# One version, whichever program is asked, on standard output.
check_version() {
  "$bin/trident" --version >"$work/version"
  check "a version" grep -qx "trident [0-9][0-9.]*" "$work/version"
  "$bin/trident-quantize" --version >"$work/version2"
  check "the version of trident-quantize" cmp "$work/version" "$work/version2"
  "$bin/trident" version | head -n 1 >"$work/version2"
  check "the version in trident version" cmp "$work/version" "$work/version2"
  "$bin/trident" version -v >"$work/version"
  "$bin/trident" --version -v >"$work/version2"
  check "the same from --version -v" cmp "$work/version" "$work/version2"
  check "which says what was chosen" grep -q "chosen" "$work/version2"
}

# plain WIDTH HEIGHT BYTE: a photo of one grey, as PPM.
plain() {
  printf 'P6\n%s %s\n255\n' "$1" "$2"
  head -c $(($1 * $2 * 3)) /dev/zero | tr '\0' "\\$3"
}

# sized WIDTH HEIGHT PNG: the picture has this size.
sized() {
  have=$(od -An -tu1 -j 16 -N 8 "$3" | awk '{ print $1 * 16777216 + $2 * 65536 + $3 * 256 + $4, $5 * 16777216 + $6 * 65536 + $7 * 256 + $8 }')
  [ "$have" = "$1 $2" ] && return 0
  echo "the picture has $have pixels instead of $1 x $2"
  return 1
}

# largest SHARE CLASS FILE: the class comes first in a summary, with at least this share in percent.
largest() { awk -v share="$1" -v name="$2" '$2 == "%" { exit !($1 >= share && $3 ~ name) }' "$3"; }

# accurate LOW FILE: an evaluation's pixel accuracy, in percent.
accurate() { sed -n 's/.*classes occur in .*aAcc \([0-9.]*\)$/\1/p' "$2" | awk -v low="$1" '{ found = $1 } END { print "aAcc " found; exit !(found >= low) }'; }

# What a newcomer tries: photos without anything on them, photos of no size to speak of, words that no model knows.
check_hard_cases() {
  out=$work/hard
  mkdir "$out" || return
  segment="$bin/trident segment --model models/demo/demo.gguf --no-cache"
  farm=models/demo/scenes/images/farm.jpg
  plain 320 240 377 >"$out/white.ppm"
  plain 320 240 0 >"$out/black.ppm"
  plain 448 448 200 >"$out/grey.ppm"
  plain 1 1 100 >"$out/1x1.ppm"
  plain 2 3000 100 >"$out/2x3000.ppm"
  plain 60000 1 100 >"$out/60000x1.ppm"
  expect 2 "unknown words, strictly" $segment --strict --class horse --class zamboni $farm --output "$out/s.png"
  expect 0 "known words, strictly" $segment --strict --class horses --class "green grass" $farm --output "$out/s.png"
  expect 0 "confidences by margin" $segment --class horse --class grass --class sky --refine none --confidence-kind margin \
    --confidence "$out/sure.png" --json $farm --output "$out/o.png"
  said "what they say of the photo" '"kind": "margin"'
  expect 2 "a kind of confidence that nothing tells" $segment --class horse --class grass --class sky --refine none \
    --confidence-kind margin --json $farm --output "$out/s.png"
  said "what would tell it" "nothing here tells any: --confidence, --csv"
  expect 2 "redundancy without purify" $segment --class horse --class grass --class sky --redundancy 0.2 $farm --output "$out/s.png"
  said "what it is for" "means nothing without --absent purify"
  for flag in "confidence-kind probability, margin" "windows slide, none" "levels two blocks such as 4-10" "short-side 16...4096"; do
    expect 2 "--${flag%% *} with a value that is none" $segment --class horse --${flag%% *} much $farm --output "$out/s.png"
    said "what --${flag%% *} takes" "is invalid for '--${flag%% *}': it takes ${flag#* }"
  done
  expect 0 "purify" $segment --class cat --class horse --class grass --class sky --class tree --refine none --absent purify \
    $farm --output "$out/o.png" --overwrite
  said "what it dropped" "dropped by --absent purify: cat"
  check "the legend says so, too" grep -q '"dropped": true' "$out/o.json"
  expect 0 "a threshold that refuses nothing" $segment --class cat --class sofa --unknown-threshold 0.1 --refine none $farm \
    --output "$out/o.png" --overwrite
  said "one word has everything" "warning: 'sofa' got"
  expect 0 "unsure pixels" $segment --class octopus --class trumpet --class donut --probability-threshold 0.9 --refine none \
    $farm --output "$out/o.png" --overwrite
  said "who gets them" "pixels below --probability-threshold get the first class, 'octopus'"
  expect 0 "nothing beside a background" $segment --class octopus --class trumpet --background --absent relative --refine none \
    $farm --output "$out/o.png" --overwrite
  said "that it is nothing" "nothing of what you named"
  expect 0 "negative phrases" $segment --class horse --class grass --negative "wall; floor" --refine none $farm \
    --output "$out/o.png" --overwrite
  check "the legend has them" grep -q '"phrases": \["wall", "floor"\]' "$out/o.json"
  expect 0 "a gate that nothing passes" "$bin/trident" segment --model models/demo/radseg.gguf --vocabulary models/demo/words.tvoc \
    --class-gate 0.9999 $farm --output "$out/o.png" --overwrite
  said "that nothing does" "no class passes --class-gate"
  expect 2 "a profile of another method" $segment --class horse --method trident --profile tiny $farm --output "$out/p.png"
  said "which one" "leave out --method trident"
  expect 0 "templates from photos" "$bin/trident" text --model models/demo/demo.gguf --class horse --class grass --class sky \
    --choose-templates models/demo/scenes/images --json --quiet --output "$out/own.tvoc"
  said "which ones" '"patches"'
  expect 0 "words with templates of their own" $segment --vocabulary "$out/own.tvoc" --refine none $farm --output "$out/o.png" --overwrite
  expect 2 "templates beside a vocabulary" $segment --vocabulary "$out/own.tvoc" --templates one $farm --output "$out/s.png"
  expect 0 "seven templates and a description" $segment --class "horse :=0.2 a large animal" --class grass --class sky \
    --templates seven --refine none $farm --output "$out/o.png" --overwrite
  check "the legend says which" grep -q '"templates": "seven"' "$out/o.json"
  "$bin/trident" text --help >"$out/help"
  check "text's help has its words" grep -q -e --templates "$out/help"
  check "and no flag that text refuses" test "$(grep -c -e '^  --vocabulary' -e '^  --present' "$out/help")" = 0
  expect 0 "a vocabulary" "$bin/trident" text --model models/demo/demo.gguf --no-cache --class horse --class sky --output "$out/old.tvoc"
  expect 0 "one that grows" "$bin/trident" text --model models/demo/demo.gguf --no-cache --class sky --class sea \
    --extend "$out/old.tvoc" --output "$out/grown.tvoc"
  said "what it took" "1 taken from .*, 1 encoded, 0 from the cache, 1 dropped"
  expect 0 "a vocabulary, listed" "$bin/trident" inspect "$out/grown.tvoc"
  said "its words" "1: sea"
  for refinement in none sam pamr bilateral crf; do
    for photo in white black grey; do
      expect 0 "$photo photo, $refinement" $segment $words --refine $refinement "$out/$photo.ppm" --output "$out/o.png" --overwrite
      cp "$work/log" "$out/log"
      # Snow, road and stone are the white, the black and the grey class.
      check "a $photo photo is one thing, $refinement" largest 90 '^(snow|road|stone)$' "$out/log"
    done
    for size in 1x1 2x3000 60000x1; do
      expect 0 "photo of $size, $refinement" $segment $words --refine $refinement "$out/$size.ppm" --output "$out/o.png" --overwrite
      check "label map of $size, $refinement" sized ${size%x*} ${size#*x} "$out/o.png"
    done
    expect 0 "one class, $refinement" $segment --class horse --absent keep --refine $refinement $farm --output "$out/o.png" --overwrite
    cp "$work/log" "$out/log"
    check "one class has every pixel, $refinement" largest 100 '^horse$' "$out/log"
    check "one class is warned about, $refinement" grep -q "warning: with one class" "$out/log"
    expect 0 "two words that are not there, $refinement" $segment --class cat --class sofa --refine $refinement $farm \
      --output "$out/o.png" --overwrite
    cp "$work/log" "$out/log"
    check "neither has the farm, $refinement" largest 95 '^unknown$' "$out/log"
    check "and that is said, $refinement" grep -q "neither word fits are 'unknown', label 2" "$out/log"
    expect 0 "two words that are there, $refinement" $segment --class horse --class grass --refine $refinement $farm \
      --output "$out/o.png" --overwrite
    cp "$work/log" "$out/log"
    check "grass has most of it, $refinement" largest 70 '^grass$' "$out/log"
    check "the horse is found, $refinement" grep -q "horse$" "$out/log"
    expect 0 "unknown words, $refinement" $segment --class zamboni --class qwertyuiop --class '日本語' --class '🙂' \
      --refine $refinement $farm --output "$out/o.png" --overwrite
    said "unknown words are named, $refinement" "not trained on 'zamboni', 'qwertyuiop', '日本語'"
    # 40 known words and 160 that mean nothing: known things keep their places.
    cp models/demo/scenes/classes.txt "$out/200.txt"
    for first in b d f g k l m n p r s t v w; do
      for second in ba "do" fe gu ki lo me na pu ra si to; do echo "$first$second$first"; done
    done | head -n 160 >>"$out/200.txt"
    check "200 classes" test "$(wc -l <"$out/200.txt")" -eq 200
    expect 0 "200 classes, $refinement" "$bin/trident" evaluate --model models/demo/demo.gguf --images models/demo/scenes/images \
      --labels models/demo/scenes/labels --classes "$out/200.txt" --refine $refinement --quiet
    cp "$work/log" "$out/log"
    check "pixel accuracy among 200 classes, $refinement" accurate 90 "$out/log"
  done
}

# Kernels by shape, attention and the stages of a photo, each with its share of what the processor can do.
check_bench() {
  printf '64 96 128 gelu  # a layer\n# a remark\n\n32 16 64\n' >"$work/shapes.txt"
  expect 0 "bench" "$bin/trident" bench --repeat 2 --threads 2 --shapes "$work/shapes.txt" --model $model --photo $jpeg --json
  cp "$work/log" "$work/bench.json"
  ! command -v python3 >/dev/null || check "bench: products, attention, stages, the photo" python3 - "$work/bench.json" <<'EOF'
import json, sys
bench = json.load(open(sys.argv[1]))
names = [r["name"] for r in bench["results"]]
assert bench["peak_macs_per_second"] > 1e8 and all(r["steady"] for r in bench["results"]), bench
assert names[:2] == ["64 x 96 x 128, a layer", "32 x 16 x 64"], names
assert sum("keys" in n for n in names) == 3 and "stage sam" in names and names[-1].startswith("photo "), names
EOF
  printf '64 96 128 tanh\n' >"$work/shapes.txt"
  expect 2 "bench: an activation that does not exist" "$bin/trident" bench --shapes "$work/shapes.txt"
}

toy=$work/toy.gguf
check_version
make_toy
check_last_mlp
check_suppression
check_dinov2
check_radseg
check_pnp
if [ -f models/demo/demo.gguf ]; then
  model=models/demo/demo.gguf
  jpeg=$(ls models/demo/scenes/images/*.jpg | head -n 1)
  photo=$jpeg
  words="--classes models/demo/scenes/classes.txt"
  sizes=
  echo "model: the demo model"
else
  model=$toy
  jpeg=$(ls models/demo/scenes/images/*.jpg | head -n 1)
  photo=$golden/toy-b/photo.png
  sed -n 's/^class //p' "$golden/toy-b/case.txt" >"$work/words.txt"
  words="--classes $work/words.txt"
  sizes="--short-side 160 --window 112 --stride 64 --minimal-area 40"
  echo "model: the toy model (models/demo/demo.gguf is not there)"
fi
check_results
check_memory
check_plan
check_bench
check_refusals
check_folder
check_names
check_foreign
check_storage
check_signal
check_listing
check_flips
if [ -f models/demo/demo.gguf ]; then
  check_hard_cases
  check_evaluate
  check_tune
  check_radseg_demo
  check_pnp_demo
  check "shards, lists, archives (Scripts/check-fleet.sh)" sh Scripts/check-fleet.sh "$bin"
else
  skip "evaluate, tune and hard cases (no demo model)"
fi
if [ "$skipped" -gt 0 ]; then echo "$skipped skipped"; fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
