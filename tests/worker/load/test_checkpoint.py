import json
import stat

import pytest

from klaviyo_relay_worker.load.checkpoint import Checkpoint, CheckpointFile, Position
from klaviyo_relay_worker.load.content import claim
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.rejects import Refusal, RejectFile


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    file = CheckpointFile(tmp_path / "c")
    assert file.read() is None
    checkpoint = Checkpoint(content="a", source="b", position=Position(3, 2, 1), marks={"l": 2})
    file.write(checkpoint)
    assert file.read() == checkpoint
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_file_that_is_no_checkpoint_is_said(tmp_path):
    path = tmp_path / "c"
    path.write_text("{}")
    with pytest.raises(LoadError, match="--checkpoint"):
        CheckpointFile(path).read()


def test_a_checkpoint_that_cannot_be_written_names_the_flag(tmp_path):
    checkpoint = Checkpoint(content="a", source="b")
    with pytest.raises(LoadError, match="--checkpoint"):
        CheckpointFile(tmp_path / "none" / "c").write(checkpoint)


def test_rejects_are_cut_off_at_the_checkpoint_and_go_on(tmp_path):
    path = tmp_path / "r"
    file = RejectFile(path, with_rows=False)
    file.add(Refusal(2, "email", "no", ["private"]))
    noted = file.size
    file.add(Refusal(3, "email", "no", ["private"]))
    file.add(Refusal(5, "email", "no", ["private"]))
    file.close()
    file = RejectFile(path, with_rows=False, size=noted)
    file.add(Refusal(4, "email", "no", ["private"]))
    file.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"line": line, "field": "email", "reason": "no"} for line in (2, 4)
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_are_written_only_where_that_was_asked_for(tmp_path):
    path = tmp_path / "r"
    file = RejectFile(path, with_rows=True)
    file.add(Refusal(2, "email", "no", ["K\udcf6ln", None, 5]))
    file.close()
    assert json.loads(path.read_text())["row"] == ["K\\udcf6ln", None, 5]


def test_rejects_that_cannot_be_written_name_the_flag(tmp_path):
    file = RejectFile(tmp_path / "none" / "r", with_rows=False)
    with pytest.raises(LoadError, match="--rejects"):
        file.add(Refusal(2, "email", "no"))


def test_a_file_is_loaded_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "orders.csv"
    path.touch()
    with path.open("rb") as one, path.open("rb") as other:
        claim(one, "orders.csv")
        with pytest.raises(LoadError, match="by another process"):
            claim(other, "orders.csv")
