"""The mapping: from a file and from flags, and known again by its digest."""

from __future__ import annotations

import pytest

from klaviyo_relay.commands import KINDS
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.mapping import FIELDS, Mapping, read_mapping


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
    assert one.digest != Mapping(verb="track").digest


def test_there_is_a_flag_for_every_field_of_every_verb():
    assert set(FIELDS) == {name for kind in KINDS for name in kind.__struct_fields__}
