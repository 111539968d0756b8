"""Writes the small files in this folder, and for each the rows that a reader must return, as
text. Requires pyarrow 26.0.1, polars 2.1.0, fastparquet 2026.9.0 and duckdb 2.0.1 from PyPI."""
import datetime
import decimal
import json

import duckdb
import fastparquet
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq

N = 12
null = lambda n, v: None if n % 4 == 1 else v
day = datetime.date(2024, 2, 27)
COLUMNS = {
    "flag": (pa.bool_(), [null(n, n % 3 == 0) for n in range(N)]),
    "number": (pa.int32(), [null(n, n - 5) for n in range(N)]),
    "long": (pa.int64(), [n << 40 for n in range(N)]),
    "unsigned": (pa.uint32(), [2**32 - 1 - n for n in range(N)]),
    "text": (pa.string(), [null(n, "é" * n + "x") for n in range(N)]),
    "code": (pa.string(), [null(n, "c" + str(n % 3)) for n in range(N)]),
    "amount": (pa.decimal128(12, 2), [null(n, decimal.Decimal(n * 125 - 300).scaleb(-2)) for n in range(N)]),
    "share": (pa.float64(), [n / 8 for n in range(N)]),
    "day": (pa.date32(), [null(n, day + datetime.timedelta(days=n)) for n in range(N)]),
    "local": (pa.timestamp("us"), [datetime.datetime(2024, 1, 1, 20, 0, n) for n in range(N)]),
    "nothing": (pa.string(), [None] * N),
}


def text(v):
    if v is None:
        return ""
    if isinstance(v, bool):
        return str(v).lower()
    if isinstance(v, float) and v == int(v):
        return str(int(v))
    if isinstance(v, datetime.datetime):
        return v.isoformat()
    return str(v)


def keep(name, columns):
    rows = [[text(values[n]) for _, values in columns.values()] for n in range(N)]
    with open(name + ".json", "w") as f:
        json.dump({"columns": list(columns), "rows": rows}, f, ensure_ascii=False)
        f.write("\n")


def table(columns=COLUMNS):
    return pa.table({k: pa.array(v, t) for k, (t, v) in columns.items()})


def by_pyarrow(name, columns=COLUMNS, **options):
    pq.write_table(table(columns), name + ".parquet", **{"compression": "none", **options})
    keep(name, columns)


plain = {"use_dictionary": False}
by_pyarrow("pyarrow-v1-plain", **plain, data_page_size=40, write_batch_size=3)
by_pyarrow("pyarrow-v2-plain", **plain, data_page_version="2.0", data_page_size=40, write_batch_size=3)
by_pyarrow("pyarrow-v1-dictionary-groups-of-5", row_group_size=5)
for codec in ("snappy", "gzip", "brotli", "zstd", "lz4"):
    by_pyarrow("pyarrow-v2-" + codec, compression=codec, data_page_version="2.0", write_page_checksum=True, write_page_index=True)
by_pyarrow("pyarrow-encodings", **plain, data_page_version="2.0", column_encoding={
    "flag": "RLE", "number": "DELTA_BINARY_PACKED", "long": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "code": "DELTA_LENGTH_BYTE_ARRAY",
    "share": "BYTE_STREAM_SPLIT"})
by_pyarrow("pyarrow-int96", use_deprecated_int96_timestamps=True)
some = {k: COLUMNS[k] for k in ("flag", "number", "long", "text", "code", "nothing")}
polars.from_arrow(table(some)).write_parquet("polars.parquet", compression="lz4", row_group_size=7)
keep("polars", some)
duckdb.sql("set threads = 1")
source = table(some)
duckdb.sql("copy (from source) to 'duckdb.parquet' (format parquet, codec 'zstd', parquet_version 'v2')")
keep("duckdb", some)
objects = {k: COLUMNS[k] for k in ("long", "text", "code")}
fastparquet.write("fastparquet.parquet", pandas.DataFrame({k: pandas.Series(v, dtype=object if k != "long" else "int64") for k, (_, v) in objects.items()}))
keep("fastparquet", objects)
