"""The options of a load's mapping: what they say together, and what contradicts itself."""

from __future__ import annotations

import click
import pytest

from klaviyo_relay_worker.cli.load_options import mapping_of, mapping_options
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.mapping import Mapping


def mapping(*arguments):
    """What a command of these options makes of them."""

    @click.command()
    @mapping_options
    def command(**given):
        return mapping_of(given)

    return command.main(arguments, standalone_mode=False)


def test_each_flag_has_its_place_in_the_mapping():
    given = ("--as", "track", "--event", "Placed Order", "--set", "value_currency=EUR")
    columns = ("--email-column", "Mail", "--number-column", "tax", "--key-column", "order")
    assert mapping(*given, *columns) == Mapping(
        verb="track", constants={"metric": "Placed Order", "value_currency": "EUR"},
        columns={"email": "Mail"}, numbers=("tax",), key="order",
    )  # fmt: skip


def test_a_flag_wins_over_the_file(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('as = "track"\n[set]\nevent = "Placed Order"\nvalue_currency = "EUR"\n')
    found = mapping("--mapping", str(path), "--event", "Refunded Order")
    assert found.constants == {"metric": "Refunded Order", "value_currency": "EUR"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--event", "M", "--set", "metric=Z"), "metric is given twice: by --event and by --set"),
        (("--list-id", "Y6nRLr", "--set", "list_id=AbCdEf"), "by --list-id and by --set"),
        (("--set", "event=M", "--set", "metric=Z"), "metric is given twice: by --set"),
        (("--set", "value"), "--set value: must be FIELD=VALUE"),
    ],
    ids=["the event", "the list", "an event and its metric", "no value"],
)
def test_what_contradicts_itself_is_wrong_usage(arguments, said):
    with pytest.raises(UsageFaultsError) as caught:
        mapping(*arguments)
    assert said in caught.value.faults[0]
