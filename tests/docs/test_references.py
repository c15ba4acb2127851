"""The pages that list something list all of it, and nothing that is not there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from msgspec.structs import fields
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import klaviyo_relay
import klaviyo_relay_worker
from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay.commands import KINDS
from klaviyo_relay.keys import Keys
from klaviyo_relay.outbox.process import URL_VARIABLE
from klaviyo_relay_worker import breaker
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.dashboard.binding import TOKEN
from klaviyo_relay_worker.explain import RULES
from klaviyo_relay_worker.exposition import registry_of
from klaviyo_relay_worker.lane import LaneState
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.settings import API_KEY, WorkerSettings
from klaviyo_relay_worker.telemetry.counters import Counters
from klaviyo_relay_worker.telemetry.event import (
    DEAD,
    DELIVERED,
    DROPPED,
    PARKED,
    DeliveryAttempted,
    Settled,
)
from pages import REPOSITORY, blocks, codes, pages, prose, rows, section

DOCS = REPOSITORY / "docs"
SOURCES = [Path(str(package.__file__)).parent for package in (klaviyo_relay, klaviyo_relay_worker)]
VARIABLE = re.compile(r"KLAVIYO_(?:API|RELAY)_[A-Z_]*[A-Z](?:_<ACCOUNT>)?")
ALIAS = "klaviyo_relay_process_"


def trees() -> Iterator[ast.Module]:
    """The syntax of every module that is shipped."""
    for source in SOURCES:
        for path in source.rglob("*.py"):
            yield ast.parse(path.read_text("utf-8"))


# --- the command line ----------------------------------------------------------------------------


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every verb, by its words."""
    yield path
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from commands(one, (*path, name))


def test_cli_md_says_what_the_program_says():
    script = Path(__file__).parent / "cli_reference.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--show"], capture_output=True, text=True, check=True
    )
    is_fresh = (DOCS / "cli.md").read_text("utf-8") == ran.stdout
    assert is_fresh, "write it anew: python tests/docs/cli_reference.py"


def test_cli_md_has_every_verb():
    text = (DOCS / "cli.md").read_text("utf-8")
    missing = [
        path
        for path in commands(cli)
        if path and f"### klaviyo-relay {' '.join(path)}\n" not in text
    ]
    assert missing == []


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words behind `klaviyo-relay` wherever a page shows it as code."""
    shown = [block.text for block in blocks(page) if block.language == "sh"]
    for text in (*shown, *codes(prose(page))):
        for line in text.replace("\\\n", " ").splitlines():
            for found in re.findall(r"(?<![/\w])klaviyo-relay +([a-z][^|#;)&]*)", line):
                yield found.split()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_verb_and_option_that_a_page_shows_exists(page):
    strange = []
    for words in command_lines(page):
        known = cli
        while isinstance(known, click.Group) and words and words[0] in known.commands:
            known = known.commands[words.pop(0)]
        if isinstance(known, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
            strange.append(f"{known.name} {words[0]}")
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        takes = {name for one in known.params for name in one.opts}
        if known.name != "sandbox":
            strange += sorted(options - takes - {"-", "--help", "--version"})
    assert strange == []


# --- settings ------------------------------------------------------------------------------------


class Asked(dict):
    """An environment that remembers which variables it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def variables_of_the_settings() -> set[str]:
    """What the settings objects and the command line's options read."""
    environment = Asked()
    Settings.from_env(environment)
    WorkerSettings.from_env(environment)
    options = {
        str(option.envvar) for command in cli.commands.values() for option in command.params
        if option.envvar
    }  # fmt: skip
    return {*environment.names, *options, API_KEY, f"{API_KEY}_<ACCOUNT>", TOKEN, URL_VARIABLE}


def documented_variables() -> dict[str, list[str]]:
    """The rows of settings.md by their variable."""
    found = {}
    for row in rows(DOCS / "settings.md"):
        if match := re.fullmatch(r"`(KLAVIYO_[A-Z_<>]+)`", row[0]):
            found.setdefault(match[1], row)
    return found


def test_settings_md_has_every_setting_and_no_other():
    assert set(documented_variables()) == variables_of_the_settings()


def test_no_variable_is_read_past_settings_md():
    named = {
        node.value for tree in trees() for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and VARIABLE.fullmatch(node.value)
    }  # fmt: skip
    assert named <= set(documented_variables())


@pytest.mark.parametrize("kind", [Settings, WorkerSettings])
def test_settings_md_names_the_default_that_the_code_has(kind):
    documented = documented_variables()
    for field in fields(kind):
        name = field.name.upper()
        row = documented.get(f"KLAVIYO_RELAY_{name}") or documented.get(f"KLAVIYO_{name}")
        is_plain = isinstance(field.default, str | int | float)
        if row is not None and is_plain:
            shown = f"{field.default:.0f}" if isinstance(field.default, float) else field.default
            assert f"`{shown}`" in row[2], name


