"""Files of DataFusion, ClickHouse (chdb) and Delta tables of delta-rs."""
import os

import chdb
import datafusion
import deltalake

from original import TABLES, Cases, arguments, in_batches

original, out = arguments()
text, usual = original.tables(), original.usual()


def by_datafusion():
    context = datafusion.SessionContext()
    for t in TABLES:
        for name, tables in ((t, text), (t + "_typed", usual)):
            context.register_record_batches(name, [tables[t].to_batches()])
        context.register_parquet(t + "_nested", original.path(t, "nested"))

    def copy(cases, variant, form, suffix, options="", source="{t}"):
        with cases.case(variant) as folder:
            for t in TABLES:
                settings = f" OPTIONS ({options})" if options else ""
                context.sql(f"COPY (SELECT * FROM {source.format(t=t)}) TO '{folder}/{t}{suffix}' STORED AS {form}{settings}").collect()

    cases = Cases(out, "Parquet", "DataFusion", datafusion.__version__)
    for codec in ("uncompressed", "snappy", "gzip(6)", "brotli(4)", "zstd(3)", "lz4_raw"):
        copy(cases, codec.split("(")[0], "PARQUET", ".parquet", f"'format.compression' '{codec}'")
        copy(cases, codec.split("(")[0] + ", pages v2, typed", "PARQUET", ".parquet",
             f"'format.compression' '{codec}', 'format.writer_version' '2.0'", "{t}_typed")
    for encoding in ("plain", "delta_byte_array", "delta_length_byte_array"):
        copy(cases, encoding, "PARQUET", ".parquet", f"'format.encoding' '{encoding}', 'format.dictionary_enabled' 'false'")
    copy(cases, "row groups of 100 rows", "PARQUET", ".parquet", "'format.max_row_group_size' '100'")
    copy(cases, "small pages", "PARQUET", ".parquet", "'format.data_page_row_count_limit' '8', 'format.write_batch_size' '8'")
    copy(cases, "bloom filters", "PARQUET", ".parquet", "'format.bloom_filter_on_write' 'true'")
    copy(cases, "nested lines", "PARQUET", ".parquet", source="{t}_nested")
    arrow = Cases(out, "Arrow IPC", "DataFusion", datafusion.__version__)
    copy(arrow, "file", "ARROW", ".arrow")
    copy(arrow, "file, typed", "ARROW", ".arrow", source="{t}_typed")
    lines = Cases(out, "CSV", "DataFusion", datafusion.__version__)
    copy(lines, "plain", "CSV", ".csv", "'format.has_header' 'true'")
    copy(lines, "gzip", "CSV", ".csv.gz", "'format.has_header' 'true', 'format.compression' 'gzip'")


