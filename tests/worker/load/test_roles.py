"""Roles: what does not fit is said before the first row, with the flag that mends it."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.load.mapping import Mapping


def orders(**more):
    return Mapping(**{"verb": "track", "constants": {"metric": "Placed Order"}, **more})


MISFITS = {
    "a field without its column": (
        "email",
        orders(columns={"value": "total"}),
        ["--value-column", "'total'", "'email'"],
    ),
    "a key without its column": ("email", orders(key="id"), ["--key-column", "'id'"]),
    "an ignored column that is not there": (
        "email",
        orders(ignore=("x",)),
        ["--ignore-column", "'x'"],
    ),
    "a number column that is not there": (
        "email",
        orders(numbers=("x",)),
        ["--number-column", "'x'"],
    ),
    "nobody": ("mail,x", orders(), ["--email-column", "'mail', 'x'"]),
    "the only identifier named as something else": (
        "email",
        Mapping(verb="identify", columns={"first_name": "email"}),
        ["no column tells whose row it is", "--email-column"],
    ),
    "no event": ("email", Mapping(verb="track"), ["--event NAME", "--event-column"]),
    "no list": ("email", Mapping(verb="add_to_list"), ["--list-id", "--list-name"]),
    "a column that is not meant": ("email,x", Mapping(verb="suppress"), ["'x'", "--ignore-others"]),
    "a field of another verb": (
        "email",
        orders(columns={"list_id": "email"}),
        ["track has no field list_id"],
    ),
    "the event twice over": (
        "email,m",
        orders(columns={"metric": "m"}),
        ["--event-column", "for all rows"],
    ),
    "a key for identify": (
        "email,id",
        Mapping(verb="identify", key="id"),
        ["--key-column is for --as track"],
    ),
    "an unknown time zone": (
        "email",
        orders(time_zone="Atlantis/Town"),
        ["--time-zone", "Europe/Berlin"],
    ),
    "a typed column that is a field": (
        "email,tel",
        orders(columns={"external_id": "tel"}, numbers=("tel",), json=("email",)),
        ["--number-column", "'tel' is external_id", "--json-column", "'email' is email"],
    ),
    "a constant that breaks its field's rule": (
        "phone_number",
        orders(constants={"metric": "M", "email": "nope"}),
        ["--set email", "name@domain.tld"],
    ),
    "no verb": ("email", Mapping(), ["--as track"]),
    "a constant that is no time": (
        "email",
        Mapping(verb="subscribe", constants={"consented_at": "soon"}),
        ["--set", "ISO"],
    ),
    "a constant of another verb": (
        "email",
        Mapping(verb="suppress", constants={"list_id": "VIPs"}),
        ["no field list_id"],
    ),
    "a list id that is a name": (
        "email",
        Mapping(verb="add_to_list", constants={"list_id": "VIPs"}),
        ["--list-id", "six"],
    ),
}


@pytest.mark.parametrize(("header", "mapping", "said"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_said_with_the_flag_and_what_there_is(
    faults_of, header, mapping, said
):
    found = "\n".join(faults_of(f"{header}\n", mapping))
    assert all(words in found for words in said), found


def test_a_typed_column_that_its_field_reads_the_same_way_is_welcome(desk):
    mapping = orders(numbers=("value",), booleans=("backfill",), json=("properties",))
    row = 'email,value,backfill,properties\nada@shop.io,9.5,no,"{""a"": 1}"\n'
    [command] = desk.commands(row, mapping)

    assert command == {"email": "ada@shop.io", "value": 9.5, "properties": {"a": 1}}


def test_all_faults_are_said_at_once(faults_of):
    assert len(faults_of("x\n", orders(columns={"value": "a", "time": "b"}))) == 3
