#!/bin/sh
# Runs that many processes share, with the real programs: shards, lists, parts and their merge, kills, storage that
# neither renames nor deletes. Usage: check-fleet.sh FOLDER_OF_PROGRAMS; the demo model must be there.
# Flags are split on purpose.
# shellcheck disable=SC2086
set -u
bin=${1:?usage: check-fleet.sh FOLDER_OF_PROGRAMS}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.." || exit 2
demo=$PWD/models/demo
store=$PWD/Scripts/object-store.c
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export XDG_CACHE_HOME="$work/cache"
unset TRIDENT_MEMORY_LIMIT TRIDENT_CPU TRIDENT_MODEL TRIDENT_SHARDS JOB_COMPLETION_INDEX AWS_BATCH_JOB_ARRAY_INDEX
unset SLURM_ARRAY_TASK_ID
cd "$work" || exit 2
failed=0

fail() {
  failed=$((failed + 1))
  echo "FAILED: $*"
  if [ -s log ]; then tail -n 3 log | sed 's/^/    /'; fi
}

# expect CODE NAME COMMAND...
expect() {
  code=$1
  name=$2
  shift 2
  "$@" >log 2>&1
  got=$?
  if [ "$got" -ne "$code" ]; then fail "$name: exit code $got, not $code"; fi
}
said() { grep -q "$2" log || fail "$1"; }
same() { cmp "$2" "$3" >log 2>&1 || fail "$1"; }

small="--profile fast --short-side 96 --window 96 --stride 96 --threads 1"
segment() { "$bin/trident" segment -m "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" $small --quiet "$@"; }
merge() { "$bin/trident" merge "$1" --csv "$2.csv" --coco "$2.coco.json" --statistics "$2.json" --failures "$2.failed"; }
# merged NAME PARTS: the same files as one run gave.
merged() {
  expect 0 "$1: merge" merge "$2" "$2"
  for ending in csv coco.json json failed; do same "$1: $ending" "one.$ending" "$2.$ending"; done
}

mkdir photos
for scene in "$demo"/scenes/images/*.jpg; do cp "$scene" photos; done
head -c 2000 photos/farm.jpg >photos/half.jpg
# Plain lines and JSON ones, one photo that is missing, one that is broken.
{
  ls photos/[a-m]*.jpg
  echo photos/missing.jpg
  for photo in photos/[n-z]*.jpg; do printf '{"path": "%s", "sha256": "%s"}\n' "$photo" "$(sha256sum "$photo" | cut -c -64)"; done
} >list

# One run, and the table and data set that its photos have one by one.
expect 0 "one run" segment --list list --parts one --annotations --csv csv
said "bad photos are told" "2 of 8 photos could not be segmented (2 photo)"
expect 0 "merge one" merge one one
{
  head -n 1 csv/photos/farm.jpg.csv
  sed 's/.*"path": "\([^"]*\)".*/\1/' list | while read -r photo; do
    if [ -f "csv/$photo.csv" ]; then tail -n +2 "csv/$photo.csv"; fi
  done
} >expected.csv
same "the table is that of the photos" expected.csv one.csv
expect 0 "sums" sh -c 'cd one && sha256sum --check --status 00000.sha256'

# Any number of shards, by number, by pipe and by what schedulers say.
for shard in 1 2; do expect 0 "shard $shard/2" segment --list list --shard $shard/2 --parts two --annotations; done
merged "two shards" two
shard=0
while [ $shard -lt 7 ]; do
  expect 0 "shard $shard of 7 by Kubernetes" env JOB_COMPLETION_INDEX=$shard TRIDENT_SHARDS=7 "$bin/trident" segment \
    -m "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" $small --list list --parts seven --annotations
  said "who said so" "as JOB_COMPLETION_INDEX says"
  shard=$((shard + 1))
done
merged "seven shards" seven
# shellcheck disable=SC2002
cat list | segment --list - --parts piped --annotations >log 2>&1 || fail "a list by pipe"
merged "a list by pipe" piped

# Done is done; another model, list or folder is refused; what is not ours stays.
find one -type f -exec sha256sum {} + | sort >before
expect 0 "again" segment --list list --parts one --annotations --csv csv
find one -type f -exec sha256sum {} + | sort >after
same "nothing is written again" before after
expect 3 "again, bad photos being an error" segment --list list --parts one --annotations --csv csv --fail-on-photo
expect 2 "other outputs" segment --list list --parts one --annotations
expect 2 "other words" "$bin/trident" segment -m "$demo/demo.gguf" --class dog --class sky $small --list list --parts one \
  --annotations --csv csv
