"""The bytes under the rows: plain or packed, whole or cut off."""

from __future__ import annotations

import gzip
import random

import pytest

from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from rows_in_memory import all_rows, reader_of


def test_gzip_that_is_cut_off_is_said():
    packed = gzip.compress(random.Random(1).randbytes(200_000).hex().encode())
    reader = reader_of(packed[: len(packed) // 2], NdjsonRows)
    with pytest.raises(LoadError, match="damaged or cut off"):
        all_rows(reader)
