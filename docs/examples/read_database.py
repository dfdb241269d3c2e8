#!/usr/bin/env python3
"""Mean items_corr per heads and width, read from a capsweep database in three ways.

    docs/examples/read_database.py FILE [SWEEP]

Python's sqlite3 is always there; pandas and DuckDB are used where they are installed. All three must agree.
"""
import csv
import sqlite3
import sys
import tempfile

QUERY = """SELECT heads, width, AVG(items_corr) AS mean, COUNT(*) AS n FROM v_results
           WHERE :sweep = '' OR sweep = :sweep GROUP BY heads, width ORDER BY heads, width"""


def with_sqlite3(path, sweep):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = connection.execute(QUERY, {"sweep": sweep}).fetchall()
    connection.close()
    return rows


def with_pandas(path, sweep):
    import pandas

    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    results = pandas.read_sql("SELECT * FROM v_results", connection)
    connection.close()
    if sweep:
        results = results[results["sweep"] == sweep]
    cells = results.groupby(["heads", "width"])["items_corr"].agg(["mean", "count"]).reset_index()
    return [tuple(row) for row in cells.itertuples(index=False, name=None)]


def with_duckdb(path, sweep):
    import duckdb

    # Through CSV, as `capsweep results SWEEP --format csv` writes it: needs no extension of DuckDB.
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = connection.execute("SELECT * FROM v_results")
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(column[0] for column in rows.description)
        writer.writerows(rows)
        file.flush()
        connection.close()
        return duckdb.execute(
            """SELECT heads, width, avg(items_corr), count(*) FROM read_csv($file)
               WHERE $sweep = '' OR sweep = $sweep GROUP BY ALL ORDER BY ALL""",
            {"file": file.name, "sweep": sweep},
        ).fetchall()


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    path, sweep = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else ""
    expected = None
    for name, read in [("sqlite3", with_sqlite3), ("pandas", with_pandas), ("duckdb", with_duckdb)]:
        try:
            rows = [(heads, width, round(mean, 6), n) for heads, width, mean, n in read(path, sweep)]
        except ImportError:
            print(f"{name}: not installed")
            continue
        expected = expected if expected is not None else rows
        if rows != expected:
            sys.exit(f"{name}: {rows} differs from {expected}")
        print(f"{name}: {len(rows)} cells")
    for heads, width, mean, n in expected:
        print(f"heads {heads}  width {width}  items_corr {mean}  n {n}")


if __name__ == "__main__":
    main()
