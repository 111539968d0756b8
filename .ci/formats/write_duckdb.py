"""Files of DuckDB."""
import duckdb

from original import TABLES, Cases, arguments

original, out = arguments()
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
for t in TABLES:
    db.execute(f"CREATE TABLE {t} AS SELECT * FROM read_parquet('{original.path(t)}')")
    db.execute(f"CREATE TABLE {t}_typed AS SELECT {', '.join(original.sql_types(t))} FROM {t}")
    db.execute(f"CREATE TABLE {t}_nested AS SELECT * FROM read_parquet('{original.path(t, 'nested')}')")
    db.execute(f"CREATE TABLE {t}_delivered AS SELECT *, 'd' || (row_number() OVER () // 600) AS delivery FROM {t}")


def copies(cases, variant, options, suffix, source="{t}", select="*", **more):
    with cases.case(variant, **more) as folder:
        for t in TABLES:
            db.execute(f"COPY (SELECT {select} FROM {source.format(t=t)}) TO '{folder}/{t}{suffix}' ({options})")


parquet = Cases(out, "Parquet", "DuckDB", duckdb.__version__)


def write(variant, options, suffix=".parquet", **more):
    copies(parquet, variant, "FORMAT parquet" + options, suffix, **more)


for codec in ("uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4", "lz4_raw"):
    for version in ("V1", "V2"):
        write(f"{codec}, {version}", f", COMPRESSION {codec}, PARQUET_VERSION {version}")
        write(f"{codec}, {version}, typed", f", COMPRESSION {codec}, PARQUET_VERSION {version}", source="{t}_typed")
write("V2, no dictionary, typed", ", PARQUET_VERSION V2, DICTIONARY_SIZE_LIMIT 0", source="{t}_typed")
write("row groups of 2048 rows", ", ROW_GROUP_SIZE 2048")
write("nested lines", "", source="{t}_nested")
write("nested lines, V2", ", PARQUET_VERSION V2", source="{t}_nested")
for typ in ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"):
    for t in TABLES:
        db.execute(f"CREATE OR REPLACE TABLE {t}_timed AS SELECT {', '.join(original.sql_types(t, instant=typ))} FROM {t}")
    write(f"instants as {typ}", "", source="{t}_timed")
for name, types in (("line numbers as HUGEINT", {"integer": "HUGEINT"}), ("quantities as DECIMAL(38, 3)", {"quantity": "DECIMAL(38, 3)"})):
    for t in TABLES:
        db.execute(f"CREATE OR REPLACE TABLE {t}_sized AS SELECT {', '.join(original.sql_types(t, **types))} FROM {t}")
    write(name, "", source="{t}_sized")
write("hive folders", ", PARTITION_BY (delivery)", suffix="", source="{t}_delivered")
write("hive folders, column also in the files", ", PARTITION_BY (delivery), WRITE_PARTITION_COLUMNS", suffix="", source="{t}_delivered")
write("a file a thread", ", PER_THREAD_OUTPUT", suffix="")
for name, value in (("map", "MAP {'a': 1}"), ("list", "[1, 2]"), ("list of lists", "[['a'], ['b']]"), ("struct", "{'a': 1, 'b': 'x'}"),
                    ("uuid", "uuid()"), ("blob", "'\\xFF'::BLOB"), ("time", "TIME '12:00:00'"), ("interval", "INTERVAL 1 DAY"),
                    ("json", "'{}'::JSON"), ("bit", "'101'::BIT"), ("timetz", "'12:00:00+01'::TIMETZ"), ("enum", "'a'::ENUM('a', 'b')")):
    write(f"unused column: {name}", "", select=f"*, {value} AS clerk_note")

text = Cases(out, "CSV", "DuckDB", duckdb.__version__)
for variant, options, suffix in (("plain", "", ".csv"), ("all quoted", ", FORCE_QUOTE *", ".csv"), ("pipe", ", DELIMITER '|'", ".csv"),
                                 ("tab", ", DELIMITER '\t'", ".tsv"), ("gzip", ", COMPRESSION gzip", ".csv.gz"), ("zstd", ", COMPRESSION zstd", ".csv.zst")):
    copies(text, variant, "FORMAT csv, HEADER" + options, suffix)
copies(text, "typed", "FORMAT csv, HEADER", ".csv", source="{t}_typed")
