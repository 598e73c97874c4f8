#!/bin/sh
# Short forms of the campaigns in docs/lab/trust.md. Usage: trust.sh FOLDER_OF_PROGRAMS [MUTANTS_A_FORMAT] [PHOTOS] [MOMENTS] [CALLS]
set -eu
bin=${1:?usage: trust.sh FOLDER_OF_PROGRAMS}
mutants=${2:-200}
photos=${3:-200}
moments=${4:-5}
cd "$(dirname "$0")/.."
if ! command -v python3 >/dev/null; then
  echo "skipped: python3 is missing"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'kill $part 2>/dev/null; wait; exit 130' INT TERM HUP

run() {
  python3 "$@" &
  part=$!
  wait $part
}

run Scripts/trust/mutate.py --programs "$bin" --count "$mutants" --work "$work"
run Scripts/trust/faults.py --programs "$bin" --work "$work/faults" --step "${5:-10}"
for campaign in photos pair kill storage; do
  run Scripts/trust/campaign.py $campaign --programs "$bin" --photos "$photos" --moments "$moments"
done