expect 2 "a list without --parts" segment --list list
expect 2 "a photo and a list" segment --list list --parts x photos/farm.jpg
expect 2 "no photo at all" segment --output x.png
printf '../%s/photos/farm.jpg\n' "${work##*/}" >up
mkdir -p deep/inside
cp photos/farm.jpg deep/inside
cp photos/street.jpg deep
# Not quiet: what is left out is said.
expect 0 "a folder" "$bin/trident" segment -m "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" $small deep --parts flat
said "what a folder leaves out" "left out: 1 folder"
expect 0 "a folder in a folder" segment deep --recursive --parts deep.parts
[ "$(grep -c '"line"' deep.parts/00000.jsonl)" = 2 ] || fail "--recursive does not enter folders"
expect 2 "a word among the photos" "$bin/trident" segment -m "$demo/demo.gguf" --class horse $small grass --parts words
expect 2 "paths that lead out" segment --list up --parts up.parts --csv csv2
rm -r two/00001*
expect 6 "a shard is missing" merge two x
said "which one" "shard 2 of 2 not done yet"
mkdir mine && echo mine >mine/00000.jsonl
expect 2 "a stranger's journal" segment --list list --parts mine
grep -qx mine mine/00000.jsonl || fail "a stranger's journal was replaced"
echo mine >mine.csv
expect 2 "a stranger's table" "$bin/trident" merge one --csv mine.csv
grep -qx mine mine.csv || fail "a stranger's table was replaced"

# Sums.
printf '{"path": "photos/farm.jpg", "sha256": "%064d"}\n' 0 >wrong
expect 0 "another photo than the list says" segment --list wrong --parts wrong.parts --expect-sums
said "which is recorded" "1 sum"
expect 2 "sums that the list does not have" segment --list list --parts sums.parts --expect-sums
expect 5 "photos that do not fit" segment --list list --parts tight --memory-limit 1M
expect 5 "photos that do not fit, again" segment --list list --parts tight --memory-limit 1M

# Killed again and again: nothing is lost, nothing is there twice.
kills=0
for wait in 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8; do
  "$bin/trident" segment -m "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" $small --quiet --list list --parts killed \
    --annotations -o killed.maps >log 2>&1 &
  run=$!
  sleep $wait
  if kill -9 $run 2>/dev/null; then kills=$((kills + 1)); fi
  wait $run 2>/dev/null
done
expect 0 "what is left after $kills kills" segment --list list --parts killed --annotations -o killed.maps
merged "after $kills kills" killed

# A long list starts at once, in the memory of a short one.
if command -v prlimit >/dev/null; then
  awk 'BEGIN { for (i = 0; i < 1000000; i++) print (i == 7 ? "photos/farm.jpg" : "photos/none/" i ".jpg") }' >million
  expect 2 "a million shards are too many" segment --list million --shard 8/1000000 --parts million.parts
  expect 0 "a million lines in 48 MiB" prlimit --data=50331648 "$bin/trident" segment -m "$demo/demo.gguf" \
    --classes "$demo/scenes/classes.txt" $small --quiet --no-cache --list million --shard 8/100000 --parts million.parts
  said "one photo of ten is there" "9 of 10 photos"
fi

# Storage that neither renames, adds to nor deletes.
if cc -shared -fPIC -o object-store.so "$store" -ldl >log 2>&1; then
  mkdir store
  export OBJECT_STORE="$work/store" OBJECT_STORE_LOG="$work/tries"
  whole() {
    parts=$1
    shift
    env LD_PRELOAD="$work/object-store.so" "$@" "$bin/trident" segment -m "$demo/demo.gguf" --classes \
      "$demo/scenes/classes.txt" $small --quiet --list list --parts "store/$parts" --annotations -o "store/$parts.maps" \
      --masks "store/$parts.masks" --writes whole
  }
  expect 0 "an object store" whole a
  expect 0 "an object store, again" whole a
  for opened in 1 4 9 14 30; do expect 137 "killed at file $opened" whole b "OBJECT_STORE_ENDS=$opened"; done
  expect 0 "after that" whole b
  [ ! -s tries ] || fail "an object store: $(cat tries)"
  expect 6 "an object store without --writes whole" env LD_PRELOAD="$work/object-store.so" "$bin/trident" segment -m \
    "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" $small --quiet -o store/c.png photos/farm.jpg
  expect 2 "--writes whole and --overwrite" segment --writes whole --overwrite -o store/c.png photos/farm.jpg
  unset OBJECT_STORE OBJECT_STORE_LOG
  for parts in a b; do
    cp -r store/$parts whole.$parts
    merged "an object store's parts" whole.$parts
  done
  diff -r store/a.maps store/b.maps >log 2>&1 || fail "an object store's maps differ"
  expect 0 "the same by renaming" segment --list list --parts renamed --annotations -o renamed.maps
  diff -r renamed.maps store/a.maps >log 2>&1 || fail "maps written whole differ"
