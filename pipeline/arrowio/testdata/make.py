"""Writes the Arrow files in this folder, which the Go library cannot write.

    python3 -m venv venv && venv/bin/pip install pyarrow==26.0.1 polars==2.1.0
    venv/bin/python make.py

All values are made up. For each file, a .rows file has the expected rows, one JSON
array per line; missing values are empty strings.
"""
import datetime
import decimal
import json
import uuid

import polars as pl
import pyarrow as pa

D = decimal.Decimal


def rows(name, columns):
    with open(name + ".rows", "w") as out:
        for row in zip(*columns):
            out.write(json.dumps([("" if v is None else str(v)) for v in row]) + "\n")


def write(name, table, stream=False, chunk=None, **options):
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(name, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
        w.write_table(table, max_chunksize=chunk)


def old():
    """Streams and files in the formats before 0.15 and before 1.0 (metadata version 4)."""
    ids = [f"m{i}" if i % 3 else None for i in range(7)]
    codes = [["a", "b"][i % 2] for i in range(7)]
    table = pa.table({"id": ids, "n": list(range(7)), "code": pa.array(codes).dictionary_encode()})
    for name, stream in (("old.arrows", True), ("old.arrow", False)):
        write(name, table, stream, 3, use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4)
        rows(name, [ids, range(7), codes])


def decimals():
    values = [D("-12.50"), None, D("0.07"), D("9999999.99"), D("-0.01")]
    big = [D("-123456789012345.678"), D("0.001"), None, D("999999999999999.999"), D("1.000")]
    table = pa.table({
        "d32": pa.array(values, pa.decimal32(9, 2)),
        "d64": pa.array(big, pa.decimal64(18, 3)),
        "after": ["v", "w", "x", "y", "z"],
    })
    write("decimals.arrow", table, chunk=2)
    rows("decimals.arrow", [values, big, ["v", "w", "x", "y", "z"]])


def runs():
    lengths = [3, 1, 4, 2]
    ends = [3, 4, 8, 10]

    def spread(values):
        return [v for v, n in zip(values, lengths) for _ in range(n)]

    def ree(values, ends_type):
        return pa.RunEndEncodedArray.from_arrays(pa.array(ends, ends_type), values)

    texts, numbers, codes = ["x", None, "yy", "x"], [7, 8, None, -9], ["k", "l", "k", None]
    table = pa.table({
        "text": ree(pa.array(texts), pa.int16()),
        "number": ree(pa.array(numbers, pa.int64()), pa.int32()),
        "code": ree(pa.array(codes).dictionary_encode(), pa.int64()),
        "plain": [str(i) for i in range(10)],
    })
    want = [spread(texts), spread(numbers), spread(codes), range(10)]
    write("runs.arrow", table)
    rows("runs.arrow", want)
    write("runs.arrows", table, True, compression="zstd")
    rows("runs.arrows", want)


def extensions():
    ids = [uuid.UUID(int=0x0123456789abcdef0123456789abcdef + i) if i != 1 else None for i in range(4)]
    notes = ['{"a": 1}', None, "[]", "2"]

    class Words(pa.ExtensionType):
        def __init__(self, storage, name):
            super().__init__(storage, name)

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, data):
            return cls(storage, "")

    table = pa.table({
        "uuid": pa.array([u.bytes if u else None for u in ids], pa.uuid()),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(notes)),
        "words": pa.ExtensionArray.from_storage(Words(pa.string(), "test.words"), pa.array(list("abcd"))),
        "shape": pa.ExtensionArray.from_storage(Words(pa.binary(), "test.shape"), pa.array([b"a"] * 4)),
        "flags": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 0, 1], pa.int8())),
    })
    write("extensions.arrow", table)
    rows("extensions.arrow", [ids, notes, "abcd"])


def views():
    short = ["a", None, "twelve bytes", "", "e", "f"]
    long = ["a value that is longer than a view", None, "s", "another value that is longer than it", "", "thirteen byte"]
    lists = [["p", "q"], None, [], ["r"], ["s"], ["t", "u"]]
    flat = pa.array([x for v in lists if v for x in v])
    # The lists are in a different order than their values.
    order = pa.ListViewArray.from_arrays(pa.array([4, 0, 0, 3, 2, 0], pa.int32()), pa.array([2, 0, 0, 1, 1, 2], pa.int32()),
                                         flat, mask=pa.array([False, True] + [False] * 4))
    table = pa.table({
        "short": pa.array(short, pa.string_view()),
        "long": pa.array(long, pa.string_view()),
        "bytes": pa.array([v and v.encode() for v in long], pa.binary_view()),
        "words": order,
        "large": pa.array([["1"], [], None, ["2", "3"], [], ["4"]], pa.large_list_view(pa.string())),
    })
    words = [["t", "u"], None, [], ["s"], ["r"], ["p", "q"]]
    numbers = [["1"], [], None, ["2", "3"], [], ["4"]]
    want = []
    for i in range(6):
        base = [short[i], long[i], long[i]]
        made = [base + [w, None] for w in words[i] or []] + [base + [None, n] for n in numbers[i] or []]
        want += made or [base + [None, None]]
    for name, options in (("views.arrow", {}), ("views-lz4.arrow", {"compression": "lz4"})):
        write(name, table, chunk=4, **options)
        rows(name, list(zip(*want)))


