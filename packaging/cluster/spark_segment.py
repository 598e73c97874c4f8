"""PySpark: classes of many photos as a table in Parquet.

    spark-submit --py-files photo_rows.py spark_segment.py PHOTOS.txt OUT --model model.gguf \\
      --vocabulary words.tvoc

Every machine needs the files under the same paths, and trident_boards. Rows: photo_rows.py. A task takes one
core: set spark.task.cpus to --threads for more.
"""

from photo_rows import arguments, rows
from pyspark.sql import SparkSession

parser = arguments(__doc__)
parser.add_argument("--tasks", type=int, default=64, help="into how many tasks the list is cut")
asked = parser.parse_args()

spark = SparkSession.builder.appName("trident").getOrCreate()
photos = spark.sparkContext.textFile(asked.list).filter(bool).repartition(asked.tasks)
table = photos.flatMap(lambda photo: rows(photo, asked.model, asked.vocabulary, asked.threads, asked.options))
schema = "photo string, class int, name string, pixels long, share double, confidence double, error string"
spark.createDataFrame(table, schema).write.parquet(asked.out)
