"""Files of Polars."""
import os

import polars as pl

from original import Cases, arguments, in_batches

original, out = arguments()
text = {n: pl.from_arrow(t) for n, t in original.tables().items()}
usual = {n: pl.from_arrow(t) for n, t in original.usual().items()}
nested = {n: pl.from_arrow(t) for n, t in original.tables("nested").items()}

cases = Cases(out, "Parquet", "Polars", pl.__version__)


def parquet(variant, frames=text, **options):
    cases.each(variant, frames, ".parquet", lambda f, path: f.write_parquet(path, **options))


for codec in ("uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4"):
    parquet(codec, compression=codec)
    parquet(f"{codec}, typed", usual, compression=codec)
parquet("row groups of 7 rows", row_group_size=7)
parquet("small pages", data_page_size=64)
parquet("no statistics", statistics=False)
parquet("nested lines", nested)
parquet("nested lines, lz4", nested, compression="lz4")
parquet("categories", {n: f.cast(pl.Categorical) for n, f in text.items()})
parquet("enum", {n: f.with_columns(f[f.columns[0]].cast(pl.Enum(f[f.columns[0]].unique().drop_nulls()))) for n, f in text.items()})
for unit in ("ms", "us", "ns"):
    parquet(f"datetime({unit})", {n: f.with_columns(pl.col(pl.Datetime).cast(pl.Datetime(unit))) for n, f in usual.items()})
parquet("int128", {n: f.with_columns(pl.col(pl.Int32).cast(pl.Int128)) for n, f in usual.items()})
parquet("by pyarrow", use_pyarrow=True)
cases.each("sink", text, ".parquet", lambda f, path: f.lazy().sink_parquet(path))
with cases.case("hive folders") as folder:
    for name, table in original.tables().items():
        os.makedirs(os.path.join(folder, name))
        pl.from_arrow(in_batches(table)).write_parquet(os.path.join(folder, name), partition_by=["delivery"])
parquet("unused column: list", {**text, "claims": text["claims"].with_columns(note=pl.lit(["a", "b"]))})
parquet("unused column: array", {**text, "claims": text["claims"].with_columns(note=pl.lit([1, 2], pl.Array(pl.Int64, 2)))})
parquet("unused column: binary", {**text, "claims": text["claims"].with_columns(note=pl.lit(b"\xff\x00"))})
parquet("unused column: struct", {**text, "claims": text["claims"].with_columns(note=pl.struct(a=pl.lit(1), b=pl.lit("x")))})
parquet("unused column: null", {**text, "claims": text["claims"].with_columns(note=pl.lit(None))})
parquet("unused column: duration", {**text, "claims": text["claims"].with_columns(note=pl.duration(days=1))})

arrow = Cases(out, "Arrow IPC", "Polars", pl.__version__)
for codec in ("uncompressed", "lz4", "zstd"):
    for kind, frames in (("text", text), ("typed", usual), ("nested lines", nested)):
        arrow.each(f"file, {codec}, {kind}", frames, ".arrow", lambda f, path: f.write_ipc(path, compression=codec))
        arrow.each(f"stream, {codec}, {kind}", frames, ".arrows", lambda f, path: f.write_ipc_stream(path, compression=codec))
arrow.each("file, oldest types", text, ".arrow", lambda f, path: f.write_ipc(path, compat_level=pl.CompatLevel.oldest()))
arrow.each("file, batches of 7 rows", text, ".arrow", lambda f, path: f.write_ipc(path, record_batch_size=7))
arrow.each("file, categories", {n: f.cast(pl.Categorical) for n, f in text.items()}, ".arrow", lambda f, path: f.write_ipc(path))
arrow.each("sink, lz4", text, ".arrow", lambda f, path: f.lazy().sink_ipc(path, compression="lz4"))

lines = Cases(out, "CSV", "Polars", pl.__version__)


def write_csv(variant, frames=text, suffix=".csv", **options):
    lines.each(variant, frames, suffix, lambda f, path: f.write_csv(path, **options))


for style in ("necessary", "always", "non_numeric", "never"):
    write_csv(f"quotes {style}", quote_style=style, **({"separator": "|"} if style == "never" else {}))
write_csv("BOM, CRLF, semicolon", include_bom=True, line_terminator="\r\n", separator=";")
write_csv("tab", separator="\t", suffix=".tsv")
write_csv("typed", usual)
