"""DuckDB by hand: hex to integer Parquet, counts by group, ids by joins.

python duckdb_sql.py LOG OUT
"""

import sys
from pathlib import Path

import duckdb
from columns import ALL, DENSE, SPARSE

log, out = sys.argv[1], Path(sys.argv[2])
out.mkdir()
columns = {name: "VARCHAR" if name in SPARSE else "INTEGER" for name in ALL}
dense = ", ".join(f"ln(1 + greatest(coalesce({n}, 0), 0))::FLOAT AS {n}" for n in DENSE)
sparse = ", ".join(f"('0x' || {name})::UINTEGER AS {name}" for name in SPARSE)
typed = f"'{out / 'typed.parquet'}'"
connection = duckdb.connect()
connection.execute("SET preserve_insertion_order = false")
connection.execute(
    f"COPY (SELECT label::TINYINT AS label, {dense}, {sparse} FROM read_csv('{log}', delim = '\t', "  # noqa: S608
    f"header = false, quote = '', columns = {columns})) TO {typed} (COMPRESSION zstd)"
)
for name in SPARSE:
    connection.execute(
        f"CREATE TABLE ids_{name} AS SELECT {name}, len, "  # noqa: S608
        f"(row_number() OVER (ORDER BY len DESC, {name}))::INTEGER AS id "
        f"FROM (SELECT {name}, count(*) AS len FROM {typed} GROUP BY {name})"
    )
    connection.execute(f"COPY ids_{name} TO '{out / f'vocabulary-{name}.parquet'}'")
ids = ", ".join(f"ids_{name}.id AS {name}" for name in SPARSE)
joins = " ".join(
    f"JOIN ids_{name} ON typed.{name} IS NOT DISTINCT FROM ids_{name}.{name}" for name in SPARSE
)
connection.execute(
    f"COPY (SELECT label, {', '.join(DENSE)}, {ids} FROM {typed} typed {joins}) "  # noqa: S608
    f"TO '{out / 'rows.parquet'}' (COMPRESSION zstd)"
)
(out / "typed.parquet").unlink()
