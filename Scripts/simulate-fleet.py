"""simulate-fleet.py PARTS [--photos N] [--workers W] [--shards N ...] [--slow SHARE:FACTOR] [--kills RATE]

How long a fleet takes, from the seconds of each photo in the journals of PARTS (trident segment --parts).

Workers take shards one after another, in order. A share of them is slower by a factor (stragglers).
Processes are killed at random; the photo at hand is done again, behind START and PAUSE seconds (retries),
as a journal that keeps every photo makes it. Prints, for each number of shards, hours, how busy workers
were, and kills. Nothing but the seconds is measured."""
import argparse
import glob
import heapq
import json
import random

START, PAUSE = 0.5, 10.0


def measured(folder):
    """Seconds of each photo that was done."""
    seconds = []
    for path in sorted(glob.glob(glob.escape(folder) + "/*.jsonl")):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if "seconds" in record:
                    seconds.append(record["seconds"])
    return seconds


def simulate(draw, photos, shards, speeds, kills_per_hour, chance):
    """(seconds until the last shard is done, seconds of work, kills)"""
    free = [(0.0, worker) for worker in range(len(speeds))]
    heapq.heapify(free)
    busy, kills, end = 0.0, 0, 0.0
    for shard in range(shards):
        begin, worker = heapq.heappop(free)
        time = START
        for _ in range(photos // shards + (shard < photos % shards)):
            seconds = draw() * speeds[worker]
            # Killed while it is at hand, again and again: what was done of it is lost.
            while kills_per_hour and chance.random() < seconds * kills_per_hour / 3600:
                time += chance.random() * seconds + PAUSE + START
                kills += 1
            time += seconds
        busy += time
        end = max(end, begin + time)
        heapq.heappush(free, (begin + time, worker))
    return end, busy, kills


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts")
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--shards", type=int, nargs="+", default=[64, 128, 640, 2560])
    parser.add_argument("--slow", default="0.05:3", help="share of slower workers, and the factor")
    parser.add_argument("--kills", type=float, default=0.2, help="of each worker's process, an hour")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    seconds = measured(arguments.parts)
    if not seconds:
        parser.error(f"{arguments.parts}: no journal with photos that were done")
    share, factor = (float(value) for value in arguments.slow.split(":"))
    slow = round(share * arguments.workers)
    speeds = [factor] * slow + [1.0] * (arguments.workers - slow)
    mean = sum(seconds) / len(seconds)
    print(f"{len(seconds)} photos measured, {mean:.3f} s each; {arguments.photos} photos, "
          f"{arguments.workers} workers, {slow} of them {factor:g} times slower, "
          f"{arguments.kills:g} kills an hour")
    print("shards    hours  busy  kills")
    for shards in arguments.shards:
        chance = random.Random(arguments.seed)
        end, busy, kills = simulate(lambda: chance.choice(seconds), arguments.photos, shards, speeds,
                                    arguments.kills, chance)
        print(f"{shards:6} {end / 3600:8.2f} {100 * busy / (end * arguments.workers):4.0f}% {kills:6}")


if __name__ == "__main__":
    main()
