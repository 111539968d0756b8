# Runs one of the two SQL forms with DuckDB.
#
#   duckdb_eob.py concat|struct EXTRACT OUT
import os
import sys

import duckdb

form, extract, out = sys.argv[1:]
sql = open(os.path.join(os.path.dirname(__file__), f"eob_{form}.sql")).read()
db = duckdb.connect()
db.execute("set threads = 2; set preserve_insertion_order = false; set memory_limit = '12GB'")
db.execute(sql.replace("{extract}", extract).replace("{out}", out))
