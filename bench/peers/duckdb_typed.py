# Writes the claims of an extract again with types: dates as DATE, amounts as DECIMAL,
# numbers as INTEGER. The other tables stay as they are.
#
#   duckdb_typed.py EXTRACT OUT
import duckdb

from duckdb_rewrite import rewrite


def typed(path, name):
    if name.endswith("_date"):
        kind = "DATE"
    elif name.endswith("_amount") or name.endswith("_cost") or name.startswith("line_amount"):
        kind = "DECIMAL(18,2)"
    elif name == "line_number":
        kind = "INTEGER"
    else:
        return f'"{name}"'
    # A column that has something else, such as an instant, keeps its text.
    odd = duckdb.sql(f"""select count(*) from '{path}' where "{name}" is not null and try_cast("{name}" as {kind}) is null
        or length("{name}") > 10 and '{kind}' = 'DATE'""").fetchall()[0][0]
    return f'"{name}"' if odd else f'cast("{name}" as {kind}) as "{name}"'


rewrite(typed)
