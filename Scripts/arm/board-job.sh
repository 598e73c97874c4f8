#!/bin/sh
# The first process of the machine that build-on-board.sh boots: builds the package, samples memory, powers off.
export PATH=/usr/bin:/usr/sbin HOME=/root LANG=C.UTF-8
jobs=$(sed -n 's/.*jobs=\([0-9]*\).*/\1/p' /proc/cmdline)

# sample: a line a large process (name, largest resident as the kernel keeps it), the private memory of all, what is available.
sample() {
  awk '/^Name/ { name = $2 } /^VmHWM/ { most = $2 } /^RssAnon/ { all += $2; if (most > 65536) print "process", name, most }
    END { print "private", "all", all }' /proc/[0-9]*/status 2> /dev/null
  awk '/^MemAvailable/ { print "available", "all", $2 }' /proc/meminfo
}

# report: the most and the least of all samples so far.
report() {
  awk '$1 == "available" { if (!low || $3 < low) low = $3; next } $3 > most[$1 " " $2] { most[$1 " " $2] = $3 }
    END { for (what in most) print "most", what, most[what], "KiB"; print "least available", low, "KiB" }' /samples
}

mount -o remount,rw /
mount -t tmpfs tmpfs /tmp
cd /src || exit
echo "machine: $(uname -rm), $(nproc) cores"
grep -E "^Mem(Total|Available)" /proc/meminfo
swift build -c release -j "$jobs" > /build.log 2>&1 &
build=$!
count=0
while kill -0 $build 2> /dev/null; do
  sample >> /samples
  count=$((count + 1))
  if [ $((count % 30)) = 0 ]; then
    echo "$(cut -d. -f1 /proc/uptime) s: $(tail -n 1 /build.log | cut -c 1-80)"
    report
  fi
  sleep 3
done
wait $build
code=$?
tail -n 5 /build.log
report
grep -E '^(pgmajfault|workingset_refault_file|oom_kill) ' /proc/vmstat
echo "$(cut -d. -f1 /proc/uptime) s"
echo "BUILD ENDED WITH $code"
sync
busybox poweroff -f