def test_no_page_names_a_variable_that_does_not_exist():
    known = variables_of_the_settings() | {"KLAVIYO_RELAY_LONG"}  # of the tests alone
    for page in (*pages(), *(REPOSITORY / "deploy").rglob("*.*ml")):
        named = set(re.findall(r"\bKLAVIYO_(?:API|RELAY)_[A-Z_]*[A-Z]\b", page.read_text("utf-8")))
        strange = {name for name in named - known if not name.startswith(f"{API_KEY}_")}
        assert strange == set(), page.name


# --- metrics -------------------------------------------------------------------------------------


@pytest.fixture
def metrics(relay_settings, redis):
    """All metrics of a worker that has seen everything, with their labels."""
    producer = Producer(relay_settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    assert producer.close(10).left == 0
    assert Quota(redis, relay_settings.keys).reserve("default", "POST /api/events") == 0
    registry: CollectorRegistry = registry_of(relay_settings)
    count = Counters(registry)
    place = {"account": "default", "lane": "events"}
    for outcome in (DELIVERED, PARKED, DEAD, DROPPED):
        count(Settled(**place, outcome=outcome, cause="a_word"))
    request = {"endpoint": "POST /api/events", "items": 1, "status": 202, "seconds": 0.1}
    count(DeliveryAttempted(**place, **request, outcome="answered"))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            name = re.sub("_(bucket|sum|count)$", "", sample.name)
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    is_named = {
        name for name in found if not name.startswith(ALIAS) and not name.endswith("_created")
    }
    return {name: found[name] for name in is_named}


def test_telemetry_md_has_every_metric_with_its_labels_and_no_other(metrics):
    documented = {
        name: {label for label in row[1].split(", ") if label != "none"}
        for row in rows(DOCS / "telemetry.md")
        for name in codes(row[0])
        if re.fullmatch(r"klaviyo_relay_[a-z_]+[a-z]", name)
    }
    assert documented == metrics


def test_no_page_alert_or_chart_names_a_metric_that_does_not_exist(metrics):
    parts = {f"{name}{end}" for name in metrics for end in ("", "_bucket", "_sum", "_count")}
    roots = [REPOSITORY / "deploy" / name for name in ("prometheus", "grafana", "kubernetes")]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    for page in (*pages(), *files):
        # Modules share the prefix, so only what is named as a metric is.
        named = set(
            re.findall(
                r"\bklaviyo_relay_(?!worker\b|outbox\b|capture\b)[a-z_]+[a-z]\b",
                page.read_text("utf-8"),
            )
        )
        strange = {name for name in named - parts if not name.startswith(ALIAS)}
        assert strange - {"klaviyo_relay_outbox_state"} == set(), page.name


# --- exit codes ----------------------------------------------------------------------------------


def exit_codes() -> set[int]:
    """What our own code ends a process with, and click's code for wrong usage."""
    constants, found = {}, {click.UsageError.exit_code, click.ClickException.exit_code}
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                constants |= {
                    one.id: node.value.value for one in node.targets if isinstance(one, ast.Name)
                }
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "sys.exit",
                "SystemExit",
                "os._exit",
            ):
                values = [one for part in node.args for one in results(part)]
                found |= {one.value for one in values if isinstance(one, ast.Constant)}
                found |= {
                    constants[one.id]
                    for one in values
                    if isinstance(one, ast.Name) and one.id in constants
                }
    return {code for code in found if isinstance(code, int)}


def results(expression: ast.expr) -> Iterator[ast.expr]:
    """What a conditional expression may come to."""
    if isinstance(expression, ast.IfExp):
        yield from results(expression.body)
        yield from results(expression.orelse)
    else:
        yield expression


def test_operating_md_has_every_exit_code_and_no_other():
    text = section(DOCS / "operating.md", "Exit codes of the command line")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert documented == exit_codes()


# --- words ---------------------------------------------------------------------------------------


def reasons(kind: str) -> set[str]:
    """The words that the second argument of every `Parked(…)` or `Snooze(…)` comes to."""
    words, named = {}, set()
    for tree in trees():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                words |= {ast.unparse(one): node.value.value for one in node.targets}
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                for one in node.targets:
                    if isinstance(one, ast.Tuple):
                        pairs = zip(one.elts, node.value.elts, strict=True)
                        words |= {
                            ast.unparse(name): value.value
                            for name, value in pairs
                            if isinstance(value, ast.Constant)
                        }
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).split(".")[-1] == kind
                and len(node.args) > 1
            ):
                named.add(ast.unparse(node.args[1]).split(".")[-1])
    assert named & set(words)
    return {str(words[name]) for name in named if name in words}


