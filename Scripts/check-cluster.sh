#!/bin/sh
# Runs the schedulers of packaging/cluster for real, where they are installed: GNU parallel; Slurm on this one machine
# (munge, slurmctld and slurmd of Debian's slurm-wlm, as root, in a folder of their own), with tasks that are killed;
# PySpark's local cluster and Ray, two workers each.
# Kubernetes' manifest is held against the published schema. What is not there is said to be skipped.
# Usage: check-cluster.sh FOLDER_OF_PROGRAMS [KILLS]
#   apt-get install parallel slurm-wlm munge default-jre-headless
#   pip install kubernetes-validate ray pandas pyarrow pyspark numpy (half a gigabyte; in CLUSTER_VENV, or made anew)
# Flags are split on purpose.
# shellcheck disable=SC2086
set -u
bin=${1:?usage: check-cluster.sh FOLDER_OF_PROGRAMS [KILLS]}
kills=${2:-8}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$(dirname "$0")/.." || exit 2
demo=$PWD/models/demo
cluster=$PWD/packaging/cluster
work=$(mktemp -d) || exit 2
root=$PWD
venv=${CLUSTER_VENV:-$work/venv}
started=
# The processes that this script started, by number.
stop() {
  for file in $started; do
    if [ -f "$file" ]; then kill "$(cat "$file")" 2>/dev/null; fi
  done
  sleep 1
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM
export XDG_CACHE_HOME="$work/cache" TRIDENT="$bin/trident"
unset TRIDENT_MEMORY_LIMIT TRIDENT_CPU TRIDENT_MODEL TRIDENT_SHARDS
cd "$work" || exit 2
failed=0
fail() {
  failed=$((failed + 1))
  echo "FAILED: $*"
}

# 48 photos by six names, one of them missing, and what one process makes of them.
flags="-m $demo/demo.gguf --classes $demo/scenes/classes.txt --profile fast --short-side 96 --window 96 --stride 96"
mkdir photos
for scene in "$demo"/scenes/images/*.jpg; do
  for copy in 1 2 3 4 5 6 7 8; do cp "$scene" "photos/$(basename "$scene" .jpg)$copy.jpg"; done
done
rm photos/farm3.jpg
{ ls photos/*.jpg && echo photos/farm3.jpg; } >list
# A longer one, for processes that are killed while they work.
for _ in $(seq $((kills / 3 + 2))); do cat list; done >long
merge() { "$bin/trident" merge "$1" --csv "$1.csv" --coco "$1.coco.json" --statistics "$1.json"; }
# merged NAME PARTS WHOLE: nothing is lost, nothing is there twice.
merged() {
  merge "$2" >log 2>&1 || { fail "$1: $(cat log)" && return; }
  for ending in csv coco.json json; do cmp "$3.$ending" "$2.$ending" || fail "$1: $ending"; done
  echo "$1: $(cat log)"
}
one() { "$bin/trident" segment $flags --threads 1 --quiet --list "$1" --parts "$2" --annotations >log 2>&1 || fail "one process"; }
one list one
merge one >log 2>&1 || fail "one process: $(cat log)"

check_parallel() {
  sh "$cluster/gnu-parallel.sh" 7 2 list parallel $flags --threads 1 --annotations >log 2>&1 || fail "GNU parallel: $(tail -n 2 log)"
  merged "GNU parallel, 7 shards, 2 at once" parallel one
}

start_slurm() {
  host=$(hostname -s)
  dd if=/dev/urandom of=munge.key bs=1024 count=1 2>/dev/null
  chmod 600 munge.key
  munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munged.seed" || return 1
  started="$work/munged.pid"
  mkdir state spool
  cat >slurm.conf <<END
ClusterName=check
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
KillWait=1
NodeName=$host CPUs=$(nproc) RealMemory=1024 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
  export SLURM_CONF="$work/slurm.conf"
  slurmctld -c -f "$SLURM_CONF" || return 1
  started="$started $work/slurmctld.pid"
  slurmd -f "$SLURM_CONF" -N "$host" || return 1
  started="$started $work/slurmd.pid"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sinfo -h -o %t 2>/dev/null | grep -q idle && return 0
    sleep 1
  done
  return 1
}

# array ARRAY PARTS LIST: hands over the job's number.
array() {
  sbatch --parsable --array="$1" --cpus-per-task=1 --mem-per-cpu=0 --output="$work/%a.out" "$cluster/slurm-array.sh" \
    "$work/$3" "$work/$2" $flags --annotations
}
wait_for() {
  for _ in $(seq 600); do
    [ -z "$(squeue -h -j "$1" 2>/dev/null)" ] && return
    sleep 0.5
  done
  fail "Slurm: job $1 does not end"
}

check_slurm() {
  # One task is killed, script and all; it is sent again by its number.
  job=$(TRIDENT_SHARDS=8 array 0-7 slurm list) || { fail "sbatch" && return; }
  for _ in $(seq 200); do
    if squeue -h -t R -o %K -j "$job" | grep -qx 2; then break; fi
    sleep 0.1
  done
  scancel --full --signal=KILL "${job}_2"
  wait_for "$job"
  if [ -f slurm/00002.sha256 ]; then echo "Slurm: task 2 was done before it could be killed"; fi
  job=$(TRIDENT_SHARDS=8 array 2 slurm list)
  wait_for "$job"
  merged "Slurm, 8 tasks, one killed and sent again" slurm one

  # Processes are killed at random, and tried again by their script.
  job=$(TRIDENT_TRIES=1000 TRIDENT_PAUSE=0 array 0-7 storm long)
  done=0
  for _ in $(seq 3000); do
    [ "$done" -ge "$kills" ] && break
    [ -z "$(squeue -h -j "$job" 2>/dev/null)" ] && break
    # Only those that have this run's folder for parts.
    victim=$(pgrep -f "^$TRIDENT segment --list $work/long --parts $work/storm " | shuf -n 1)
    if [ -n "$victim" ] && kill -9 "$victim" 2>/dev/null; then done=$((done + 1)); fi
    sleep "0.0$(shuf -i 1-9 -n 1)"
  done
  wait_for "$job"
  one long storm.one
  merge storm.one >log 2>&1 || fail "one process: $(cat log)"
  merged "Slurm, 8 tasks, $done random kills" storm storm.one
}

# The table of TABLE's Parquet files has the classes of the one process, and the photo that is missing.
tabled() {
  "$venv/bin/python" - "$2" one.csv "$work/" <<'END' || fail "$1"
import csv, sys
import pandas
found = pandas.read_parquet(sys.argv[1])
found["photo"] = found["photo"].str.removeprefix(sys.argv[3])
failed = found[found["class"] < 0]
assert list(failed.photo) == ["photos/farm3.jpg"] and failed.error.iloc[0], failed
found = found[found["class"] >= 0]
rows = {(photo, number): pixels for photo, number, pixels in zip(found["photo"], found["class"], found["pixels"])}
assert len(rows) == len(found), "a row is there twice"
with open(sys.argv[2]) as file:
    wanted = {(row["photo"], int(row["class"])): int(row["pixels"]) for row in csv.DictReader(file)}
assert rows == wanted, (len(rows), len(wanted))
END
  echo "$1: $(grep -c . list) photos in one table"
}

# Ray and PySpark call the library from Python, with two workers each.
check_tables() {
  packages="kubernetes-validate ray pandas pyarrow pyspark numpy"
  if ! "$venv/bin/python" -c 'import ray, pandas, pyarrow, pyspark' 2>/dev/null; then
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q $packages; } >log 2>&1; then
      echo "skipped: Ray and PySpark (they cannot be installed: $(tail -n 1 log))"
      return
    fi
  fi
  mkdir site
  cp -r "$root/Python/src/trident_boards" site/
  cp "$bin/libtridentc.so" site/trident_boards/libtrident.so
  export PYTHONPATH="$work/site" RAY_DATA_DISABLE_PROGRESS_BARS=1
  "$bin/trident" text -q -m "$demo/demo.gguf" --classes "$demo/scenes/classes.txt" -o words.tvoc
  sed "s|^|$work/|" list >whole-paths
  set -- --model "$demo/demo.gguf" --vocabulary "$work/words.tvoc"
  options='{"affinity": "none", "refine": "none", "short_side": 96, "window": 96, "stride": 96}'
  if "$venv/bin/python" "$cluster/ray_segment.py" whole-paths ray "$@" --options "$options" >log 2>&1; then
    tabled "Ray, 2 workers" ray
  else fail "Ray: $(tail -n 1 log)"; fi
  if ! command -v java >/dev/null; then
    echo "skipped: PySpark (no Java)"
    return
  fi
  spark=$("$venv/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
  export SPARK_HOME="$spark" PYSPARK_PYTHON="$venv/bin/python" PYSPARK_DRIVER_PYTHON="$venv/bin/python"
  if "$spark/bin/spark-submit" --master 'local-cluster[2,1,1024]' --py-files "$cluster/photo_rows.py" \
    "$cluster/spark_segment.py" whole-paths spark "$@" --tasks 6 --options "$options" >log 2>&1; then
    tabled "PySpark, a local cluster of 2 workers" spark
  else fail "PySpark: $(grep -v INFO log | tail -n 1)"; fi
}

check_kubernetes() {
  if [ ! -x "$venv/bin/kubernetes-validate" ]; then
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q kubernetes-validate; } >log 2>&1; then
      echo "skipped: Kubernetes' schema (kubernetes-validate cannot be installed)"
      return
    fi
  fi
  "$venv/bin/kubernetes-validate" --strict "$cluster/kubernetes-job.yaml" >log 2>&1 || fail "Kubernetes: $(cat log)"
  echo "Kubernetes: $(tail -n 1 log)"
}

if command -v parallel >/dev/null; then check_parallel; else echo "skipped: GNU parallel is not installed"; fi
if command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null; then
  if start_slurm; then check_slurm; else echo "skipped: Slurm does not start here: $(tail -n 1 slurmctld.log slurmd.log)"; fi
else
  echo "skipped: Slurm is not installed"
fi
if command -v python3 >/dev/null; then check_tables; else echo "skipped: Ray and PySpark (python3 is missing)"; fi
if command -v python3 >/dev/null; then check_kubernetes; else echo "skipped: Kubernetes' schema (python3 is missing)"; fi
python3 -m json.tool "$cluster/aws-batch-job.json" >/dev/null || fail "AWS Batch: no JSON"
[ "$failed" -eq 0 ] && echo "schedulers: what ran is as it should be"
[ "$failed" -eq 0 ]
