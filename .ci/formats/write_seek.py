"""Writes small files of every type, nullable or not, in a list or not, in every encoding and
version of pages that pyarrow has, for a test that opens each at every row."""
import datetime
import decimal
import itertools
import os
import random
import sys

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

ROWS = 60
rnd = random.Random(7)

TYPES = {
    "bool": (pa.bool_(), lambda n: n % 3 == 0, ["PLAIN", "RLE"]),
    "int32": (pa.int32(), lambda n: n - 20, ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "dictionary"]),
    "int64": (pa.int64(), lambda n: n << 40, ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "dictionary"]),
    "uint64": (pa.uint64(), lambda n: 2**63 + n, ["PLAIN", "dictionary"]),
    "float": (pa.float32(), lambda n: n / 4, ["PLAIN", "BYTE_STREAM_SPLIT", "dictionary"]),
    "double": (pa.float64(), lambda n: n / 8, ["PLAIN", "BYTE_STREAM_SPLIT", "dictionary"]),
    "string": (pa.string(), lambda n: "é" * (n % 4) + str(n), ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "dictionary"]),
    "fixed": (pa.binary(4), lambda n: f"{n:04}".encode(), ["PLAIN", "DELTA_BYTE_ARRAY", "BYTE_STREAM_SPLIT", "dictionary"]),
    "decimal": (pa.decimal128(20, 2), lambda n: decimal.Decimal(n) / 4, ["PLAIN", "dictionary"]),
    "date": (pa.date32(), lambda n: datetime.date(2024, 1, 1) + datetime.timedelta(days=n), ["PLAIN", "DELTA_BINARY_PACKED", "dictionary"]),
    "timestamp": (pa.timestamp("us", "America/New_York"), lambda n: datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(hours=n),
                  ["PLAIN", "DELTA_BINARY_PACKED", "dictionary"]),
}
CODECS = itertools.cycle(["none", "snappy", "gzip", "brotli", "zstd", "lz4"])


def column(shape, kind, value):
    def one(nullable):
        return None if nullable and rnd.random() < 0.3 else value(rnd.randrange(50))
    if shape == "list":
        rows = [[one(True) for _ in range(rnd.randrange(5))] if rnd.random() < 0.8 else None for _ in range(ROWS)]
        return pa.array(rows, pa.list_(kind))
    return pa.array([one(shape == "optional") for _ in range(ROWS)], kind)


def main(out):
    for name, (kind, value, encodings) in TYPES.items():
        for shape in ("required", "optional", "list"):
            values = column(shape, kind, value)
            field = pa.field("v", values.type, nullable=shape != "required")
            table = pa.table([pa.array(range(ROWS), pa.int32()), values], pa.schema([pa.field("id", pa.int32()), field]))
            path = "v.list.element" if shape == "list" else "v"
            for encoding, version in itertools.product(encodings, ("1.0", "2.0")):
                options = {"use_dictionary": [path]} if encoding == "dictionary" else {"use_dictionary": False, "column_encoding": {path: encoding, "id": "PLAIN"}}
                pq.write_table(table, os.path.join(out, f"{name}-{shape}-{encoding}-{version}.parquet"), compression=next(CODECS),
                               data_page_version=version, data_page_size=60, write_batch_size=7, row_group_size=41,
                               write_page_index=version == "2.0", store_schema=True, **options)
            for codec in (None, "lz4", "zstd"):
                with ipc.new_file(os.path.join(out, f"{name}-{shape}-{codec}.arrow"), table.schema, options=ipc.IpcWriteOptions(compression=codec)) as w:
                    w.write_table(table, max_chunksize=23)


main(sys.argv[1])