else
  echo "skipped: storage that does not rename (cc is missing)"
fi

# Archives: streamed both ways, one sample a key, bad members told, the rest done.
mkdir sample
for scene in beach farm music; do
  cp "photos/$scene.jpg" "sample/$scene.jpg"
  echo "$scene" >"sample/$scene.cls"
  cp photos/table.jpg "sample/$scene.seg.jpg"
done
cp photos/half.jpg sample/half.jpg
(cd sample && tar -cf ../in.tar beach.cls beach.jpg beach.seg.jpg farm.cls farm.jpg half.jpg music.jpg music.cls)
archive() { segment --tar "$1" --tar-output "$2" --tar-formats output,csv,overlay,coco,labelme; }
expect 0 "an archive" archive in.tar out.tar
said "what was bad in it" "1 of 4 photos could not be segmented, 0 damaged members"
tar -tf out.tar >members
for member in beach farm half music; do
  if [ $member = half ]; then
    echo half.failed.json
  else
    for ending in png csv overlay.png coco.json labelme.json json; do echo "$member.$ending"; done
  fi
done | sed '1i __trident__' >wanted
same "its members" wanted members
mkdir unpacked
tar -C unpacked -xf out.tar
expect 0 "the same photo from a file" segment -o farm.png photos/farm.jpg
same "the same labels from an archive" farm.png unpacked/farm.png
# shellcheck disable=SC2002
cat in.tar | archive - - >piped.tar 2>log || fail "an archive by pipes"
mkdir unpiped
tar -C unpiped -xf piped.tar
same "the same labels by pipes" farm.png unpiped/farm.png
expect 0 "an archive again" archive in.tar out.tar
expect 3 "an archive, bad photos being an error" segment --tar in.tar --tar-output strict.tar --fail-on-photo
cp in.tar bent.tar
at=$(tar -R -tf in.tar | sed -n 's/^block \([0-9]*\): farm.jpg/\1/p')
printf X | dd of=bent.tar bs=1 seek=$((at * 512 + 150)) conv=notrunc 2>/dev/null
expect 0 "an archive with a damaged header" archive bent.tar unbent.tar
said "which is told" "1 damaged members"
tar -tf unbent.tar | grep -q music.png || fail "what comes behind a damaged header"
tar -tf unbent.tar | grep -q farm.png && fail "a member whose header is damaged"
head -c 60000 in.tar >cut.tar
expect 0 "half an archive" archive cut.tar uncut.tar
echo mine >mine.tar
expect 2 "a stranger's archive" archive in.tar mine.tar
expect 2 "an archive in the place of its input" archive in.tar ./in.tar
expect 2 "an archive and photos" segment --tar in.tar --tar-output x.tar photos/farm.jpg
expect 2 "formats that are no members" segment --tar in.tar --tar-output x.tar --tar-formats masks
gzip -k in.tar
expect 3 "a compressed archive" archive in.tar.gz x.tar
said "what to do" "decompressor"
[ ! -e x.tar ] || fail "an archive from a refused one"
if command -v prlimit >/dev/null; then
  truncate -s "${LARGE:-256M}" sample/large.bin
  (cd sample && tar -cf - large.bin farm.jpg) | prlimit --data=50331648 "$bin/trident" segment -m "$demo/demo.gguf" --classes \
    "$demo/scenes/classes.txt" $small --quiet --no-cache --tar - --tar-output - >large.tar 2>log || fail "a large archive in 48 MiB"
  tar -xOf large.tar farm.png >large.png
  same "the same labels from a large archive" farm.png large.png
  rm sample/large.bin
fi

# Evaluation.
expect 2 "no scheduler" "$bin/trident" evaluate -m "$demo/demo.gguf" --images "$demo/scenes/images" --labels \
  "$demo/scenes/labels" --classes "$demo/scenes/classes.txt" --shard auto
expect 0 "an evaluation's shard by Slurm" env SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=5 \
  SLURM_ARRAY_TASK_COUNT=3 "$bin/trident" evaluate -m "$demo/demo.gguf" --images "$demo/scenes/images" --labels \
  "$demo/scenes/labels" --classes "$demo/scenes/classes.txt" $small --quiet --shard auto
said "its share" "2 of 6 photos"
[ "$failed" -eq 0 ] && echo "fleets: all as it should be"
[ "$failed" -eq 0 ]
