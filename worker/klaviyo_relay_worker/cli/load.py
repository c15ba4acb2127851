"""`klaviyo-relay load`: a file, standard input or a query, row by row into the lanes."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from typing import Any

import click
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay import validation
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.keys import split
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.cli.field_help import ACCOUNT_HELP
from klaviyo_relay_worker.cli.load_options import mapping_of, mapping_options
from klaviyo_relay_worker.cli.load_watch import TerminalWatch, told_seconds
from klaviyo_relay_worker.cli.redis_access import wait_for_redis
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.estimate import seconds_for
from klaviyo_relay_worker.load.loading import load as load_source
from klaviyo_relay_worker.load.making import Maker
from klaviyo_relay_worker.load.order import Order
from klaviyo_relay_worker.load.preview import preview
from klaviyo_relay_worker.load.rejects import Refusal
from klaviyo_relay_worker.load.sources import FORMATS, Source, Where, open_source
from klaviyo_relay_worker.server_version import check_version

_SHOWN = 5
_COLLECTED_AT = 50_000
_SOME_REFUSED = 3
_ASCII = b"\t\r\n" + bytes(range(0x20, 0x7F))


@click.command()
@click.argument("target", metavar="FILE|-|DATABASE-URL")
@mapping_options
@click.option("--format", "file_format", type=click.Choice(FORMATS), help="if the name tells none")
@click.option("--delimiter", help="of CSV: one character, or tab  [default: ,]")
@click.option("--encoding", default="utf-8", show_default=True, help="of CSV")
@click.option("--query", help='with a database URL: "SELECT ..."')
@click.option("--source", "name", help="makes a load of standard input or a query resumable")
@click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help=ACCOUNT_HELP)
@click.option(
    "--priority", type=click.Choice(["bulk", "live"]), default="bulk", show_default=True,
    help="lanes behind live commands, or those of live commands",
)  # fmt: skip
@click.option(
    "--dry-run", "shown", is_flag=False, flag_value=_SHOWN, type=click.IntRange(0), metavar="[N]",
    help=f"only show the first N commands and all refused rows  [N: {_SHOWN}]",
)  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0), help="seconds to wait for Redis in one go")
@click.option("--max-refused", type=click.IntRange(0), help="end after more refused rows than that")
@click.option("--rejects", type=click.Path(path_type=Path), help="[default: FILE.rejects.ndjson]")
@click.option("--rejects-with-rows", "with_rows", is_flag=True, help="with private data")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="[default: FILE.checkpoint]")
@click.option("--restart", is_flag=True, help="forget the checkpoint")
@click.option("--json", "as_json", is_flag=True, help="the summary as one JSON document")
def load(target: str, shown: int | None, as_json: bool, **given: Any) -> None:  # noqa: FBT001 - click passes flags by name
    """Put each row of a file or query into the lanes, once, however often it is run.

    CSV, NDJSON and Parquet, gzip too; - is standard input. May be killed and run again: it goes on
    at the row where it was. A column of a field's name is that field; others become properties.
    Exit code 3 if rows were refused; see the reject file.

    \b
    Example:
      klaviyo-relay load orders.csv --as track --event "Placed Order" --value-column total
    """  # noqa: D301 - the backspace tells click to leave the example's lines alone
    order = _order(target, given)
    with TerminalWatch() as watch:
        source = open_source(order.where, watch.say if watch.has_bar else _silent)
        try:
            order.check_places(source)
            maker = order.maker_of(source)
            report = (
                _load(order, source, maker, watch)
                if shown is None
                else _preview(source, maker, shown)
            )
        finally:
            source.reader.close()
    if maker.unseen and report["rows"] > report["resumed_at"]:
        click.echo(f"no row had the column {', '.join(maker.unseen)}: is it misspelt?", err=True)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _tell(report, is_preview=shown is not None)
    raise SystemExit(_SOME_REFUSED if report["refused"] else 0)


def _order(target: str, given: dict[str, Any]) -> Order:
    """All that was said, checked as far as that goes before anything is opened."""
    mapping = mapping_of(given)
    delimiter = given.pop("delimiter")
    where = Where(
        target=target,
        format=given.pop("file_format"),
        query=given.pop("query"),
        name=given.pop("name"),
        delimiter="\t" if delimiter == "tab" else delimiter,
        encoding=given.pop("encoding"),
    )
    _check(where, given["account"])
    bulk = given.pop("priority") == "bulk"
    return Order(where=where, mapping=mapping, bulk=bulk, **given)


def _check(where: Where, account: str) -> None:
    faults = []
    if where.delimiter is not None and len(where.delimiter) != 1:
        faults.append("--delimiter must be one character, or tab")
    try:
        validation.account("--account", account)
    except InvalidCommandError as error:
        faults.append(str(error))
    if not _keeps_ascii(where.encoding):
        faults.append(
            f"--encoding {where.encoding}: must be one that keeps ASCII as it is, such as utf-8 or"
            " cp1252; turn others into UTF-8 first, with iconv"
        )
    if faults:
        raise UsageFaultsError(faults)


def _keeps_ascii(encoding: str) -> bool:
    try:
        is_read = _ASCII.decode(encoding, "surrogateescape") == _ASCII.decode()
        return is_read and _ASCII.decode().encode(encoding).endswith(_ASCII)
    except (LookupError, ValueError):
        return False


def _silent(_text: str) -> None:
    """Nobody sits at a terminal."""


def _load(order: Order, source: Source, maker: Maker, watch: TerminalWatch) -> dict[str, Any]:
    settings = Settings.from_env()
    redis = wait_for_redis(settings.redis_url, order.timeout)
    check_version(redis)
    _collect_seldom()
    began = time.monotonic()
    summary = load_source(order, source, maker, redis=redis, settings=settings, watch=watch)
    seconds = time.monotonic() - began
    return {
        **summary._asdict(),
        "seconds": round(seconds, 3),
        "rate": round((summary.rows - summary.resumed_at) / max(0.001, seconds)),
        "klaviyo_seconds": _klaviyo_seconds(redis, settings, maker),
        "rejects": None if summary.rejects is None else str(summary.rejects),
    }


def _collect_seldom() -> None:
    """Rows make no cycles: the garbage collector would look at each chunk for nothing."""
    gc.freeze()
    gc.set_threshold(_COLLECTED_AT)


def _klaviyo_seconds(redis: Redis, settings: Settings, maker: Maker) -> int | None:
    """For all that waits in the lanes of this load, others' commands before it included.

    None if Redis has gone away meanwhile: the load itself is done.
    """
    try:
        counts = _waiting(redis, settings, maker)
    except RedisError:
        return None
    return round(seconds_for(counts, maker.bytes / max(1, sum(maker.counts.values()))))


def _waiting(redis: Redis, settings: Settings, maker: Maker) -> dict[type[Command], int]:
    """Kind -> commands that wait in its lane; a lane of several kinds counts for the first."""
    waiting: dict[str, int] = {}
    counts = {}
    for kind, lane in maker.lanes.items():
        if lane not in waiting:
            waiting[lane] = redis.xlen(settings.keys.lane(*split(lane)).stream)
            counts[kind] = waiting[lane]
    return counts


def _preview(source: Source, maker: Maker, shown: int) -> dict[str, Any]:
    def refuse(refusal: Refusal) -> None:
        told = {"line": refusal.line, "field": refusal.field, "reason": refusal.reason}
        click.echo(json.dumps(told))

    summary = preview(source, maker, shown, click.echo, refuse)
    return summary._asdict()


def _tell(report: dict[str, Any], *, is_preview: bool) -> None:
    rows, refused = report["rows"], report["refused"]
    if is_preview:
        told = f"{rows:,} rows read: {report['enqueued']:,} commands, {refused:,} rows refused"
        click.echo(f"{told}; nothing was written", err=True)
        return
    click.echo(
        f"{rows:,} rows read, {report['enqueued']:,} commands enqueued ({report['added']:,} new to"
        f" Redis), {refused:,} rows refused; {report['seconds']:.1f} s, {report['rate']:,} rows/s"
    )
    if refused:
        click.echo(f"refused rows: {report['rejects']}")
    if report["added"] and report["klaviyo_seconds"] is not None:
        needed = told_seconds(report["klaviyo_seconds"])
        click.echo(f"Klaviyo needs {needed} or more for what waits in these lanes")
