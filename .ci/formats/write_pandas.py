"""Parquet files of pandas and of fastparquet, which pandas can write with too."""
import os

import fastparquet
import pandas as pd
import pyarrow as pa

from original import Cases, arguments, in_batches

original, out = arguments()
text, typed = original.tables(), original.usual(money=None)
frames = {n: t.to_pandas() for n, t in text.items()}
objects = {n: f.astype(object).where(f.notna(), None) for n, f in frames.items()}
usual = {n: t.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}.get, date_as_object=True)
         for n, t in typed.items()}

pandas = Cases(out, "Parquet", "pandas", pd.__version__)


def by_pandas(variant, frames=frames, **options):
    pandas.each(variant, frames, ".parquet", lambda f, path: f.to_parquet(path, engine="pyarrow", **options))


for codec in (None, "snappy", "gzip", "brotli", "zstd", "lz4"):
    by_pandas(codec or "none", compression=codec)
by_pandas("objects", objects)
by_pandas("with an index", {n: f.set_index(pd.Index([f"r{i}" for i in range(len(f))], name="row")) for n, f in frames.items()})
by_pandas("rows chosen, numbered index", {n: pd.concat([f.iloc[::2], f.iloc[1::2]]).sort_index(kind="stable") for n, f in frames.items()})
by_pandas("categories", {n: f.astype("category") for n, f in frames.items()})
by_pandas("string[pyarrow]", {n: f.astype("string[pyarrow]") for n, f in frames.items()})
by_pandas("typed, nullable", usual)
by_pandas("ArrowDtype", {n: t.to_pandas(types_mapper=pd.ArrowDtype) for n, t in original.usual().items()})

fast = Cases(out, "Parquet", "fastparquet", fastparquet.__version__)
# fastparquet takes the numbers of times in other units than nanoseconds, which pandas 3
# has, for what they are not.
fast_typed = {n: f.assign(**{c: pd.to_datetime(f[c]).dt.as_unit("ns") for c in f if original.kind(c) in ("date", "instant")})
              for n, f in usual.items()}


def by_fastparquet(variant, frames=objects, **options):
    fast.each(variant, frames, ".parquet", lambda f, path: fastparquet.write(path, f, **options))


for codec in ("UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD", "LZ4", "LZ4_RAW"):
    by_fastparquet(codec.lower(), compression=codec)
by_fastparquet("utf8 objects", object_encoding="utf8")
by_fastparquet("bytes objects", {n: f.map(lambda v: v.encode() if isinstance(v, str) else v) for n, f in objects.items()}, object_encoding="bytes")
by_fastparquet("row groups of 300 rows", row_group_offsets=300)
by_fastparquet("categories", {n: f.astype("category") for n, f in frames.items()})
by_fastparquet("no statistics", stats=False)
for times in ("int64", "int96"):
    by_fastparquet(f"typed, times as {times}", fast_typed, times=times)
by_fastparquet("through pandas", frames)
with fast.case("hive scheme with _metadata") as folder:
    for name, frame in objects.items():
        fastparquet.write(os.path.join(folder, name), frame, file_scheme="hive", row_group_offsets=500)
with fast.case("hive folders") as folder:
    for name in frames:
        fastparquet.write(os.path.join(folder, name), in_batches(text[name]).to_pandas().astype(object), file_scheme="hive", partition_on=["delivery"])
