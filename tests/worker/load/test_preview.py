"""Preview: all rows are read and counted, and the first commands are shown."""

from __future__ import annotations

import json
from contextlib import closing

from klaviyo_relay_worker.load.loading import CHUNK_ROWS
from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.preview import preview


def preview_of(desk, order, shown):
    source, commands, refusals = desk.open(order), [], []
    with closing(source.reader):
        maker = order.maker_of(source)
        summary = preview(source, maker, shown, commands.append, refusals.append)
    return summary, [json.loads(one) for one in commands], refusals


def test_commands_are_shown_in_the_order_of_their_rows_whatever_their_lanes(desk):
    verbs = ["suppress", "identify", "suppress", "identify"]
    lines = [json.dumps({"verb": verb, "email": f"p{at}@shop.io"}) for at, verb in enumerate(verbs)]
    order = desk.order(desk.write("\n".join(lines), "rows.ndjson"), Mapping())

    _, commands, _ = preview_of(desk, order, shown=3)

    assert [one["email"] for one in commands] == ["p0@shop.io", "p1@shop.io", "p2@shop.io"]


def test_what_is_not_shown_is_counted_and_every_refused_row_is_told_of(desk):
    many = 2 * CHUNK_ROWS
    emails = [f"p{at}@shop.io" for at in range(many)]
    content = "\n".join(["email", "nobody", *emails, "nobody", ""])

    summary, commands, refusals = preview_of(desk, desk.order(desk.write(content)), shown=1)

    assert [one["email"] for one in commands] == ["p0@shop.io"]
    assert [one.line for one in refusals] == [2, many + 3]
    assert (summary.rows, summary.enqueued, summary.refused) == (many + 2, many, 2)
    assert (summary.added, summary.rejects) == (0, None)


def test_commands_are_shown_across_chunks_and_no_more_than_were_asked_for(desk):
    emails = [f"p{at}@shop.io" for at in range(2 * CHUNK_ROWS)]
    order = desk.order(desk.write("\n".join(["email", *emails])))

    assert len(preview_of(desk, order, CHUNK_ROWS + 5)[1]) == CHUNK_ROWS + 5
    assert preview_of(desk, order, 0)[1] == []
