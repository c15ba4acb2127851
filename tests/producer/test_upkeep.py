import shutil
import stat

import pytest

from klaviyo_relay.found_spool import opened
from klaviyo_relay.upkeep import CHECKPOINT_BYTES, CHECKPOINT_ROWS, Upkeep
from spool_files import EVENTS

LARGE = b"x" * 400_000


# --- the log --------------------------------------------------------------------------------------


def test_the_log_of_large_rows_stays_short(spool):
    upkeep = Upkeep(spool)
    for _ in range(300):
        spool.append([(EVENTS, 0, LARGE)])
        upkeep.keep()

    assert spool.log_bytes() < 3 * CHECKPOINT_BYTES
    assert len(spool.read(0, 1_000)) == 300


def test_a_log_that_is_short_is_left_alone(spool, monkeypatch):
    upkeep = Upkeep(spool)
    checkpoints = []
    monkeypatch.setattr(spool, "checkpoint", lambda: checkpoints.append(spool.last_row))
    for _ in range(2):
        spool.append([(EVENTS, 0, b"x")] * (CHECKPOINT_ROWS - 1))
        upkeep.keep()

    assert checkpoints == [2 * (CHECKPOINT_ROWS - 1)]


def test_a_log_that_keeps_its_size_is_moved_only_once(spool, monkeypatch):
    upkeep, checkpoint, checkpoints = Upkeep(spool), spool.checkpoint, []
    monkeypatch.setattr(spool, "checkpoint", lambda: checkpoints.append(checkpoint()))
    spool.append([(EVENTS, 0, LARGE)] * 60)

    for _ in range(5):
        upkeep.keep()

    assert len(checkpoints) == 1


# --- a file that somebody removes -----------------------------------------------------------------


def test_a_file_that_is_removed_is_written_anew_with_all_of_its_rows(spool, caplog):
    upkeep = Upkeep(spool)
    spool.append([(EVENTS, 1, b"a"), (EVENTS, 1, b"b")])
    spool.delete(EVENTS, 0, 1)
    shutil.rmtree(spool.path.parent)

    upkeep.keep()

    assert str(spool.path) in caplog.text
    spool.append([(EVENTS, 1, b"c")])
    with opened(spool.path) as found:
        assert not found.is_dead
        assert found.spool.read(0, 10) == [(2, EVENTS, b"b"), (3, EVENTS, b"c")]
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.path.parent.stat().st_mode) == 0o700
    spool.checkpoint()
    spool.close()
    with opened(spool.path) as found:
        assert found.is_dead


def test_a_file_whose_lock_was_left_is_written_anew_under_the_same_lock(spool):
    spool.append([(EVENTS, 1, b"a")])
    spool.path.unlink()

    Upkeep(spool).keep()

    with opened(spool.path) as found:
        assert not found.is_dead
        assert found.spool.read(0, 10) == [(1, EVENTS, b"a")]
    names = sorted(path.name for path in spool.path.parent.iterdir())
    assert not [name for name in names if "copy" in name]


def test_a_file_that_cannot_be_written_anew_yet_takes_rows_and_is_written_later(spool):
    upkeep, directory = Upkeep(spool), spool.path.parent
    spool.append([(EVENTS, 1, b"a")])
    shutil.rmtree(directory)
    directory.touch()

    with pytest.raises(OSError, match="exists"):
        upkeep.keep()
    spool.append([(EVENTS, 1, b"b")])
    directory.unlink()
    upkeep.keep()

    with opened(spool.path) as found:
        assert [row for row, _, _ in found.spool.read(0, 10)] == [1, 2]


def test_a_file_that_was_given_away_is_not_written_anew(spool):
    upkeep = Upkeep(spool)
    spool.append([(EVENTS, 1, b"a")])
    spool.retire()
    spool.path.unlink()

    upkeep.keep()

    assert not spool.path.exists()
