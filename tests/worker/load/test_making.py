import msgspec
import pytest
from msgspec.structs import replace

from klaviyo_relay.commands import Track
from klaviyo_relay.envelope import decode
from klaviyo_relay_worker.load.estimate import seconds_for
from klaviyo_relay_worker.load.mapping import Mapping

READY = Mapping()


def envelopes(desk, content, mapping=None, name="orders.csv"):
    mapping = mapping or Mapping(verb="track", constants={"metric": "Placed Order"})
    order = desk.order(desk.write(content, name), mapping)
    source = desk.open(order)
    maker = order.maker_of(source)
    made = maker.make(source.reader.read(1000), 0)
    source.reader.close()
    return {
        lane: [(number, decode(message)) for number, message in found]
        for lane, found in made.lanes.items()
    }


def test_the_same_row_of_the_same_file_has_the_same_ids_under_any_name(desk):
    content = "email\na@shop.io\nb@shop.io\n"
    [first], [second] = (
        envelopes(desk, content, name=name).values() for name in ("one.csv", "two.csv")
    )
    assert [(e.id, e.command.unique_id) for _, e in first] == [
        (e.id, e.command.unique_id) for _, e in second
    ]
    assert len({e.id for _, e in first}) == 2
    assert [e.id[-12:] for _, e in first] == ["000000000001", "000000000002"]


def test_another_mapping_makes_other_commands_of_the_same_events(desk):
    content = "email,x\na@shop.io,1\n"
    [[(_, one)]] = envelopes(desk, content).values()
    mapping = Mapping(verb="track", constants={"metric": "Placed Order"}, ignore=("x",))
    [[(_, other)]] = envelopes(desk, content, mapping).values()
    assert one.id != other.id
    assert one.command.unique_id == other.command.unique_id


def test_another_account_or_priority_is_another_load(desk):
    order = desk.order(desk.write("email\na@shop.io\n"))
    others = [replace(order, account="eu"), replace(order, bulk=False)]
    assert len({one.source_of("content") for one in (order, *others)}) == 3


def test_other_content_makes_other_events(desk):
    [[(_, one)]] = envelopes(desk, "email\na@shop.io\n").values()
    [[(_, other)]] = envelopes(desk, "email\na@shop.io").values()
    assert one.command.unique_id != other.command.unique_id


def test_a_key_knows_a_row_again_in_another_file_and_stays_a_property(desk):
    mapping = Mapping(verb="track", constants={"metric": "Placed Order"}, key="order")
    [[(_, one)]] = envelopes(desk, "email,order\na@shop.io,A-1\n", mapping).values()
    [rows] = envelopes(desk, "order,email\nA-0,a@shop.io\nA-1,a@shop.io\n", mapping).values()
    assert (one.id, one.command.unique_id) == (rows[1][1].id, "A-1")
    assert rows[0][1].id != one.id
    assert one.command.properties == {"order": "A-1"}


def test_a_row_without_its_key_is_refused(desk):
    mapping = Mapping(verb="track", constants={"metric": "M"}, key="order")
    assert [row[:2] for row in desk.refusals("email,order\na@shop.io,\n", mapping)] == [
        (2, "order")
    ]


def test_rows_that_are_commands_take_their_lanes_with_their_profile(desk):
    content = "\n".join(
        msgspec.json.encode(row).decode()
        for row in (
            {"verb": "track", "metric": "M", "email": "a@shop.io", "profile": {"first_name": "A"}},
            {"verb": "subscribe", "email": "b@shop.io"},
            {"verb": "track", "metric": "M", "email": "c@shop.io", "backfill": False},
        )
    )
    lanes = envelopes(desk, content, READY, "rows.ndjson")
    assert {lane: [number for number, _ in found] for lane, found in lanes.items()} == {
        "default:profiles:bulk": [1], "default:events:bulk": [1, 3], "default:consent": [2],
    }  # fmt: skip
    events = [one for _, one in lanes["default:events:bulk"]]
    assert [one.command.backfill for one in events] == [True, False]
    assert lanes["default:profiles:bulk"][0][1].id != events[0].id


