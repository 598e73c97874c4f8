#!/bin/sh
# Downloads published checkpoints and verifies them. Usage: models.sh FOLDER [NAME]...
# Names: clip-b16 clip-l14 clip-l14-336 clip-h14 metaclip-b16 dino-b16 dino-s16 dino-b8 dino-s8 dinov2-s14 dinov2-b14 dinov2-b14-reg dinov2-l14 sam-b sam-l sam-h vocab radio-b radio-l siglip2-text siglip2-tokenizer blip-base blip-large bert-vocab.
# Without names: what the base model needs. See models/README.md for sources and licences.
set -eu

if [ $# -lt 1 ]; then
  echo "usage: models.sh FOLDER [NAME]..." >&2
  exit 2
fi
folder=$1
shift
[ $# -gt 0 ] || set -- clip-b16 dino-b16 sam-b vocab

openai=https://openaipublic.azureedge.net/clip/models
meta=https://dl.fbaipublicfiles.com
salesforce=https://storage.googleapis.com/sfr-vision-language-research/BLIP/models

# Prints: address, file name, kind of checksum (sha256, md5 or none), checksum.
describe() {
  case $1 in
    clip-b16) sha=5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f
      echo "$openai/$sha/ViT-B-16.pt ViT-B-16.pt sha256 $sha" ;;
    clip-l14) sha=b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836
      echo "$openai/$sha/ViT-L-14.pt ViT-L-14.pt sha256 $sha" ;;
    clip-l14-336) sha=3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02
      echo "$openai/$sha/ViT-L-14-336px.pt ViT-L-14-336px.pt sha256 $sha" ;;
    clip-h14)
      hub=https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K/resolve/main
      echo "$hub/open_clip_pytorch_model.bin laion-h14/open_clip_pytorch_model.bin none -" ;;
    metaclip-b16) echo "$meta/MMPT/metaclip/b16_fullcc2.5b.pt metaclip-b16-fullcc2.5b.pt none -" ;;
    dino-b16) echo "$meta/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth dino_vitbase16_pretrain.pth none -" ;;
    dino-b8) echo "$meta/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth dino_vitbase8_pretrain.pth none -" ;;
    dino-s16) name=dino_deitsmall16_pretrain
      echo "$meta/dino/$name/$name.pth $name.pth none -" ;;
    dino-s8) name=dino_deitsmall8_pretrain
      echo "$meta/dino/$name/$name.pth $name.pth none -" ;;
    dinov2-s14) echo "$meta/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth dinov2_vits14_pretrain.pth none -" ;;
    dinov2-b14) echo "$meta/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth dinov2_vitb14_pretrain.pth none -" ;;
    dinov2-b14-reg) echo "$meta/dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth dinov2_vitb14_reg4_pretrain.pth none -" ;;
    dinov2-l14) echo "$meta/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth dinov2_vitl14_pretrain.pth none -" ;;
    # The end of a SAM file's name is the beginning of its MD5.
    sam-b) echo "$meta/segment_anything/sam_vit_b_01ec64.pth sam_vit_b_01ec64.pth md5 01ec64" ;;
    sam-l) echo "$meta/segment_anything/sam_vit_l_0b3195.pth sam_vit_l_0b3195.pth md5 0b3195" ;;
    sam-h) echo "$meta/segment_anything/sam_vit_h_4b8939.pth sam_vit_h_4b8939.pth md5 4b8939" ;;
    vocab)
      echo "https://raw.githubusercontent.com/openai/CLIP/main/clip/bpe_simple_vocab_16e6.txt.gz" \
        "bpe_simple_vocab_16e6.txt.gz sha256 924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a" ;;
    radio-b) hub=https://huggingface.co/nvidia/C-RADIOv3-B/resolve/main
      echo "$hub/c-radio_v3-b_half.pth.tar c-radio_v3-b_half.pth.tar none -" ;;
    radio-l) hub=https://huggingface.co/nvidia/C-RADIOv3-L/resolve/main
      echo "$hub/c-radio_v3-l_half.pth.tar c-radio_v3-l_half.pth.tar none -" ;;
    siglip2-text) hub=https://huggingface.co/google/siglip2-so400m-patch16-naflex/resolve/main
      echo "$hub/model.safetensors siglip2-so400m/model.safetensors none -" ;;
    siglip2-tokenizer) hub=https://huggingface.co/google/siglip2-so400m-patch16-naflex/resolve/main
      echo "$hub/tokenizer.json siglip2-so400m/tokenizer.json none -" ;;
    blip-base) name=model_base_retrieval_coco.pth
      echo "$salesforce/$name $name none -" ;;
    blip-large) name=model_large_retrieval_flickr.pth
      echo "$salesforce/$name $name none -" ;;
    bert-vocab) echo "https://huggingface.co/bert-base-uncased/resolve/main/vocab.txt vocab.txt none -" ;;
    *) return 1 ;;
  esac
}

# A checksum given in part is a beginning.
verify() {
  case $2 in
    none) return 0 ;;
    sha256) found=$(sha256sum "$1" | cut -d' ' -f1) ;;
    md5) found=$(md5sum "$1" | cut -d' ' -f1) ;;
  esac
  case $found in
    "$3"*) return 0 ;;
    *) echo "$1: $2 is $found, expected $3" >&2
      return 1 ;;
  esac
}

for name in "$@"; do
  if ! describe "$name" >/dev/null; then
    echo "unknown checkpoint '$name'; known: $(sed -n 's/^# Names: \(.*\)\.$/\1/p' "$0")" >&2
    exit 2
  fi
done
if ! command -v curl >/dev/null 2>&1; then
  echo "curl is missing; install it (apt-get install curl)" >&2
  exit 1
fi
failed=0
for name in "$@"; do
  read -r address file kind sum <<LINE
$(describe "$name")
LINE
  target=$folder/$file
  mkdir -p "$(dirname "$target")"
  if [ -f "$target" ] && verify "$target" "$kind" "$sum"; then
    echo "$target: there"
    continue
  fi
  echo "$target: downloading"
  # A broken download continues where it stopped; the final name appears only when the checksum agrees.
  if curl --fail --location --retry 3 --continue-at - --output "$target.partial" "$address"; then
    if verify "$target.partial" "$kind" "$sum"; then
      mv "$target.partial" "$target"
    else
      rm -f "$target.partial"
      failed=1
    fi
  else
    echo "$address: download failed" >&2
    failed=1
  fi
  # Where nothing is published, say what arrived, so that two people can compare.
  [ "$kind" = none ] && [ -f "$target" ] && sha256sum "$target"
done
exit $failed
