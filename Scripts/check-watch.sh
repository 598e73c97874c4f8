#!/bin/sh
# trident watch: a folder, streams, what appears and goes, flat memory, and a real Mosquitto broker, which is installed
# where it is missing and can be.
# Usage: check-watch.sh FOLDER_OF_PROGRAMS [FRAMES]    FRAMES: of the run for memory (2000)
set -eu
bin=${1:?usage: check-watch.sh FOLDER_OF_PROGRAMS [FRAMES]}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.."
frames=${2:-2000}
work=$(mktemp -d)
watch_pid="" broker_pid="" listener_pid=""
# shellcheck disable=SC2086
trap 'kill -9 $watch_pid $broker_pid $listener_pid 2>/dev/null || true; rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $*" >&2
  for file in "$work"/*.out "$work"/*.err; do [ ! -f "$file" ] || { echo "-- $file"; tail -n 5 "$file" | cut -c 1-300; } >&2; done
  exit 1
}
scenes=models/demo/scenes/images
cc=${CC:-cc}
command -v "$cc" >/dev/null 2>&1 || cc=clang
# Small and fast: what is tested is not the answer.
size=112
limit=""
watch() {
  $limit "$bin/trident" watch --model models/demo/demo.gguf --no-cache --profile fast --short-side $size --window $size --stride $size "$@"
}
# Runs in the background; its number is in $watch_pid.
start() {
  "$bin/trident" watch --model models/demo/demo.gguf --no-cache --profile fast --short-side $size --window $size --stride $size "$@" \
    >"$work/watch.out" 2>"$work/watch.err" &
  watch_pid=$!
}
# end SIGNAL: of the watch; its exit code is in $code.
end() {
  kill -"$1" "$watch_pid"
  code=0
  wait "$watch_pid" 2>/dev/null || code=$?
  watch_pid=""
}
# until_true SECONDS WHAT COMMAND...
until_true() {
  left=$(($1 * 10)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || fail "$what"
    sleep 0.1
  done
}
lines() { [ "$(grep -c "$1" "$2")" -ge "$3" ]; }
watches() { grep -q inotify "/proc/$watch_pid/fdinfo/"*; }
# json FILE EXPRESSION: of `f`, the frames; `e`, the last line
json() {
  python3 -c '
import json, sys
f = [json.loads(line) for line in open(sys.argv[1])]
e, f = f[-1], [one for one in f if "classes" in one]
sys.exit(0 if eval(sys.argv[2]) else str([(one["frame"], one["changes"], one["dropped"]) for one in f[:9]]) + str(e))' "$1" "$2" ||
    fail "$2"
}
words="--class sky --class grass --class sand --class horse --class water"

# ---- streams
# shellcheck disable=SC2086
{
  cat $scenes/farm.jpg $scenes/farm.jpg; printf 'garbage \377\330 \377'; head -c 20000 $scenes/beach.jpg; cat $scenes/beach.jpg
} | watch $words --all --hold 2 --confidence - >"$work/stream.out" 2>"$work/stream.err"
json "$work/stream.out" 'len(f) == 3 and e["done"] == 3 and e["broken"] == 1 and e["dropped"] == 0'
json "$work/stream.out" 'not f[0]["changes"] and "grass" in [c["name"] for c in f[1]["changes"] if c["present"]]'
json "$work/stream.out" 'all(0 <= c.get("confidence", 0) <= c.get("best", 0) <= 1 for one in f for c in one["classes"])'
json "$work/stream.out" 'abs(sum(c["share"] for c in f[0]["classes"]) - 1) < 1e-4'
# A pipe that writes much faster than frames are done: the last picture wins.
i=0
while [ $i -lt 40 ]; do cat $scenes/farm.jpg; i=$((i + 1)); done >"$work/many.mjpeg"
# shellcheck disable=SC2086
cat "$work/many.mjpeg" $scenes/beach.jpg | watch $words - >"$work/newest.out" 2>"$work/newest.err"
json "$work/newest.out" 'len(f) < 41 and e["done"] + e["dropped"] == 41 and "picture 41" in f[-1]["photo"]'
# A file of pictures is done whole; --count ends early.
# shellcheck disable=SC2086
watch $words --count 5 "$work/many.mjpeg" >"$work/file.out" 2>"$work/file.err"
json "$work/file.out" 'len(f) == 5 and e["dropped"] == 0'
# Cameras leave out tables that all share (DHT): libjpeg knows them.
python3 - $scenes/farm.jpg >"$work/bare.jpg" <<'END'
import sys
photo, at, bare = open(sys.argv[1], "rb").read(), 2, b"\xff\xd8"
while photo[at + 1] != 0xDA:
    end = at + 2 + int.from_bytes(photo[at + 2:at + 4], "big")
    bare += b"" if photo[at + 1] == 0xC4 else photo[at:end]
    at = end
sys.stdout.buffer.write(bare + photo[at:])
END
# shellcheck disable=SC2086
cat "$work/bare.jpg" $scenes/farm.jpg | watch $words --all - >"$work/bare.out" 2>"$work/bare.err"
json "$work/bare.out" 'len(f) == 2 and f[0]["classes"] == f[1]["classes"]'
# What is no stream of JPEGs is an error of photos.
code=0
head -c 100000 models/demo/demo.gguf | watch --class sky --class grass - >"$work/none.out" 2>"$work/none.err" || code=$?
if [ $code != 3 ] || ! grep -q "without a whole JPEG" "$work/none.err"; then fail "a stream without pictures: exit code $code"; fi
# A picture that cannot be kept ends the watch, and is not shown cut short. Here it is 92,830 bytes and a file may have 87,040: the
# write that fails and the picture's end are in one read.
code=0
# shellcheck disable=SC2086
(ulimit -f 170 && watch $words "$work/many.mjpeg") >"$work/full.out" 2>"$work/full.err" || code=$?
if [ $code != 3 ] || grep -q "exit_code" "$work/full.out" || ! grep -q "keep a picture" "$work/full.err"; then
  fail "pictures that cannot be kept: exit code $code"
fi
if command -v ffmpeg >/dev/null 2>&1; then
  # shellcheck disable=SC2086
  ffmpeg -v error -loop 1 -i $scenes/farm.jpg -frames:v 4 -f mjpeg - | watch $words --all - >"$work/ffmpeg.out" 2>"$work/ffmpeg.err"
  json "$work/ffmpeg.out" 'len(f) == 4 and e["broken"] == 0'
fi

# ---- a camera, by a stand-in for its driver
"$cc" -Wall -Wextra -Werror -shared -fPIC -o "$work/fake-camera.so" Scripts/fake-camera.c
# fake NAME FORMAT PICTURE STRIDE OPTION...: what the stand-in makes of the file, watched
fake() {
  (
    out=$work/$1
    export FAKE_FORMAT="$2" FAKE_PICTURE="$3" FAKE_STRIDE="$4" FAKE_CAMERA=/dev/full LD_PRELOAD="$work/fake-camera.so"
    shift 4
    watch "$@" /dev/full >"$out.out" 2>"$out.err"
  )
}
# camera FORMAT OPTION...
camera() {
  form=$1
  shift
  fake camera "$form" $scenes/farm.jpg 0 "$@"
}
# Ten pictures a second, one in 0.7 s is wanted: what the driver has by then is old, and given back.
# shellcheck disable=SC2086
camera MJPG $words --every 700ms --count 4
json "$work/camera.out" 'len(f) == 4 and all("/dev/full" in one["photo"] for one in f) and e["dropped"] >= 8'
json "$work/camera.out" 'f[0]["classes"] == f[3]["classes"] and f[0]["classes"][1]["share"] > 0.2'
code=0
(export FAKE_FIRST=H265 && camera H264 --class sky --class grass) || code=$?
if [ $code != 3 ] || ! grep -q "gives no JPEGs and no pixels that are read, only H265 H264" "$work/camera.err"; then
  fail "a camera that gives nothing that is read: exit code $code"
fi
code=0
camera MJPG --class sky --class grass --camera-format NV12 || code=$?
if [ $code != 3 ] || ! grep -q "gives no NV12, only YUYV MJPG" "$work/camera.err"; then fail "a form that it has not: exit code $code"; fi
# Plain pixels: 8 bars, rows with a gap behind them. What is uncertain keeps its colours in an overlay. A real driver gives
# all forms in Scripts/arm/vm.sh.
python3 - "$work/bars" <<'END'
import sys
bars = [(180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212), (35, 212, 114), (16, 128, 128)]
row = b"".join(bytes((y, cb, y, cr)) * 20 for y, cb, cr in bars) + bytes(64)
open(sys.argv[1], "wb").write(row * 240)
open(sys.argv[1] + "-short", "wb").write(row * 239)
END
# bars FILE STRIDE OPTION...
bars() {
  picture=$1 stride=$2
  shift 2
  # shellcheck disable=SC2086
  fake bars H264 "$picture" "$stride" $words --unknown-threshold 1 --camera-size 320x240 "$@"
}
bars "$work/bars" 704 --count 2 --overlay "$work/bars.png"
json "$work/bars.out" 'len(f) == 2 and f[0]["width"] == 320 and f[0]["height"] == 240'
python3 Scripts/check_bars.py --tolerance 2 "$work/bars.png" >"$work/colours.out" 2>&1 || fail "$(cat "$work/colours.out")"
# A driver that contradicts itself, and pictures that break off, which are left out.
code=0
bars "$work/bars" 600 --count 1 || code=$?
if [ $code != 3 ] || ! grep -q "tells a size that its pictures do not have" "$work/bars.err"; then fail "rows that are too short: exit code $code"; fi
limit="timeout 3"
bars "$work/bars-short" 704 --count 1 || true
limit=""
json "$work/bars.out" 'e["done"] == 0 and e["dropped"] >= 5'
code=0
watch --class sky --class grass /dev/null >"$work/null.out" 2>"$work/null.err" || code=$?
if [ $code != 3 ] || ! grep -q "is no camera" "$work/null.err"; then fail "a device that is no camera: exit code $code"; fi

# ---- the unit of systemd
if command -v systemd-analyze >/dev/null 2>&1; then
  sed "s#/usr/bin/trident#$bin/trident#; /^Documentation=/d" packaging/systemd/trident-watch.service >"$work/trident-watch.service"
  systemd-analyze verify "$work/trident-watch.service" 2>&1 | grep trident-watch >"$work/unit.err" && fail "the unit of systemd"
fi

# ---- a folder
mkdir "$work/in"
cp $scenes/street.jpg "$work/in/before.jpg"
# shellcheck disable=SC2086
start $words --output "$work/last.png" --overlay "$work/over.png" "$work/in"
until_true 90 "the watch does not start" watches
head -c 20000 $scenes/farm.jpg >"$work/in/.hidden.jpg"
(head -c 20000 $scenes/farm.jpg; sleep 1; tail -c +20001 $scenes/farm.jpg) >"$work/in/a.jpg"
until_true 90 "a file that was written" lines '"frame":1' "$work/watch.out" 1
mv "$work/in/.hidden.jpg" "$work/in/bad.jpg"
until_true 90 "a photo that is damaged" lines '"exit_code":3' "$work/watch.out" 1
cp $scenes/beach.jpg "$work/in/.b" && mv "$work/in/.b" "$work/in/b.jpg"
until_true 90 "a file that was moved in" lines '"frame":2' "$work/watch.out" 1
grep -q 'b.jpg' "$work/last.json" || fail "the legend of the last photo"
# shellcheck disable=SC2086
"$bin/trident" segment --model models/demo/demo.gguf --no-cache --profile fast --short-side $size --window $size --stride $size \
  $words --quiet --output "$work/same.png" --overlay "$work/same-over.png" $scenes/beach.jpg
if ! cmp "$work/last.png" "$work/same.png" || ! cmp "$work/over.png" "$work/same-over.png"; then fail "segment gives another map"; fi
end TERM
[ $code = 143 ] || fail "TERM ended the watch with $code"
json "$work/watch.out" 'len(f) == 2 and e["failed"] == 1 and "a.jpg" in f[0]["photo"] and "b.jpg" in f[1]["photo"]'
code=0
watch --class sky --class grass --output "$work/in/last.png" "$work/in" >"$work/loop.out" 2>"$work/loop.err" || code=$?
[ $code = 2 ] || fail "an output in the folder that is watched: exit code $code"
# shellcheck disable=SC2086
watch $words --existing --all --count 3 "$work/in" >"$work/existing.out" 2>"$work/existing.err"
json "$work/existing.out" 'sorted(one["photo"][-6:] for one in f) == ["/a.jpg", "/b.jpg", "re.jpg"]'
echo "ok: streams, a stand-in for a camera, a folder, presence, a gentle end"

# ---- memory
cat >"$work/feed.py" <<'END'
import sys
photos = [open(name, "rb").read() for name in sys.argv[2:]]
for at in range(int(sys.argv[1])):
    sys.stdout.buffer.write(photos[at % len(photos)])
END
private() { awk '/RssAnon|RssShmem/ { sum += $2 } END { print sum }' "/proc/$watch_pid/status"; }
# memory OPTION...
memory() {
  mkfifo "$work/pipe"
  python3 "$work/feed.py" "$frames" $scenes/farm.jpg $scenes/beach.jpg >"$work/pipe" &
  size=64
  # shellcheck disable=SC2086
  start $words --all --threads 1 "$@" "$work/pipe"
  size=112
  until_true 300 "the run for memory" lines '"frame":200,' "$work/watch.out" 1
  early=$(private)
  late_frame=$((frames - 50))
  until_true 1200 "the run for memory" lines "\"frame\":$late_frame," "$work/watch.out" 1
  late=$(private)
  wait "$watch_pid"
  watch_pid=""
  json "$work/watch.out" "e['done'] == $frames"
  [ $((late - early)) -le 768 ] || fail "$early KiB after 200 photos, $late KiB after $late_frame"
  echo "ok: private memory after 200 and $late_frame photos: $early and $late KiB${1:+, with a broker}"
}

# ---- a broker
if ! command -v mosquitto >/dev/null 2>&1 || ! command -v mosquitto_sub >/dev/null 2>&1; then
  root=""
  [ "$(id -u)" = 0 ] || root="sudo -n"
  if command -v apt-get >/dev/null 2>&1; then
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients libmosquitto-dev \
      >"$work/apt" 2>&1 || true
  fi
fi
PATH=$PATH:/usr/sbin
if ! command -v mosquitto >/dev/null 2>&1 || ! command -v mosquitto_sub >/dev/null 2>&1; then
  memory
  echo "skipped: the broker (mosquitto, mosquitto-clients and libmosquitto1 cannot be had)"
  exit 0
fi
if [ -f /usr/include/mosquitto.h ]; then
  "$cc" -std=c11 -Wall -Wextra -Werror -fsyntax-only -ISources/CSystem/include Scripts/check_mosquitto.c
  echo "ok: our declarations are those of mosquitto.h"
else
  echo "left out: mosquitto.h is not installed, so our declarations were not compared"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# broker LINE...: starts one with this configuration
broker() {
  { echo "user root"; printf '%s\n' "$@"; } >"$work/mosquitto.conf"
  mosquitto -c "$work/mosquitto.conf" >"$work/broker.err" 2>&1 &
  broker_pid=$!
}
no_broker() {
  kill -9 "$broker_pid"
  wait "$broker_pid" 2>/dev/null || true
  broker_pid=""
}
# retained TOPIC TEXT [OPTION...]: the broker holds it
retained() {
  topic=$1 text=$2
  shift 2
  mosquitto_sub -h 127.0.0.1 -p "$port" -t "$topic" -C 1 -W 1 --retained-only "$@" 2>/dev/null | grep -q "$text"
}
mkdir "$work/camera"
# shellcheck disable=SC2086
start $words --class 'Tür "Nr. 1"' --mqtt 127.0.0.1:"$port" --mqtt-topic test/door --mqtt-discovery ha "$work/camera"
until_true 90 "the watch does not start" watches
cp $scenes/farm.jpg "$work/camera/1.jpg"
until_true 90 "frames while the broker is away" lines '"frame":1' "$work/watch.out" 1
grep -q "connection refused" "$work/watch.err" || fail "nothing was said of the broker that is away"
broker "listener $port 127.0.0.1" "allow_anonymous true"
until_true 90 "online" retained test/door/status online
until_true 30 "a class that is there" retained test/door/grass/present ON
retained test/door/water/present OFF || fail "a class that is not there"
retained test/door/grass/share '^[0-9]*\.[0-9][0-9]$' || fail "a share"
mosquitto_sub -h 127.0.0.1 -p "$port" -t 'ha/#' -W 1 -v --retained-only 2>/dev/null >"$work/ha" || true
python3 - "$work/ha" <<'END' || fail "Home Assistant's discovery"
import json, sys
found = dict(line.rstrip("\n").split(" ", 1) for line in open(sys.argv[1]))
assert len(found) == 12, sorted(found)
door = json.loads(found["ha/binary_sensor/test_door/t_r_nr_1/config"])
assert door["name"] == 'Tür "Nr. 1"' and door["state_topic"] == "test/door/t_r_nr_1/present", door
assert door["availability_topic"] == "test/door/status" and door["payload_on"] == "ON", door
assert json.loads(found["ha/sensor/test_door/grass_share/config"])["unit_of_measurement"] == "%"
assert len({json.loads(text)["unique_id"] for text in found.values()}) == 12
END
# Away in between: what changed meanwhile is what is held afterwards.
no_broker
cp $scenes/beach.jpg "$work/camera/2.jpg"
until_true 90 "frames while the broker is away again" lines '"frame":2' "$work/watch.out" 1
broker "listener $port 127.0.0.1" "allow_anonymous true"
until_true 90 "online again" retained test/door/status online
until_true 30 "a class that went" retained test/door/grass/present OFF
retained ha/binary_sensor/test_door/sand/config present || fail "discovery again"
mosquitto_sub -h 127.0.0.1 -p "$port" -t 'test/door/change' -t 'test/door/frame' -C 2 -W 60 -v >"$work/news" 2>/dev/null &
listener_pid=$!
sleep 0.5
cp $scenes/farm.jpg "$work/camera/3.jpg"
wait $listener_pid || fail "nothing was told to who listens"
listener_pid=""
if ! grep -q '^test/door/frame {' "$work/news" || ! grep -q '^test/door/change {' "$work/news"; then fail "news of a frame"; fi
# The last will.
end KILL
until_true 30 "the last will" retained test/door/status offline
# A goodbye.
# shellcheck disable=SC2086
start $words --mqtt 127.0.0.1:"$port" --mqtt-topic test/door "$work/camera"
until_true 90 "online a second time" retained test/door/status online
end TERM
retained test/door/status offline || fail "no goodbye"
memory --mqtt 127.0.0.1:"$port" --mqtt-topic test/door
grep -q ": connected" "$work/watch.err" || fail "the run for memory told nobody"
no_broker
echo "ok: broker away, back, retained; discovery; last will; goodbye"

# A password.
rm -f "$work/users"
mosquitto_passwd -b -c "$work/users" camera 'right one' 2>/dev/null
printf 'right one\n' >"$work/right"
printf 'wrong one\n' >"$work/wrong"
broker "listener $port 127.0.0.1" "allow_anonymous false" "password_file $work/users"
# shellcheck disable=SC2086
start $words --mqtt 127.0.0.1:"$port" --mqtt-topic test/door --mqtt-user camera --mqtt-password-file "$work/wrong" "$work/camera"
until_true 90 "a wrong password" grep -q "refuses: .*not authori" "$work/watch.err"
cp $scenes/beach.jpg "$work/camera/4.jpg"
until_true 90 "frames with a wrong password" lines '"frame":1' "$work/watch.out" 1
end TERM
# shellcheck disable=SC2086
start $words --mqtt 127.0.0.1:"$port" --mqtt-topic test/door --mqtt-user camera --mqtt-password-file "$work/right" "$work/camera"
until_true 90 "the right password" retained test/door/status online -u camera -P 'right one'
end TERM
no_broker

# Certificates of two authorities.
for name in one other; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=authority $name" -keyout "$work/$name.key" -out "$work/$name.pem" 2>/dev/null
done
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$work/server.key" -out "$work/server.csr" 2>/dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$work/names"
openssl x509 -req -days 2 -in "$work/server.csr" -CA "$work/one.pem" -CAkey "$work/one.key" -CAcreateserial -extfile "$work/names" -out "$work/server.pem" 2>/dev/null
broker "listener $port 127.0.0.1" "allow_anonymous true" "cafile $work/one.pem" "certfile $work/server.pem" "keyfile $work/server.key"
# shellcheck disable=SC2086
start $words --mqtt localhost:"$port" --mqtt-topic test/door --mqtt-cafile "$work/one.pem" "$work/camera"
until_true 90 "online behind certificates" retained test/door/status online -h localhost --cafile "$work/one.pem"
end TERM
# shellcheck disable=SC2086
start $words --mqtt localhost:"$port" --mqtt-topic test/door --mqtt-cafile "$work/other.pem" "$work/camera"
until_true 90 "a foreign authority" grep -q "trying again" "$work/watch.err"
! grep -q ": connected" "$work/watch.err" || fail "believed a foreign authority"
retained test/door/status offline -h localhost --cafile "$work/one.pem" || fail "online through a foreign authority"
end TERM
no_broker
echo "ok: watch: streams, folder, memory, and Mosquitto $(mosquitto -h | sed -n 's/^mosquitto version //p'): away, back, last will, password, certificates"
command -v ffmpeg >/dev/null 2>&1 || echo "left out: a stream from ffmpeg, which is not installed"
echo "left out: a camera (vm.sh has a real driver)"
