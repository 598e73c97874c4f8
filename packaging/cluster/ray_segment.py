"""Ray Data: classes of many photos as a table in Parquet.

    python ray_segment.py PHOTOS.txt OUT --model model.gguf --vocabulary words.tvoc --workers 8

Every machine needs the files under the same paths, and trident_boards. Rows: photo_rows.py.
"""

import argparse
import pathlib

import ray
from photo_rows import rows

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("list", help="a line a photo")
parser.add_argument("out", help="a folder for Parquet files")
parser.add_argument("--model", required=True)
parser.add_argument("--vocabulary", required=True, help="words, made by trident text")
parser.add_argument("--workers", type=int, default=2, help="photos at once, each on --threads cores")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--options", default="{}", help="""such as '{"refine": "none"}'""")
asked = parser.parse_args()

ray.init(runtime_env={"py_modules": [str(pathlib.Path(__file__).with_name("photo_rows.py"))]})
photos = [line for line in pathlib.Path(asked.list).read_text().splitlines() if line]
ray.data.from_items(photos).repartition(min(len(photos), 16 * asked.workers)).flat_map(
    lambda row: rows(row["item"], asked.model, asked.vocabulary, asked.threads, asked.options),
    num_cpus=asked.threads, compute=ray.data.TaskPoolStrategy(size=asked.workers)).write_parquet(asked.out)
