"""Files of every kind that `klaviyo-relay load` reads."""

import gzip
import sqlite3
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

with gzip.open("people.csv.gz", "wt", encoding="utf-8") as file:
    file.write("email,first_name,plan\nada@lovelace.dev,Ada,gold\n")
Path("export.csv").write_text("Mail;Vorname\nada@lovelace.dev;J\xf6rg\n", "cp1252")
table = {"email": ["ada@lovelace.dev"], "value": [23.99], "order": ["A-1"]}
parquet.write_table(pa.table(table), "orders.parquet")
with gzip.open("members.ndjson.gz", "wt", encoding="utf-8") as file:
    file.write('{"email": "ada@lovelace.dev"}\n')
with sqlite3.connect("shop.sqlite3") as database:
    database.execute(
        "CREATE TABLE orders (id INTEGER, email TEXT, total REAL, placed_at TEXT, number TEXT)"
    )
    database.execute(
        "INSERT INTO orders VALUES (1, 'ada@lovelace.dev', 23.99, '2026-01-31T12:00:00Z', 'A-1')"
    )
database.close()
