"""Loading: what is noted of a load that ends early, and when. `test_load` in e2e has the rest."""

from __future__ import annotations

from contextlib import closing

import pytest
from msgspec.structs import replace

from klaviyo_relay_worker.load.checkpoint import CheckpointFile
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.loading import CHUNK_ROWS, load


def rows(number):
    return [f"p{at}@shop.io" for at in range(number)]


def csv_of(emails):
    return "\n".join(["email", *emails, ""])


class Watch:
    """Keeps what it is told, and may have something to do after each chunk."""

    def __init__(self, after_chunk):
        self.said = []
        self._after_chunk = after_chunk

    def say(self, text):
        self.said.append(text)

    def advance(self, rows, _share, _maker):
        self._after_chunk(rows)


@pytest.fixture
def load_of(desk, redis, relay_settings):
    """Runs a load; gives its summary and what was said."""

    def run(order, after_chunk=lambda _: None):
        source, watch = desk.open(order), Watch(after_chunk)
        maker = order.maker_of(source)
        with closing(source.reader):
            tools = {"redis": redis, "settings": relay_settings, "watch": watch}
            summary = load(order, source, maker, **tools)
        return summary, watch.said

    return run


def note_of(order):
    return CheckpointFile(order.checkpoint_path).read()


def interrupt_behind(row):
    def after_chunk(rows):
        if rows == row:
            raise KeyboardInterrupt

    return after_chunk


def test_a_load_that_a_person_interrupts_goes_on_behind_the_rows_that_redis_had(
    desk, load_of, redis, keys
):
    order = desk.order(desk.write(csv_of(rows(3 * CHUNK_ROWS))))
    with pytest.raises(KeyboardInterrupt):
        load_of(order, interrupt_behind(2 * CHUNK_ROWS))
    noted = note_of(order)
    assert (noted.position.row, noted.tally.enqueued) == (CHUNK_ROWS, CHUNK_ROWS)
    assert not noted.is_complete

    summary, said = load_of(order)

    assert said == ["resumed behind row 1,000"]
    assert (summary.resumed_at, summary.rows, summary.enqueued) == (1_000, 3_000, 3_000)
    assert redis.xlen(keys.lane("default", "events:bulk").stream) == 3_000
    assert note_of(order).is_complete


def test_a_note_tells_of_a_new_reject_file_at_once(desk, load_of):
    order = desk.order(desk.write(csv_of(["nobody", *rows(3 * CHUNK_ROWS)])))
    seen = []

    def look(rows):
        noted = note_of(order)
        seen.append((rows, noted.position.row, noted.tally.rejects_name))

    summary, _ = load_of(order, look)

    assert seen[:2] == [(1_000, 0, ""), (2_000, 1_000, summary.rejects.name)]


def test_another_mapping_before_a_load_has_ended_is_said(desk, load_of):
    order = desk.order(desk.write(csv_of(rows(2 * CHUNK_ROWS + 1))))
    with pytest.raises(KeyboardInterrupt):
        load_of(order, interrupt_behind(2 * CHUNK_ROWS))

    with pytest.raises(LoadError, match=r"the priority is another since .* row 1,000.*--restart"):
        load_of(replace(order, bulk=False))


def test_another_mapping_after_a_load_has_ended_is_another_load(desk, load_of):
    order = desk.order(desk.write(csv_of(rows(3))))
    load_of(order)

    summary, said = load_of(replace(order, bulk=False))

    assert (summary.added, summary.resumed_at, said) == (3, 0, [])
