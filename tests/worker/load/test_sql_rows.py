"""Rows of a query: as the database hands them out, and its refusals without what is private."""

from __future__ import annotations

import sqlite3

import pytest

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.sql_rows import SqlRows, is_ordered
from rows_in_memory import all_rows


@pytest.fixture
def url(tmp_path):
    """A database with twenty orders."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (mail TEXT, total REAL)")
        rows = [(f"p{number}@shop.io", number / 2) for number in range(20)]
        database.executemany("INSERT INTO orders VALUES (?, ?)", rows)
    database.close()
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def query(url):
    """Runs a query; closed after the test."""
    readers = []

    def run(text):
        readers.append(SqlRows(url, text))
        return readers[-1]

    yield run
    for reader in readers:
        reader.close()


def test_rows_come_in_order_with_their_numbers_as_lines(query):
    reader = query("SELECT mail AS email, total FROM orders ORDER BY total")
    assert reader.columns == ("email", "total")
    found = all_rows(reader)
    assert found[0] == (1, ("p0@shop.io", 0.0))
    assert [line for line, _ in found] == list(range(1, 21))
    assert reader.position == Position(0, 20, 20)
    assert reader.share is None


def test_a_query_that_is_refused_says_the_databases_words_and_no_statement(query):
    with pytest.raises(LoadError) as caught:
        query("SELECT secret FROM nowhere WHERE mail = 'ada@lovelace.dev'")
    assert "no such table: nowhere" in str(caught.value)
    assert "lovelace" not in str(caught.value)


def test_a_query_goes_to_the_database_as_it_is(query):
    """Neither a colon nor a percent sign in it is a place for a parameter."""
    reader = query(
        "SELECT 'at :noon' AS note, mail FROM orders WHERE mail LIKE 'p1%' AND '%:x' > 1"
    )
    assert [cells[0] for _, cells in all_rows(reader)] == ["at :noon"] * 11


def test_columns_of_one_name_are_refused_before_any_row(desk, url):
    """As those of a join by SELECT *: the wrong person's would be taken."""
    query = "SELECT a.mail AS email, b.mail AS email FROM orders a JOIN orders b"
    order = desk.order(url, query=query)

    with pytest.raises(UsageFaultsError, match="'email' is there 2 times"):
        order.maker_of(desk.open(order))


@pytest.mark.parametrize(
    "text",
    ["UPDATE orders SET total = 0", "", "-- nothing"],
    ids=["an update", "nothing", "a comment"],
)
def test_what_is_no_query_is_wrong_usage_and_changes_nothing(query, text):
    with pytest.raises(UsageFaultsError, match="--query must be a SELECT"):
        query(text)
    assert all_rows(query("SELECT count(*) FROM orders WHERE total > 0")) == [(1, (19,))]


@pytest.mark.parametrize(
    ("url", "said"),
    [("no url", "no database URL"), ("sqlite+nosuch:///x", "no database URL")],
    ids=["no URL", "no such driver"],
)
def test_a_url_that_is_none_is_wrong_usage(url, said):
    with pytest.raises(UsageFaultsError) as caught:
        SqlRows(url, "SELECT 1")
    assert said in caught.value.faults[0]


def test_a_driver_that_is_missing_is_named():
    with pytest.raises(UsageFaultsError) as caught:
        SqlRows("mssql+pyodbc://shop:secret@host/db", "SELECT 1")
    assert "driver is missing (No module named 'pyodbc')" in caught.value.faults[0]
    assert "secret" not in caught.value.faults[0]


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("SELECT 1 ORDER BY 1", True),
        ("select 1 order\n by 1", True),
        ("SELECT 1", False),
        ("SELECT border, bylaw FROM x", False),
    ],
)
def test_a_query_says_whether_its_rows_have_an_order(text, ordered):
    assert is_ordered(text) is ordered
