import pytest

from klaviyo_relay.commands import KINDS
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.mapping import FIELDS, Mapping, read_mapping


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


def test_a_mapping_file_is_read_and_flags_win(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(
        'as = "track"\nkey = "id"\nnumbers = ["price"]\ntime_zone = "UTC"\n'
        '[columns]\nemail = "Mail"\nvalue = "Total"\n[set]\nevent = "Placed Order"\n'
    )
    flags = Mapping(columns={"value": "Sum"}, numbers=("tax",), live=True)
    assert read_mapping(path).updated(flags) == Mapping(
        verb="track", key="id", numbers=("price", "tax"), time_zone="UTC", live=True,
        columns={"email": "Mail", "value": "Sum"}, constants={"metric": "Placed Order"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("as = ", "map.toml: Invalid value"),
        ('as = "trick"', "must be one of"),
        ("number = 1", "unknown field"),
        ('[set]\nevent = "M"\nmetric = "Z"', "set: event and metric are one field"),
        ('[columns]\nmetric = "M"\nevent = "Z"', "columns: event and metric are one field"),
    ],
)
def test_a_mapping_file_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(UsageFaultsError, match=said):
        read_mapping(path)


def test_another_mapping_has_another_digest_whatever_the_order_of_its_words():
    one = Mapping(verb="track", columns={"email": "a", "value": "b"})
    same = Mapping(verb="track", columns={"value": "b", "email": "a"})
    assert one.digest == same.digest
    assert one.digest != orders().digest


def test_there_is_a_flag_for_every_field_of_every_verb():
    assert set(FIELDS) == {name for kind in KINDS for name in kind.__struct_fields__}


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