def first_cells(page: str, heading: str) -> set[str]:
    """The words of the first column of a section's tables."""
    lines = re.findall(r"^\| ([^|]+) \|", section(DOCS / page, heading), re.MULTILINE)
    return {word for line in lines for word in codes(line)}


def test_operating_md_has_every_reason_to_wait_and_no_other():
    known = reasons("Snooze") | {breaker.PERSON}
    shown = first_cells("operating.md", "Why a lane waits")
    assert {word.split(": ")[-1] for word in shown} == known


def test_operating_md_has_every_reason_to_park_and_no_other():
    assert first_cells("operating.md", "Why a command is parked") == reasons("Parked")


def test_operating_md_has_every_rule_that_drops_and_no_other():
    assert first_cells("operating.md", "Why a command was dropped") == set(RULES)


def test_the_glossary_names_every_rule_that_drops():
    [row] = [row for row in rows(DOCS / "glossary.md") if row[0] == "drop"]
    assert codes(row[1]) == set(RULES)


def test_the_glossary_is_sorted_and_has_each_word_once():
    words = [row[0] for row in rows(DOCS / "glossary.md")][1:]
    assert words == sorted(set(words), key=str.casefold)


# --- verbs and keys ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__struct_config__.tag)
def test_verbs_md_has_every_argument_of_a_verb(kind):
    verb = kind.__struct_config__.tag
    documented = first_cells("verbs.md", verb)
    arguments = {field.name for field in fields(kind)} | ({"profile"} if verb == "track" else set())
    assert documented - {"account"} == arguments


def keys() -> set[str]:
    """Every key in Redis, as internals.md writes it."""
    made = Keys()
    lane, quota = made.lane("a", "l"), made.quota("a", "endpoint")
    found = {getattr(lane, field.name) for field in fields(type(lane))} - {lane.name, lane.prefix}
    found |= {quota.times, quota.state, made.register, made.doorbell, made.audit, made.secret}
    found |= {
        made.rung("a:l"),
        made.breaker("a", "family"),
        made.lists("a"),
        made.created("a", "id"),
    }
    return found | {made.forgotten("a"), made.clock("a"), made.joins("a")}


def test_internals_md_has_every_key_in_redis_and_no_other():
    assert first_cells("internals.md", "Keys in Redis") == keys()


def test_internals_md_names_the_fields_of_a_lanes_state_and_of_a_breaker():
    found = {row[0]: codes(row[2]) for row in rows(DOCS / "internals.md") if len(row) == 3}
    state = {field.name for field in fields(LaneState)} - {"is_paused", "paused_seconds", "imports"}
    assert found["`kr:{a:l}:state`"] >= state | {"paused", "pauses", "looked", "import:…"}
    assert found["`kr:breaker:a:family`"] >= set(breaker._FIELDS)


def modules() -> set[str]:
    """The modules, folders and scripts of both packages, as internals.md writes them."""
    found = set()
    for source in SOURCES:
        for path in source.rglob("*"):
            inside = path.relative_to(source)
            found |= {path.name, path.stem, str(inside.with_suffix("")), f"{inside}/"}
    return found


def test_internals_md_names_modules_that_exist():
    story = prose(DOCS / "internals.md").partition("## Keys in Redis")[0]
    names = {name for name in codes(story) if re.fullmatch(r"[a-z_]+(/[a-z_]*)?(\.lua)?", name)}
    other = {*RULES, *reasons("Snooze"), *Track.__struct_fields__, "lost"}
    assert names - other <= modules()
    assert {"delivery", "plan/ladder", "settle.lua"} <= names


# --- sizes ---------------------------------------------------------------------------------------

MEASURED = {
    "memory of a worker": [
        "resident memory of the worker after it",
        "peak memory of a worker at a backlog of 1,000,000",
    ],
    "CPU of a worker": [
        "worker CPU an event in bulk, limits off",
        "worker CPU an event at a backlog of 1,000,000, of one at 10,000",
    ],
    "`track()`": [
        "track() p50 in a flood, of a redis-py RPUSH of its envelope",
        "track() p50 at 500 a second, of RPUSH alike",
    ],
}


@pytest.mark.parametrize(("what", "names"), MEASURED.items(), ids=MEASURED)
def test_operating_md_sizes_as_it_was_measured(what, names):
    said = {row[0]: row[1] for row in rows(DOCS / "operating.md")}[what]
    least, most = (float(one) for one in re.match(r"(\d+)\D(\d+) ", said).groups())
    measured = {row[0]: row[1] for row in rows(DOCS / "benchmarks.md")}
    for name in names:
        found = re.search(r"([\d.]+)(?: of [\d.,]+)? (?:MB|µs)", measured[name])
        assert least <= float(found[1]) <= most, f"{name}: {measured[name]}"
