"""Files of Spark: the claims, a folder of parts. The small tables stay as they are, since
each job of Spark takes its time."""
import os
import shutil

import pyspark
from pyspark.sql import SparkSession, functions

from original import TABLES, Cases, arguments

SMALL = [t for t in TABLES if t != "claims"]

original, out = arguments()
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
         .config("spark.sql.shuffle.partitions", "1").config("spark.driver.memory", "1g").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
TYPES = {"date": "date", "instant": "timestamp", "money": "decimal(12,2)", "quantity": "double", "flag": "boolean", "integer": "int"}


def typed(frame, **other):
    types = {**TYPES, **other}
    return frame.select([functions.col(c).cast(types[original.kind(c)]).alias(c) if original.kind(c) in types else functions.col(c)
                         for c in frame.columns])


text = spark.read.parquet(original.path("claims")).coalesce(1).cache()
nested = spark.read.parquet(original.path("claims", "nested")).coalesce(1)
usual = typed(text)
cases = Cases(out, "Parquet", "Spark", pyspark.__version__)


def write(variant, claims=text, to=cases, form="parquet", settings=None, partition=(), **options):
    with to.case(variant) as folder:
        for key, value in (settings or {}).items():
            spark.conf.set(key, value)
        claims.write.options(**options).format(form).partitionBy(*partition).save(os.path.join(folder, "claims"))
        for key in settings or {}:
            spark.conf.unset(key)
        for table in SMALL:
            shutil.copy(original.path(table), folder)


V2 = {"parquet.writer.version": "v2"}
for codec in ("none", "snappy", "gzip", "zstd", "lz4", "lz4_raw"):
    write(codec, compression=codec)
    write(f"{codec}, pages v2, typed", usual, compression=codec, **V2)
write("typed", usual)
write("text, pages v2", **V2)
write("no dictionary, pages v2, typed", usual, **V2, **{"parquet.enable.dictionary": "false"})
write("no dictionary, pages v2", **V2, **{"parquet.enable.dictionary": "false"})
write("small pages", usual, **{"parquet.page.size": "64", "parquet.page.row.count.limit": "8"})
write("small pages v2", usual, **V2, **{"parquet.page.size": "64", "parquet.page.row.count.limit": "8"})
write("bloom filters", **{"parquet.bloom.filter.enabled": "true"})
for typ in ("INT96", "TIMESTAMP_MICROS", "TIMESTAMP_MILLIS"):
    write(f"timestamps as {typ}", usual, settings={"spark.sql.parquet.outputTimestampType": typ})
write("timestamps without zone", typed(text, instant="timestamp_ntz"))
write("legacy format, typed", usual, settings={"spark.sql.parquet.writeLegacyFormat": "true"})
write("nested lines", nested)
write("nested lines, pages v2", nested, **V2)
write("nested lines, legacy format", nested, settings={"spark.sql.parquet.writeLegacyFormat": "true"})
delivery = functions.concat(functions.lit("d"), functions.floor(functions.monotonically_increasing_id() / 600))
write("hive folders", text.withColumn("delivery", delivery), partition=["delivery"])
write("four parts", maxRecordsPerFile=500)
for kind, column in (("map", "map('a', 1)"), ("array", "array(1, 2)"), ("struct", "named_struct('a', 1)"), ("binary", "X'FF00'"),
                     ("variant", "parse_json('{}')"), ("interval", "INTERVAL '1' DAY")):
    write(f"unused column: {kind}", text.withColumn("clerk_note", functions.expr(column)))

lines = Cases(out, "CSV", "Spark", pyspark.__version__)
for variant, options in (("header", {}), ("all quoted", {"quoteAll": "true"}), ("pipe", {"sep": "|"}), ("tab", {"sep": "\t"}), ("gzip", {"compression": "gzip"}),
                         ("bzip2", {"compression": "bzip2"}), ("deflate", {"compression": "deflate"})):
    write(variant, to=lines, form="csv", header="true", **options)
write("typed", usual, to=lines, form="csv", header="true")
spark.stop()
