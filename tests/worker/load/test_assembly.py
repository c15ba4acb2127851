"""Assembly: cells become the arguments of commands, of text and of objects alike."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.load.mapping import Mapping


def orders(**more):
    return Mapping(**{"verb": "track", "constants": {"metric": "Placed Order"}, **more})


def test_a_column_of_a_fields_name_is_that_field_and_others_are_properties(desk):
    [command] = desk.commands("email,value,color,size\nada@shop.io,9.50,red,\n")
    assert command == {"email": "ada@shop.io", "value": 9.5, "properties": {"color": "red"}}


def test_columns_of_other_names_are_named(desk):
    mapping = orders(columns={"email": "Mail", "value": "Total", "time": "At"}, ignore=("note",))
    [command] = desk.commands(
        "Mail,Total,At,note,email\nada@shop.io,9,2026-01-31T12:00:00Z,x,other\n", mapping
    )
    assert command == {
        "email": "ada@shop.io",
        "value": 9,
        "time": "2026-01-31T12:00:00Z",
        "properties": {"email": "other"},
    }


def test_text_stays_text_unless_a_column_is_named_as_something_else(desk):
    mapping = orders(numbers=("price",), booleans=("gift",), json=("items",))
    [command] = desk.commands(
        'email,zip,price,gift,items\nada@shop.io,01234,9.5,yes,"[{""id"": 1}]"\n', mapping
    )
    assert command["properties"] == {
        "zip": "01234", "price": 9.5, "gift": True, "items": [{"id": 1}],
    }  # fmt: skip


def test_a_typed_cell_that_is_wrong_names_the_property(desk):
    refused = desk.refusals("email,price\nada@shop.io,cheap\n", orders(numbers=("price",)))
    [(line, field, _)] = refused
    assert (line, field) == (2, "properties.price")


def test_rows_of_objects_map_by_name_and_keep_their_types(desk):
    mapping = orders(columns={"value": "total"}, numbers=("price",), ignore=("note",))
    rows = (
        '{"email": "ada@shop.io", "total": "9.5", "price": "3", "tags": ["a"], "note": 1}\n'
        '\n{"email": "bob@shop.io", "total": 2, "properties": {"a": 1}, "b": 2}\n'
    )
    first, second = desk.commands(rows, mapping, file="rows.ndjson")
    assert first == {
        "email": "ada@shop.io", "value": 9.5, "properties": {"price": 3, "tags": ["a"]},
    }  # fmt: skip
    assert second == {"email": "bob@shop.io", "value": 2, "properties": {"a": 1, "b": 2}}


@pytest.mark.parametrize("file", ["orders.csv", "orders.ndjson"])
def test_one_column_may_be_several_fields(desk, file):
    rows = {
        "orders.csv": "email,order\nada@shop.io,A-1\n",
        "orders.ndjson": '{"email": "ada@shop.io", "order": "A-1"}',
    }
    mapping = orders(columns={"external_id": "order", "unique_id": "order"})
    [command], _ = desk.preview(desk.order(desk.write(rows[file], file), mapping))

    assert (command["email"], command["external_id"]) == ("ada@shop.io", "A-1")
    assert command["unique_id"] == "A-1"
    assert "properties" not in command


@pytest.mark.parametrize("key", ["email", "external_id"])
def test_a_key_with_the_name_of_an_identifier_is_that_identifier_too(desk, key):
    order = desk.order(desk.write(f"{key},value\nada@shop.io,5\n"), orders(key=key))
    [command], _ = desk.preview(order)

    assert (command[key], command["unique_id"]) == ("ada@shop.io", "ada@shop.io")
    assert "properties" not in command


def test_an_empty_cell_is_absent_and_a_missing_identifier_refused(desk):
    refused = desk.refusals("email,phone_number,value\n,+15005550006,\n,,\nada@shop.io,,5\n")
    [(line, field, _)] = refused
    assert line == 3
    assert field.startswith("email | phone_number")


def test_every_verb_takes_its_fields(desk):
    identify = Mapping(verb="identify", json=("tags",))
    [command] = desk.commands(
        'email,first_name,location,tags,plan\nada@shop.io,Ada,"{""city"": ""Ulm""}",[1],pro\n',
        identify,
    )
    assert command == {
        "email": "ada@shop.io", "first_name": "Ada", "location": {"city": "Ulm"},
        "properties": {"tags": [1], "plan": "pro"},
    }  # fmt: skip
    on_list = Mapping(verb="add_to_list", constants={"list_id": "Y6nRLr"}, ignore_others=True)
    assert desk.commands("email,plan\nada@shop.io,pro\n", on_list) == [
        {"list_id": "Y6nRLr", "email": "ada@shop.io"}
    ]
    consent = Mapping(verb="subscribe", constants={"channels": "email"})
    [command] = desk.commands("email,consented_at\nada@shop.io,1500000000\n", consent)
    assert (command["channels"], command["consented_at"]) == (["email"], "2017-07-14T02:40:00Z")


def test_events_are_backfill_unless_they_are_live(desk):
    path = desk.write("email\nada@shop.io\n")
    assert [one["backfill"] for one in desk.preview(desk.order(path))[0]] == [True]
    assert "backfill" not in desk.preview(desk.order(path, orders(live=True)))[0][0]


def test_a_metric_may_come_from_a_column_and_must_be_there(desk):
    mapping = Mapping(verb="track", columns={"metric": "what"})
    found, refused = desk.preview(
        desk.order(desk.write("email,what\na@shop.io,Ordered\nb@shop.io,\n"), mapping)
    )
    assert [one["metric"] for one in found] == ["Ordered"]
    assert [(one.line, one.field) for one in refused] == [(3, "metric")]


def test_a_column_that_no_object_has_is_noted(desk):
    order = desk.order(
        desk.write('{"email": "a@shop.io"}\n{"email": "b@shop.io", "tax": 1}\n', "rows.ndjson"),
        orders(columns={"value": "totl"}, numbers=("tax",)),
    )
    source = desk.open(order)
    maker = order.maker_of(source)
    maker.make(source.reader.read(1), 0)
    assert maker.unseen == ["tax", "totl"]
    maker.make(source.reader.read(1), 1)
    assert maker.unseen == ["totl"]
