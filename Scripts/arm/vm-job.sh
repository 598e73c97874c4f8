#!/bin/sh
# What runs inside the virtual machine (vm.sh puts it there): busybox, no swap, a clock at 1970, a read-only root and
# home, results on the disk /dev/vdb. The kernel's command line says what to do: job=scene, job=full, job=faults or job=camera.
export HOME=/root PATH=/bin TRIDENT_CPU='' LD_LIBRARY_PATH=/lib/swift
job=$(sed -n 's/.*job=\([a-z]*\).*/\1/p' /proc/cmdline)
out=/tmp/results
mkdir $out
echo "machine: $(uname -r), pages of $(awk '/KernelPageSize/ { print $2; exit }' /proc/self/smaps) KiB, $(nproc) cores, $(date)"
free -k

# segment SECONDS FLAGS...: segments /app/photo.jpg; beside it, the kernel's figures for the process are read again and
# again: VmHWM (peak resident, kept by the kernel) and RssAnon (private, at this moment).
segment() {
  pause=$1
  shift
  /app/trident segment --model /app/model.gguf "$@" --json --output $out/labels.png /app/photo.jpg \
    > $out/run.json &
  run=$!
  while kill -0 $run 2> /dev/null; do
    cat /proc/$run/status >> /tmp/status 2> /dev/null
    sleep "$pause"
  done
  wait $run
  code=$?
  for name in VmHWM RssAnon; do
    echo "$name $(awk -v n="$name:" '$1 == n && $2 > most { most = $2 } END { print most + 0 }' /tmp/status) KiB"
  done
  return $code
}

# expect CODE WORDS COMMAND...: the command ends with the code, and what it says holds the words.
expect() {
  code=$1 words=$2
  shift 2
  "$@" > /tmp/log 2>&1
  got=$?
  said "$code" "$words" $got "$*"
}

said() {
  if [ "$3" -ne "$1" ] || { [ -n "$2" ] && ! grep -qi "$2" /tmp/log; }; then
    echo "FAILED: $4: code $3, not $1 with \"$2\": $(tail -n 2 /tmp/log)"
    failed=1
  else
    echo "as it should: code $3, $(tail -n 1 /tmp/log)"
  fi
}

# later CODE WORDS COMMAND: the same for a segmentation that COMMAND disturbs while it works ($run is its process).
later() {
  /app/trident segment --model /tmp/model.gguf --class dog --class grass --quiet --output /tmp/out/a.png \
    --scores /tmp/out/a.npy /app/photo.jpg > /tmp/log 2>&1 &
  run=$!
  until grep -q model.gguf /proc/$run/maps; do sleep 0.1; done
  sleep 3
  eval "$3"
  wait $run
  said "$1" "$2" $? "$3"
  empty /tmp/out
}

empty() {
  [ -z "$(ls -A "$1")" ] && return
  echo "FAILED: left behind in $1: $(ls -A "$1")"
  rm -f "$1"/* "$1"/.trident*
  failed=1
}

faults() {
  failed=0
  mkdir /tmp/card /tmp/bad /tmp/out
  mount -t tmpfs -o size=8k tmpfs /tmp/card
  echo "- a card with 8 KiB free"
  expect 6 "No space left" /app/trident segment --model /app/model.gguf --class dog --class grass --quiet \
    --output /tmp/card/a.png --scores /tmp/card/a.npy /app/photo.jpg
  empty /tmp/card
  echo "- a card with unreadable blocks: under the model, under the photo"
  mount -t ext4 -o ro /dev/vdc /tmp/bad
  expect 4 "could not be read while in use" /app/trident segment --model /tmp/bad/model.gguf --class dog \
    --class grass --quiet --output /tmp/out/a.png /app/photo.jpg
  expect 4 "." /app/trident verify /tmp/bad/model.gguf
  expect 3 "Input/output error" /app/trident segment --model /app/model.gguf --class dog --class grass --quiet \
    --output /tmp/out/a.png /tmp/bad/photo.jpg
  empty /tmp/out
  echo "- a model cut short while it is mapped, an end by SIGTERM"
  cp /app/model.gguf /tmp/model.gguf
  later 143 "" 'kill -TERM $run'
  later 4 "could not be read while in use" 'echo -n > /tmp/model.gguf'
  echo "- a processor that slows down"
  mount -t tmpfs tmpfs /sys/devices/system/cpu
  mkdir -p /sys/devices/system/cpu/cpu0/cpufreq
  echo 1500000 > /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
  /app/trident segment --model /app/model.gguf --class dog --class grass --json --output /tmp/out/a.png \
    /app/photo.jpg > /tmp/log 2>&1 &
  # The label map is opened after the first reading.
  # shellcheck disable=SC2010
  until ls -A /tmp/out | grep -q part; do sleep 0.1; done
  echo 600000 > /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
  wait $!
  said 0 '"mhz_before": 1500' $? throttling
  said 0 '"mhz_after": 600' 0 throttling
  return $failed
}

# watch NAME OPTION...: its lines are NAME.jsonl. What is less certain than certain is of no class, so that an overlay shows
# the picture itself.
watch() {
  name=$1
  shift
  /app/trident watch --model /app/model.gguf --no-cache --profile fast --short-side 64 --window 64 --stride 64 \
    --class sky --class grass --class water --unknown-threshold 1 --camera-size 640x360 "$@" /dev/video0 \
    > "$out/$name.jsonl" 2> "/tmp/$name.log"
}

# ended CODE WORDS GOT NAME: of a watch.
ended() {
  cp "/tmp/$4.log" /tmp/log
  said "$@"
}

# lines NAME COUNT: of frames, each with the picture's size and all classes, and a last line that counts them.
lines() {
  frames=$(grep -c '"width":640,"height":360,.*"name":"sky".*"name":"grass".*"name":"water"' "$out/$1.jsonl")
  if [ "$frames" -ne "$2" ] || ! tail -n 1 "$out/$1.jsonl" | grep -q "\"done\":$2,"; then
    echo "FAILED: $1: $frames frames of $2: $(tail -n 1 "/tmp/$1.log") $(tail -n 1 "$out/$1.jsonl")"
    failed=1
  else
    echo "as it should: $1: $frames frames"
  fi
}

camera() {
  failed=0
  cat /sys/class/video4linux/video0/name
  for form in YUYV UYVY NV12 YU12 RGB3 BGR3 GREY; do
    watch $form --camera-format $form --count 1 --overlay $out/$form.png
    ended 0 "" $? $form
    lines $form 1
  done
  echo "- frames one after another, in the form that the camera has"
  watch usual --count 3 --every 500ms
  ended 0 "" $? usual
  lines usual 3
  echo "- a form that it has not"
  watch none --camera-format MJPG --count 1
  ended 3 "gives no MJPG, only YUYV" $? none
  echo "- unplugged"
  watch unplugged --every 100ms --overlay /tmp/over.png &
  run=$!
  until grep -q '"frame":2' $out/unplugged.jsonl 2> /dev/null; do sleep 0.1; done
  watch busy --count 1
  ended 3 "busy" $? busy
  echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
  wait $run
  ended 3 "take a picture: no such device" $? unplugged
  return $failed
}

case $job in
  scene) segment 0.2 --no-cache --quiet --classes /app/words ;;
  full) segment 2 --vocabulary /app/words --quiet ;;
  faults) faults ;;
  camera) camera ;;
esac
echo "JOB ENDED WITH $?"
tar -c -C $out -f /dev/vdb . 2> /dev/null
