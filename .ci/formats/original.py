"""What all the writers have in common: the extract that they write again, its columns
with types instead of text, and the cases, each a folder with the five tables."""
import contextlib
import csv
import glob
import json
import os
import sys
import traceback

TABLES = ("claims", "members", "coverages", "providers", "organizations")

# What the layout must not mind: columns that it does not know. One of each kind that
# somebody's export has.
UNUSED = ("list", "map", "list of lists", "struct", "float16", "binary", "fixed binary", "uuid", "null", "duration", "time")


class Original:
    def __init__(self, folder, elements):
        self.folder = folder
        with open(elements, newline="") as f:
            self.kinds = {row["column"]: row["kind"] for row in csv.DictReader(f)}

    def path(self, table, grain="line"):
        return glob.glob(os.path.join(self.folder, grain, table + "*.parquet"))[0]

    def tables(self, grain="line"):
        """The tables by name, all columns of text."""
        import pyarrow.parquet as pq
        return {t: pq.ParquetFile(self.path(t, grain)).read().replace_schema_metadata() for t in TABLES}

    def typed(self, **types):
        """The tables with types for the kinds date, instant, money, quantity, flag and
        integer. Each type is one that has the text of these columns as its only text."""
        return {name: self.retype(table, types) for name, table in self.tables().items()}

    def kind(self, column):
        return "integer" if column in ("line_number", "days_supply", "refill_number") else self.kinds[column]

    def retype(self, table, types):
        import pyarrow as pa
        for i, column in enumerate(table.column_names):
            want = types.get(self.kind(column))
            if want is None:
                continue
            values = table[column]
            if pa.types.is_timestamp(want):
                values = values.cast(pa.date32() if self.kind(column) == "date" else pa.timestamp("s", "UTC"))
            elif pa.types.is_decimal(want):
                values = values.cast(pa.decimal128(12, 2))
            table = table.set_column(i, column, values.cast(want))
        return table

    def usual(self, **other):
        """Types as a warehouse has them."""
        import pyarrow as pa
        return self.typed(**{**dict(date=pa.date32(), instant=pa.timestamp("us", "UTC"), money=pa.decimal128(12, 2),
                                    quantity=pa.float64(), flag=pa.bool_(), integer=pa.int32()), **other})

    def sql_types(self, table, date="DATE", instant="TIMESTAMPTZ", money="DECIMAL(12,2)", quantity="DOUBLE", flag="BOOLEAN", integer="INTEGER"):
        """The columns of a table as SQL expressions that give them the usual types."""
        import pyarrow.parquet as pq
        types = dict(date=date, instant=instant, money=money, quantity=quantity, flag=flag, integer=integer)
        for column in pq.read_schema(self.path(table)).names:
            want = types.get(self.kind(column))
            yield f'CAST("{column}" AS {want}) AS "{column}"' if want else f'"{column}"'


def in_batches(table, batches=3):
    """The table with a column that no layout knows, to partition by. Claims stay whole
    and in order."""
    import pyarrow as pa
    per = -(-table.num_rows // batches)
    return table.append_column("delivery", pa.array([f"d{i // per}" for i in range(table.num_rows)]))


def with_unused(table, kind):
    """The table with a column of that kind, which no layout knows."""
    import numpy as np
    import pyarrow as pa
    made = {
        "list": lambda i: (["x", "y"] if i % 3 else []), "map": lambda i: [("k", str(i))],
        "list of lists": lambda i: [["a"], ["b", "c"]], "struct": lambda i: {"a": str(i), "b": i},
        "float16": lambda i: np.float16(i % 100), "binary": lambda i: bytes([255, i % 256]),
        "fixed binary": lambda i: bytes([i % 256] * 8), "uuid": lambda i: bytes([i % 256] * 16), "null": lambda i: None,
        "duration": lambda i: i, "time": lambda i: i,
    }[kind]
    typ = {
        "list": pa.list_(pa.string()), "map": pa.map_(pa.string(), pa.string()), "list of lists": pa.list_(pa.list_(pa.string())),
        "struct": pa.struct([("a", pa.string()), ("b", pa.int64())]), "float16": pa.float16(), "binary": pa.binary(),
        "fixed binary": pa.binary(8), "uuid": pa.uuid(), "null": pa.null(), "duration": pa.duration("us"), "time": pa.time64("us"),
    }[kind]
    values = [made(i) for i in range(table.num_rows)]
    column = pa.ExtensionArray.from_storage(typ, pa.array(values, pa.binary(16))) if kind == "uuid" else pa.array(values, typ)
    return table.append_column("clerk_note", column)


class Cases:
    """The cases of one writer and format. What a case raises is kept: a writer that does
    not write what it did before is a failure of that case alone."""

    def __init__(self, out, format, writer, version):
        self.format, self.writer, self.version = format, writer, version
        self.out = os.path.join(out, format.lower().replace(" ", "-"), f"{writer} {version}".lower().replace(" ", "-"))

    @contextlib.contextmanager
    def case(self, variant, **options):
        """Gives the folder to write into. Options: encoding, of text that is not UTF-8."""
        folder = os.path.join(self.out, variant.replace(" ", "-").replace("/", "-"))
        os.makedirs(folder)
        case = {"format": self.format, "writer": self.writer, "version": self.version, "variant": variant, "folder": folder, **options}
        try:
            yield folder
        except Exception as e:
            case["error"] = f"{type(e).__name__}: {e}".splitlines()[0][:300]
            traceback.print_exc()
        with open(self.out + ".jsonl", "a") as f:
            f.write(json.dumps(case) + "\n")

    def each(self, variant, tables, suffix, write, **options):
        """A case in which write(table, path) writes each table."""
        with self.case(variant, **options) as folder:
            for name, table in tables.items():
                write(table, os.path.join(folder, name + suffix))


def arguments():
    """The original, the folder for cases and the writers to leave out, of a command line."""
    original, elements, out = sys.argv[1:4]
    return Original(original, elements), out
