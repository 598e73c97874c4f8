"""Ray Data: classes of many photos as a table in Parquet.

    python ray_segment.py PHOTOS.txt OUT --model model.gguf --vocabulary words.tvoc --workers 8

Every machine needs the files under the same paths, and trident_boards. Rows: photo_rows.py.
"""

import pathlib

import ray
from photo_rows import arguments, rows

parser = arguments(__doc__)
parser.add_argument("--workers", type=int, default=2, help="photos at once, each on --threads cores")
asked = parser.parse_args()

ray.init(runtime_env={"py_modules": [str(pathlib.Path(__file__).with_name("photo_rows.py"))]})
photos = [line for line in pathlib.Path(asked.list).read_text().splitlines() if line]
ray.data.from_items(photos).repartition(min(len(photos), 16 * asked.workers)).flat_map(
    lambda row: rows(row["item"], asked.model, asked.vocabulary, asked.threads, asked.options),
    num_cpus=asked.threads, compute=ray.data.TaskPoolStrategy(size=asked.workers)).write_parquet(asked.out)