def test_a_null_of_a_row_that_is_a_command_is_not_given(desk):
    row = (
        '{"verb": "track", "metric": "M", "email": "a@shop.io", "backfill": null,'
        ' "unique_id": null, "value": null}'
    )

    [[(_, event)]] = envelopes(desk, row, READY, "rows.ndjson").values()
    order = desk.order(desk.write(row, "rows.ndjson"), Mapping(live=True))
    [live], _ = desk.preview(order)

    assert event.command.backfill is True
    assert event.command.unique_id.endswith("000000000001")
    assert "backfill" not in live


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"email": "a@shop.io"}', "verb"),
        ('{"verb": ["track"]}', "verb"),
        ('{"verb": "trick"}', "verb"),
        ('{"verb": "identify", "mail": "a@shop.io"}', "mail"),
        ('{"verb": "track", "metric": "M", "email": "a@shop.io", "profile": "x"}', "profile"),
        ('{"verb": "track", "email": "a@shop.io"}', "metric"),
        ('{"verb": "suppress", "email": "nobody"}', "email"),
        ("5", "json"),
        ('{"verb": ', "json"),
    ],
)
def test_a_row_that_is_no_command_is_refused_by_its_field(desk, row, field):
    refused = desk.refusals(
        f'{row}\n{{"verb": "suppress", "email": "a@shop.io"}}\n', READY, file="rows.ndjson"
    )
    assert [found[:2] for found in refused] == [(1, field)]


def test_a_member_that_a_verb_without_properties_has_no_use_for_is_refused(desk):
    rows = (
        '{"email": "a@shop.io", "consented_att": "2020-01-31T12:00:00Z"}\n'
        '{"email": "b@shop.io", "consented_att": null, "note": ""}\n'
    )
    subscribe = Mapping(verb="subscribe")

    [(line, field, reason)] = desk.refusals(rows, subscribe, file="rows.ndjson")

    assert (line, field) == (1, "consented_att")
    assert "subscribe takes no properties" in reason
    assert "--ignore-others" in reason
    for more in ({"ignore_others": True}, {"ignore": ("consented_att",)}):
        assert desk.refusals(rows, replace(subscribe, **more), file="rows.ndjson") == []


def test_a_column_of_properties_that_is_no_object_is_refused_with_others_beside_it(desk):
    row = '{"email": "a@shop.io", "properties": ["red"], "size": "M"}'

    [(_, field, reason)] = desk.refusals(row, Mapping(verb="identify"), file="rows.ndjson")

    assert (field, reason) == ("properties", "must be a dict, not list")


def test_a_json_cell_of_another_encoding_is_one_refused_row_that_says_so(desk):
    content = 'email,meta\na@shop.io,"{""a"": ""é""}"\nb@shop.io,{}\n'.encode("cp1252")
    mapping = Mapping(verb="identify", json=("meta",))

    [(line, field, reason)] = desk.refusals(content, mapping)

    assert (line, field) == (2, "properties.meta")
    assert "--encoding" in reason


def test_a_command_that_is_too_large_is_refused_and_takes_nothing_with_it(desk):
    large = {"verb": "track", "metric": "M", "email": "a@shop.io", "profile": {
        "properties": {str(number): "x" * 90_000 for number in range(2)}}}  # fmt: skip
    row = msgspec.json.encode(large).decode()
    refused = desk.refusals(row, READY, file="rows.ndjson")
    assert [found[:2] for found in refused] == [(1, "identify")]


def test_klaviyo_needs_a_request_for_a_thousand_events_and_takes_150_a_minute():
    assert seconds_for({Track: 2_500 * 60}, 400.0) == 60.0
    assert seconds_for({Track: 150_000}, 9_900.0) == 120.0
    assert seconds_for({}, 0.0) == 0.0
