"""The progress: rows and their speed, on a terminal alone."""

from __future__ import annotations

from klaviyo_relay_worker.cli.get.progress import Progress


def test_progress_says_rows_and_their_speed_and_leaves_no_trace(capsys):
    ticks = iter([0.0, 2.0, 4.0])
    with Progress(is_shown=True, clock=lambda: next(ticks)) as progress:
        progress.add(1_000)
        progress.add(1_000)
    # What erases the line is taken out here, where no terminal is.
    assert capsys.readouterr().err == "\r1,000 rows, 500/s\r2,000 rows, 500/s\r"
    with Progress(is_shown=False) as silent:
        silent.add(1)
    assert capsys.readouterr().err == ""
