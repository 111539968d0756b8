"""Arrow IPC of pyarrow: files, streams and Feather."""
import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from original import UNUSED, Cases, arguments, with_unused

original, out = arguments()
cases = Cases(out, "Arrow IPC", "pyarrow", pa.__version__)
text, usual, nested = original.tables(), original.usual(), original.tables("nested")


def ipc(variant, tables=text, stream=False, suffix=".arrow", rows=None, **options):
    def write(table, path):
        new = pa.ipc.new_stream if stream else pa.ipc.new_file
        with new(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
            w.write_table(table, rows)
    cases.each(variant, tables, suffix, write)


def cast(typ):
    return {n: t.cast(pa.schema([(c, typ) for c in t.column_names])) for n, t in text.items()}


def run_ends(table, typ):
    columns = [pc.run_end_encode(c, run_end_type=typ) for c in table.columns]
    return pa.table(columns, names=table.column_names)


for stream in (False, True):
    form = "stream" if stream else "file"
    for codec in (None, "lz4", "zstd"):
        ipc(f"{form}, {codec or 'none'}", stream=stream, compression=codec)
        ipc(f"{form}, {codec or 'none'}, typed", usual, stream=stream, compression=codec)
    ipc(f"{form}, batches of 7 rows", stream=stream, rows=7)
    ipc(f"{form}, batches of 7 rows, zstd, typed", usual, stream=stream, rows=7, compression="zstd")
    ipc(f"{form}, dictionary", cast(pa.dictionary(pa.int32(), pa.string())), stream=stream)
    ipc(f"{form}, dictionary, int8 indices", {n: t.set_column(0, t.column_names[0], t[0]) if n == "claims" else t.cast(
        pa.schema([(c, pa.dictionary(pa.int8(), pa.string())) for c in t.column_names])) for n, t in text.items()}, stream=stream)
    ipc(f"{form}, large_string", cast(pa.large_string()), stream=stream)
    ipc(f"{form}, string_view", cast(pa.string_view()), stream=stream)
    ipc(f"{form}, string_view, zstd", cast(pa.string_view()), stream=stream, compression="zstd")
    ipc(f"{form}, run ends", {n: run_ends(t, pa.int32()) for n, t in text.items()}, stream=stream)
    ipc(f"{form}, nested lines", nested, stream=stream, compression="lz4")
ipc("file, run ends of int16", {n: run_ends(t, pa.int16()) for n, t in text.items()})
ipc("file, metadata V4", metadata_version=pa.ipc.MetadataVersion.V4)
ipc("file, legacy format", use_legacy_format=True)
ipc("stream, dictionary deltas", cast(pa.dictionary(pa.int32(), pa.string())), stream=True, rows=50, emit_dictionary_deltas=True)
ipc("stream, dictionary by batch", cast(pa.dictionary(pa.int32(), pa.string())), stream=True, rows=50, unify_dictionaries=False)
for unit in ("s", "ms", "us", "ns"):
    for zone in ("UTC", None):
        ipc(f"timestamp({unit}) {'in UTC' if zone else 'without zone'}", original.typed(instant=pa.timestamp(unit, zone)))
ipc("date64", original.typed(date=pa.date64()))
for name, typ in (("decimal32", pa.decimal32(9, 2)), ("decimal64", pa.decimal64(12, 2)), ("decimal128", pa.decimal128(12, 2)),
                  ("decimal256", pa.decimal256(60, 2)), ("double", pa.float64())):
    ipc(f"amounts as {name}", original.typed(money=typ))
for typ in (pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32()):
    ipc(f"numbers as {typ}", original.typed(integer=typ))


def relist(array, form):
    if not pa.types.is_list(array.type):
        return array
    values, starts, element = array.values, array.offsets, array.type.value_field
    if form == "large_list":
        return pa.LargeListArray.from_arrays(starts.cast(pa.int64()), values, type=pa.large_list(element))
    return pa.ListViewArray.from_arrays(starts[:-1], array.value_lengths(), values, type=pa.list_view(element))


for form in ("large_list", "list_view"):
    ipc(f"nested lines, {form}", {n: pa.table([relist(c.combine_chunks(), form) for c in t.columns], names=t.column_names)
                                  for n, t in nested.items()})
for kind in UNUSED:
    ipc(f"unused column: {kind}", {**text, "claims": with_unused(text["claims"], kind)})
for suffix in (".ipc", ".feather"):
    ipc(f"ending {suffix}", suffix=suffix)
ipc("ending .arrows", stream=True, suffix=".arrows")
for codec in ("uncompressed", "lz4", "zstd"):
    cases.each(f"Feather V2, {codec}", text, ".feather", lambda table, path: feather.write_feather(table, path, compression=codec))
cases.each("Feather V1", text, ".feather", lambda table, path: feather.write_feather(table, path, version=1))