def dictionaries():
    """Delta dictionaries and replaced dictionaries."""
    batches = [["a", "b", "a"], ["c", "a", None], ["b", "d", "d"]]
    schema = pa.schema({"code": pa.dictionary(pa.int8(), pa.string()), "row": pa.int32()})

    def save(name, dictionaries, **options):
        new = pa.ipc.new_stream if name.endswith("s") else pa.ipc.new_file
        with new(name, schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
            for i, (values, words) in enumerate(zip(batches, dictionaries)):
                indexes = pa.array([None if v is None else words.index(v) for v in values], pa.int8())
                code = pa.DictionaryArray.from_arrays(indexes, pa.array(words))
                w.write_batch(pa.record_batch([code, pa.array(range(3 * i, 3 * i + 3), pa.int32())], schema=schema))
        rows(name, [sum(batches, []), range(9)])

    save("delta.arrows", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]], emit_dictionary_deltas=True)
    save("delta.arrow", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]], emit_dictionary_deltas=True)
    save("replaced.arrows", [["b", "a"], ["a", "c"], ["x", "d", "b"]], compression="lz4")


def unread():
    """Types that cannot be converted to text, next to columns that can."""
    zone = datetime.datetime(2024, 1, 1, 12)
    dense = pa.UnionArray.from_dense(pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["x"])])
    sparse = pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["x", "y", "z"])])
    columns = {
        "first": pa.array(["a", "b", "c"]),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "lists": pa.array([[["x"]], [], None]),
        "dense": dense,
        "sparse": sparse,
        "span": pa.array([1, 2, 3], pa.duration("s")),
        "interval": pa.array([(1, 2, 3)] * 3, pa.month_day_nano_interval()),
        "nothing": pa.nulls(3),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([[1]])),
        "zoned": pa.array([zone, None, zone], pa.timestamp("s", "Mars/Olympus")),
        "pair": pa.array([{"map": [("k", "v")], "x": i} for i in range(3)],
                         pa.struct({"map": pa.map_(pa.string(), pa.string()), "x": pa.int32()})),
        "half": pa.array([1.5, None, -0.25], pa.float16()),
        "local": pa.array([zone, None, zone], pa.timestamp("us", "America/New_York")),
        "clock": pa.array([zone, None, zone], pa.timestamp("us")),
        "last": pa.array(["x", "y", "z"]),
    }
    want = [list("abc"), [None] * 3, range(3), ["1.5", None, "-0.25"], ["2024-01-01T07:00:00-05:00", None, "2024-01-01T07:00:00-05:00"],
            ["2024-01-01T12:00:00", None, "2024-01-01T12:00:00"], list("xyz")]
    table = pa.table(list(columns.values()), names=list(columns))
    for name, options in (("unread.arrow", {}), ("unread-v4.arrow", {"metadata_version": pa.ipc.MetadataVersion.V4})):
        if "v4" in name:
            table = table.drop(["dense", "sparse", "runs"])
        write(name, table, **options)
        rows(name, want)


def twice():
    """Two columns with the same name."""
    write("twice.arrow", pa.table([pa.array(["a"]), pa.array(["b"]), pa.array([1])], names=["x", "x", "y"]))
    rows("twice.arrow", [["a"], ["b"], [1]])


def polars():
    """Polars writes LZ4 frames with block checksums, and text as views."""
    n = 60
    frame = pl.DataFrame({
        "id": [f"claim number {i}" if i % 7 else None for i in range(n)],
        "amount": pl.Series([D(i * 25 - 100) / 4 for i in range(n)], dtype=pl.Decimal(12, 2)),
        "kind": pl.Series([["inpatient", "oral"][i % 2] for i in range(n)], dtype=pl.Categorical),
        "paid": [i % 3 == 0 for i in range(n)],
        "codes": [[f"c{i}"] for i in range(n)],
    })
    want = [frame["id"], [f"{(D(i * 25 - 100) / 4):.2f}" for i in range(n)], frame["kind"],
            ["true" if i % 3 == 0 else "false" for i in range(n)], [f"c{i}" for i in range(n)]]
    for name, compression, view in (("polars-lz4.arrow", "lz4", True), ("polars-zstd.arrow", "zstd", True), ("polars-old.arrow", "lz4", False)):
        frame.write_ipc(name, compression=compression, compat_level=pl.CompatLevel.newest() if view else pl.CompatLevel.oldest())
        rows(name, want)
    frame.write_ipc_stream("polars.arrows", compression="lz4")
    rows("polars.arrows", want)


for make in (old, decimals, runs, extensions, views, dictionaries, unread, twice, polars):
    make()
