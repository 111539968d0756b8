"""CSV as programs write it that have no library for it, by the csv module of Python, and
of pandas and pyarrow."""
import csv
import gzip
import os

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from original import Cases, arguments

original, out = arguments()
text = original.tables()
python = Cases(out, "CSV", "Python csv", "3")


def write(variant, suffix=".csv", encoding="utf-8", compress=None, head="", layout=None, null="", **options):
    def one(table, path):
        options.setdefault("lineterminator", "\n")
        raw = {None: lambda p: open(p, "wb"), "gzip": lambda p: gzip.open(p, "wb"),
               "zstd": lambda p: pa.CompressedOutputStream(p, "zstd")}[compress](path)
        rows = Lines()
        w = csv.writer(rows, **options)
        w.writerow(table.column_names)
        for row in zip(*(c.to_pylist() for c in table.columns)):
            w.writerow([null if v is None else v for v in row])
        raw.write((head + "".join(rows.lines)).encode(encoding))
        raw.close()
    python.each(variant, text, suffix, one, **({"layout": layout} if layout else {}))


class Lines:
    def __init__(self):
        self.lines, self.write = [], lambda line: self.lines.append(line)


write("comma, quotes where needed")
write("comma, all quoted", quoting=csv.QUOTE_ALL)
write("pipe, no quotes", delimiter="|", quoting=csv.QUOTE_NONE)
write("pipe, no quotes, .txt", ".txt", delimiter="|", quoting=csv.QUOTE_NONE)
write("tab", delimiter="\t")
write("tab, no quotes, .tsv", ".tsv", delimiter="\t", quoting=csv.QUOTE_NONE)
write("semicolon", delimiter=";")
write("pipe, no quotes, with a layout", delimiter="|", quoting=csv.QUOTE_NONE, layout="delimiter: '|', quote: ''")
write("tab, with a layout", delimiter="\t", layout="delimiter: tab")
write("semicolon, all quoted, with a layout", delimiter=";", quoting=csv.QUOTE_ALL, layout="delimiter: ';'")
write("Excel: BOM, semicolon, CRLF, with a layout", encoding="utf-8-sig", delimiter=";", lineterminator="\r\n", layout="delimiter: ';'")
write("semicolon, all quoted", delimiter=";", quoting=csv.QUOTE_ALL)
write("CRLF", lineterminator="\r\n")
write("CRLF, all quoted", lineterminator="\r\n", quoting=csv.QUOTE_ALL)
write("CR alone", lineterminator="\r")
write("BOM", encoding="utf-8-sig")
write("Excel: BOM, semicolon, CRLF", encoding="utf-8-sig", delimiter=";", lineterminator="\r\n")
write("Excel: a line sep=;", head="sep=;\r\n", delimiter=";", lineterminator="\r\n")
write("Excel: Unicode text, UTF-16, tab, with a layout", ".txt", encoding="utf-16", delimiter="\t", lineterminator="\r\n",
      layout="delimiter: tab, encoding: utf-16")
write("UTF-16 with a layout that says so", encoding="utf-16", layout="encoding: utf-16")
write("UTF-16 without a layout", encoding="utf-16")
write("UTF-16, big-endian, with a layout", encoding="utf-16-be", head="\ufeff", layout="encoding: utf-16")
write("Windows-1252 with a layout", encoding="windows-1252", layout="encoding: windows-1252")
write("Windows-1252 without a layout", encoding="windows-1252")
write("gzip", ".csv.gz", compress="gzip")
write("gzip, all quoted", ".csv.gz", compress="gzip", quoting=csv.QUOTE_ALL)
write("zstd", ".csv.zst", compress="zstd")
write("gzip named .csv", compress="gzip")
write("separated by a caret", delimiter="^")
write("NULL for nothing, with a layout", null="NULL", layout="null: ['NULL']")
write("a delimiter named by the layout", delimiter="^", layout="delimiter: '^'")

pandas = Cases(out, "CSV", "pandas", pd.__version__)
frames = {n: t.to_pandas() for n, t in text.items()}
pandas.each("index=False", frames, ".csv", lambda f, path: f.to_csv(path, index=False))
pandas.each("with the index", frames, ".csv", lambda f, path: f.to_csv(path))
pandas.each("gzip", frames, ".csv.gz", lambda f, path: f.to_csv(path, index=False))
pandas.each("zstd", frames, ".csv.zst", lambda f, path: f.to_csv(path, index=False, compression="infer"))
pandas.each("bz2", frames, ".csv.bz2", lambda f, path: f.to_csv(path, index=False))

arrow = Cases(out, "CSV", "pyarrow", pa.__version__)
usual = original.usual(instant=None, flag=None)
arrow.each("text", text, ".csv", pa.csv.write_csv)
arrow.each("typed", usual, ".csv", pa.csv.write_csv)
arrow.each("quotes never, pipe", text, ".csv", lambda t, path: pa.csv.write_csv(
    t, path, pa.csv.WriteOptions(quoting_style="none", delimiter="|")))
