"""docs/benchmarks.md and its charts, from what one run measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from bench.chart import Bar, bars
from bench.delivery import FLOOD, PEER_FLOOD
from bench.limited import SECONDS
from bench.peers import BY_NAME, RELAY
from bench.stage import QUICK_VARIABLE, Figure, Measurement
from bench.table import COLUMNS, ROWS, Table, middle, ratio
from klaviyo_relay_worker.embedded import find_server

PACKAGES = (
    "celery",
    "kombu",
    "redis",
    "requests",
    "klaviyo-api",
    "segment-analytics-python",
    "posthog",
    "rudder-sdk-python",
)


class Chart(NamedTuple):
    """A row of the table as a picture.

    Attributes:
        name: of its file.
        row: the title of the row.
    """

    name: str
    row: str
    title: str
    remark: str


CHARTS = (
    Chart("call", "a call, p50", "One call, median", "Less is better."),
    Chart(
        "lost",
        "calls lost in kill -9",
        "Calls lost when the process is killed",
        "Per cent of the calls that had returned. Less is better.",
    ),
    Chart(
        "rate",
        "events a second under Klaviyo's limits",
        "Events a second within Klaviyo's limits",
        "One worker, 16 threads. More is better.",
    ),
    Chart(
        "cpu",
        "worker's CPU a million events",
        "CPU seconds of the worker for a million events",
        "Without Klaviyo's limits. Less is better.",
    ),
    Chart(
        "bytes",
        "bytes in Redis a queued event",
        "Bytes in Redis for one queued event",
        "Less is better.",
    ),
)


def figures_table(figures: Sequence[Figure]) -> str:
    rows = [
        f"| {one.name} | {one.value} | {one.bar} | {'yes' if one.is_reached else '**no**'} |"
        for one in figures
    ]
    return "\n".join(["| figure | measured | bar | reached |", "|---|---|---|---|", *rows])


def write(
    directory: Path, figures: Sequence[Figure], measured: Sequence[Measurement], kind: str
) -> None:
    """Write benchmarks.md and images/bench-*.svg into `directory`.

    Args:
        kind: how the run was made: the command.
    """
    images = directory / "images"
    images.mkdir(parents=True, exist_ok=True)
    table = Table(measured)
    drawn = []
    for chart in CHARTS:
        if picture := _picture(chart, table):
            (images / f"bench-{chart.name}.svg").write_text(picture, "utf-8")
            drawn.append(chart)
    text = _document(figures, measured, drawn, kind)
    (directory / "benchmarks.md").write_text(text, "utf-8")


def _picture(chart: Chart, table: Table) -> str:
    """Empty if fewer than two peers have the figure."""
    row = next(row for row in ROWS if row.title == chart.row)
    found = {peer: middle(values) for peer in COLUMNS if (values := table.values(peer, row))}
    ours = found.get(RELAY)
    rows = []
    for peer, value in found.items():
        if isfinite(value):
            beside = f" ({ratio(value, ours)})" if ours and peer is not RELAY else ""
            label = peer.title.strip("*")
            rows.append(Bar(label, value, row.show(value) + beside, peer is RELAY))
    return bars(chart.title, chart.remark, rows) if len(rows) > 1 else ""


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _caution() -> str:
    """Of a run that measured too little to mean anything."""
    if not os.environ.get(QUICK_VARIABLE):
        return ""
    return " **A quick run, to see that everything works: its figures mean nothing.**"


def _machine() -> str:
    server = find_server()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"""| | |
|---|---|
| machine | {os.cpu_count()} cores ({_processor()}), {memory:.0f} GB, {platform.system()} |
| load when the run ended (1, 5, 15 min) | {", ".join(f"{one:.1f}" for one in os.getloadavg())} |
| Python | {platform.python_version()} |
| server | {server.product} {server.version} |
| packages | {", ".join(map(_version, PACKAGES))} |"""


def _document(
    figures: Sequence[Figure],
    measured: Sequence[Measurement],
    charts: Sequence[Chart],
    kind: str,
) -> str:
    pictures = "\n\n".join(f"![{one.title}](images/bench-{one.name}.svg)" for one in charts)
    return f"""# Benchmarks

For those who compare klaviyo-relay with what they have, or change it. Made by `{kind}` on
{datetime.now(UTC):%Y-%m-%d}; do not edit by hand.{_caution()}

All figures are of one run on one machine, and peers ran side by side or in turns, so the ratios
hold; single times depend on the machine.

{_machine()}

## Side by side

**Bold** is the ratio to klaviyo-relay's figure, then comes the median, in parentheses the least and
the most of the rounds.

{Table(measured).text()}

{pictures}

### What was done, and how fair it is

- The same order in every call, the same stand-in for Klaviyo over HTTP on loopback, with Klaviyo's
  limits: 350 single events a second and 3,500 a minute, 10 bulk requests of 1,000 events a second
  and 150 a minute. Every delivering peer has one worker process with 16 threads, all connections
  kept alive. Nothing leaves the machine, and TLS is left out for all.
- Celery with klaviyo-api and with requests: one task an event, `acks_late`, `autoretry_for`,
  `retry_backoff`, as Celery's documentation recommends; `max_retries=None`, since by default Celery
  would give events up under these limits. After a 429 both wait as long as `Retry-After` says.
- segment, posthog and rudder: as they come, but with a longer queue, so that nothing is dropped.
  Their threads send to a server on loopback. They send to services of their own, not to Klaviyo.
- Bare redis-py and bare SQLite store the envelope that klaviyo-relay stores, and do nothing else:
  floors, not peers.
- Measured and reckoned: {_reckoned(measured)}
- The CPU is measured without the limits, which is kind to peers that would otherwise retry. The bar
  for events a second takes what the limit allows, 58.3 a second, where a peer was slower than that.

## The bars

{figures_table(figures)}

What each of them does stands in the head of its file in `bench/`.
"""


def _reckoned(measured: Sequence[Measurement]) -> str:
    """What was measured, and what follows from it by arithmetic."""
    events = {one.who: one.middle for one in measured if one.what == "limited events"}
    counts = "; ".join(f"{BY_NAME[who].title.strip('*')} {n:,.0f}" for who, n in events.items())
    return f"""the rate is measured over {SECONDS} s (events in that time: {counts or "none"}),
  and how long a million takes follows from it. So do requests and 429s a million. The CPU is that
  of {FLOOD:,} events of klaviyo-relay and {PEER_FLOOD:,} of each peer in each round."""
