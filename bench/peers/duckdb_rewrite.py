# Writes an extract again with other columns in its claims; the other tables stay as they
# are. duckdb_typed.py and duckdb_sparse.py say which.
import glob
import os
import shutil
import sys

import duckdb


def rewrite(column):
    """column(path, name) is the SQL of a column of a file of claims."""
    extract, out = sys.argv[1:]
    for path in sorted(glob.glob(os.path.join(extract, "*.parquet"))):
        to = os.path.join(out, os.path.basename(path))
        if not os.path.basename(path).startswith("claims"):
            shutil.copy(path, to)
            continue
        names = [row[0] for row in duckdb.sql(f"describe select * from '{path}'").fetchall()]
        columns = ", ".join(column(path, name) for name in names)
        duckdb.sql(f"copy (select {columns} from '{path}') to '{to}' (format parquet, compression zstd, row_group_size 122880)")
