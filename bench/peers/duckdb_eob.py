# Runs one of the two SQL forms with DuckDB, file by file: over all files at once it
# runs out of 12 GB at 400,000 claims. A claim that two files share becomes two.
#
#   duckdb_eob.py concat|struct EXTRACT OUT
import glob
import os
import sys

import duckdb

form, extract, out = sys.argv[1:]
sql = open(os.path.join(os.path.dirname(__file__), f"eob_{form}.sql")).read()
for path in sorted(glob.glob(os.path.join(extract, "claims-*.parquet"))):
    db = duckdb.connect()
    db.execute("set threads = 2; set preserve_insertion_order = false; set memory_limit = '12GB'")
    name = os.path.basename(path).removesuffix(".parquet")
    db.execute(sql.replace("{extract}", path).replace("{out}", os.path.join(out, name + ".ndjson")))
    db.close()
