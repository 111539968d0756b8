"""Files of DuckDB and pyarrow as they were years ago: exports are often written by them."""
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from original import TABLES, Cases, arguments

original, out = arguments()
cases = Cases(out, "Parquet", "old DuckDB", duckdb.__version__)
db = duckdb.connect()


def write(variant, options="", select=lambda t: "*", suffix=".parquet", grain="line"):
    with cases.case(variant) as folder:
        for t in TABLES:
            db.execute(f"COPY (SELECT {select(t)} FROM read_parquet('{original.path(t, grain)}')) TO '{folder}/{t}{suffix}' (FORMAT parquet{options})")


for codec in ("uncompressed", "snappy", "gzip", "zstd"):
    write(codec, f", CODEC '{codec}'")
    write(f"{codec}, typed", f", CODEC '{codec}'", lambda t: ", ".join(original.sql_types(t, instant="TIMESTAMP")))
write("nested lines", grain="nested")
write("row groups of 2048 rows", ", ROW_GROUP_SIZE 2048")

arrow = Cases(out, "Parquet", "old pyarrow", pa.__version__)
text = {t: pq.ParquetFile(original.path(t)).read().replace_schema_metadata() for t in TABLES}
for codec in ("none", "snappy", "lz4"):
    for version in ("1.0", "2.0"):
        arrow.each(f"{codec}, pages v{version[0]}", text, ".parquet", lambda t, path: pq.write_table(
            t, path, compression=codec, data_page_version=version))
arrow.each("format version 1.0", text, ".parquet", lambda t, path: pq.write_table(t, path, version="1.0"))
nested = {t: pq.ParquetFile(original.path(t, "nested")).read().replace_schema_metadata() for t in TABLES}
arrow.each("nested lines", nested, ".parquet", pq.write_table)