def by_clickhouse():
    def select(t, instant):
        if not instant:
            return "*"
        types = original.sql_types(t, date="Nullable(Date32)", instant=f"Nullable({instant})", money="Nullable(Decimal(12, 2))",
                                   quantity="Nullable(Float64)", flag="Nullable(Bool)", integer="Nullable(Int32)")
        instants = [c for c in text[t].column_names if original.kind(c) == "instant"]
        made = ", ".join(types)
        for c in instants:  # a cast would not take the Z
            made = made.replace(f'CAST("{c}" AS', f'CAST(parseDateTime64BestEffortOrNull("{c}", 3, \'UTC\') AS')
        return made

    def insert(cases, variant, form, suffix, instant=None, grain="line", options=(), **settings):
        with cases.case(variant, **dict(options)) as folder:
            for t in TABLES:
                said = ", ".join(f"{k} = {v!r}" for k, v in settings.items())
                chdb.query(f"INSERT INTO FUNCTION file('{folder}/{t}{suffix}', {form}) SELECT {select(t, instant)} "
                           f"FROM file('{original.path(t, grain)}', Parquet){' SETTINGS ' + said if said else ''}")

    precise = "DateTime64(3, 'UTC')"
    cases = Cases(out, "Parquet", "ClickHouse", chdb.__version__)
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4"):
        insert(cases, codec, "Parquet", ".parquet", output_format_parquet_compression_method=codec)
        insert(cases, codec + ", typed", "Parquet", ".parquet", instant=precise, output_format_parquet_compression_method=codec)
    insert(cases, "DateTime", "Parquet", ".parquet", instant="DateTime('UTC')")
    insert(cases, "strings as binary", "Parquet", ".parquet", output_format_parquet_string_as_string=0)
    insert(cases, "row groups of 100 rows", "Parquet", ".parquet", output_format_parquet_row_group_size=100)
    insert(cases, "small pages", "Parquet", ".parquet", output_format_parquet_data_page_size=64, output_format_parquet_batch_size=8)
    insert(cases, "nested lines", "Parquet", ".parquet", grain="nested")
    arrow = Cases(out, "Arrow IPC", "ClickHouse", chdb.__version__)
    for form, name, suffix in (("Arrow", "file", ".arrow"), ("ArrowStream", "stream", ".arrows")):
        for codec in ("none", "lz4_frame", "zstd"):
            insert(arrow, f"{name}, {codec}", form, suffix, output_format_arrow_compression_method=codec)
        insert(arrow, f"{name}, typed", form, suffix, instant=precise)
        insert(arrow, f"{name}, DateTime, which becomes a number", form, suffix, instant="DateTime('UTC')")
        insert(arrow, f"{name}, strings as binary", form, suffix, output_format_arrow_string_as_string=0)
    lines = Cases(out, "CSV", "ClickHouse", chdb.__version__)
    insert(lines, "CSVWithNames", "CSVWithNames", ".csv", format_csv_null_representation="")
    insert(lines, "CSVWithNames, backslash N for nothing", "CSVWithNames", ".csv")
    insert(lines, "CSVWithNames, backslash N for nothing, with a layout", "CSVWithNames", ".csv", options={"layout": "escape: '\\'"})
    insert(lines, "CSVWithNames, gzip", "CSVWithNames", ".csv.gz", format_csv_null_representation="")
    insert(lines, "TSVWithNames, with a layout", "TSVWithNames", ".tsv", options={"layout": "delimiter: tab, quote: '', escape: '\\'"})
    insert(lines, "TSVWithNames", "TSVWithNames", ".tsv", format_tsv_null_representation="")


def by_delta():
    cases = Cases(out, "Delta table", "deltalake", deltalake.__version__)

    def tables(variant, write):
        with cases.case(variant) as folder:
            for name, table in text.items():
                write(os.path.join(folder, name), table)

    def overwritten(path, table):
        deltalake.write_deltalake(path, table.slice(0, table.num_rows // 2))
        deltalake.write_deltalake(path, table, mode="overwrite")

    def appended(path, table):
        half = table.num_rows // 2
        if "claim_unique_identifier" in table.column_names:
            # The names of its files are random, and rows of a claim come in the order of files.
            keys = table["claim_unique_identifier"].to_pylist()
            while keys[half] == keys[half - 1]:
                half += 1
        deltalake.write_deltalake(path, table.slice(0, half))
        deltalake.write_deltalake(path, table.slice(half), mode="append")

    def compacted(path, table):
        appended(path, table)
        deltalake.DeltaTable(path).optimize.compact()

    def checkpointed(path, table):
        overwritten(path, table)
        deltalake.DeltaTable(path).create_checkpoint()

    def vacuumed(path, table):
        overwritten(path, table)
        deltalake.DeltaTable(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)

    tables("written once", deltalake.write_deltalake)
    tables("appended", appended)
    tables("overwritten, the old files still there", overwritten)
    tables("overwritten, with a checkpoint", checkpointed)
    tables("overwritten, vacuumed", vacuumed)
    tables("compacted, the old files still there", compacted)
    tables("partitioned", lambda path, table: deltalake.write_deltalake(path, in_batches(table), partition_by=["delivery"]))


by_datafusion()
by_clickhouse()
by_delta()
