"""PySpark: classes of many photos as a table in Parquet.

    spark-submit --py-files photo_rows.py spark_segment.py PHOTOS.txt OUT --model model.gguf \\
      --vocabulary words.tvoc

Every machine needs the files under the same paths, and trident_boards. Rows: photo_rows.py. A task takes one
core: set spark.task.cpus to --threads for more.
"""

import argparse

from photo_rows import rows
from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("list", help="a line a photo; a path or URI that Spark reads")
parser.add_argument("out", help="a folder for Parquet files")
parser.add_argument("--model", required=True)
parser.add_argument("--vocabulary", required=True, help="words, made by trident text")
parser.add_argument("--tasks", type=int, default=64, help="into how many tasks the list is cut")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--options", default="{}", help="""such as '{"refine": "none"}'""")
asked = parser.parse_args()

spark = SparkSession.builder.appName("trident").getOrCreate()
photos = spark.sparkContext.textFile(asked.list).filter(bool).repartition(asked.tasks)
table = photos.flatMap(lambda photo: rows(photo, asked.model, asked.vocabulary, asked.threads, asked.options))
schema = "photo string, class int, name string, pixels long, share double, confidence double, error string"
spark.createDataFrame(table, schema).write.parquet(asked.out)
