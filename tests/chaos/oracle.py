"""The oracle: judges by the evidence alone whether the rules held. Pure functions.

conservation   every accepted command is delivered, dead, dropped by a named rule or discarded
once           nothing happens twice in effect
order          what one writer said of one person is applied in the order in which it was said
consent        nobody is subscribed against their last word; no unsubscribe goes too far
forgotten      nothing of a person is sent after their deletion, unless it is newer
harmless       no command is refused but the poisoned ones
limits         no 429 and no 400 of our own making
rest           once the faults are over, all is done in a bounded time
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from episode import Evidence
from history import Effect, RequestLine
from msgspec import Struct
from workload import POISONS, VENOM, Planned

CONSERVATION, ONCE, ORDER, CONSENT = "conservation", "once", "order", "consent"
FORGOTTEN, HARMLESS, LIMITS, REST = "forgotten", "harmless", "limits", "rest"

# After one of these the limits are not ours alone to keep, for as long as Klaviyo's longest window.
_DISTURBANCES = ("other integration", "sandbox clock", "throttle")
_DISTURBED_SECONDS = 62.0
# Who is stopped sends, or receives, in one lump when it goes on: that spoils a second's window.
_STOPS = ("pause sandbox", "pause worker", "freeze worker", "pause Redis", "freeze Redis")
_STOPPED_SECONDS = 16.0
_UNDER_WAY_SECONDS = 0.4
_TRACED = ("event", "profile")


class Violation(Struct, frozen=True):
    """A rule that did not hold.

    Attributes:
        rule: its name.
        keys: the commands it is about.
        evidence: what shows it.
    """

    rule: str
    keys: tuple[str, ...]
    evidence: str

    def __str__(self) -> str:
        few = ", ".join(self.keys[:6]) + (", …" if len(self.keys) > 6 else "")
        return f"{self.rule}: {self.evidence}" + (f" [{few}]" if few else "")


class Given(Struct, frozen=True):
    """A command as its producer saw it.

    Attributes:
        at: when the call began, seconds since 1970.
        returned_at: when it returned; infinite if it did not.
        fate: accepted, raised, or unknown (killed in the middle).
        id: what the call returned.
    """

    planned: Planned
    at: float
    returned_at: float
    fate: str
    id: str

    @property
    def key(self) -> str:
        """The planned command's."""
        return self.planned.key

    @property
    def writer(self) -> str:
        """The process that gave it."""
        return self.key.partition("-")[0]


class Case:
    """The evidence, sorted for the rules."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.effects = evidence.history.effects
        self.given = _given(evidence.journal)
        self.seen: dict[str, list[Effect]] = defaultdict(list)
        for effect in self.effects:
            for key in effect.keys:
                self.seen[key].append(effect)
        ended = (*evidence.dead, *evidence.discarded)
        # A load's commands are known by their key only.
        self.dead_keys = {_key_of(letter) for letter in ended}
        self.dead_ids = {letter.id for letter in ended}

    def ended(self, one: Given) -> bool:
        """Whether it is a dead letter, or was let go by a person."""
        return one.key in self.dead_keys or one.id in self.dead_ids

    def accepted(self, *verbs: str) -> Iterator[Given]:
        """Accepted commands of some verbs."""
        for one in self.given.values():
            if one.fate == "accepted" and (not verbs or one.planned.verb in verbs):
                yield one


def judge(evidence: Evidence) -> list[Violation]:
    """Every violation."""
    case = Case(evidence)
    rules: tuple[Callable[[Case], Iterable[Violation]], ...] = (
        rest,
        numbers,
        conservation,
        conservation_of_the_untraceable,
        raised,
        once,
        once_lists,
        order,
        last_step,
        membership,
        consent,
        consent_in_order,
        global_unsubscribes,
        forgotten,
        harmless,
        limits,
        schema,
    )
    return [violation for rule in rules for violation in rule(case)]


# Conservation


def rest(case: Case) -> Iterator[Violation]:
    """Nothing is left to be done."""
    if case.evidence.pending:
        yield Violation(REST, (), f"after calm there is still work: {case.evidence.pending}")
    # Unsubscribes wait half an hour for a membership, deletions ten minutes for their last look.
    waiting = case.evidence.pending_before_time_passed
    late = {name: count for name, count in waiting.items() if name not in ("consent", "privacy")}
    if late:
        yield Violation(REST, (), f"an hour had to pass before this was done: {late}")


def numbers(case: Case) -> Iterator[Violation]:
    """Redis's own equation holds, and accounts for as many commands as were accepted."""
    report = case.evidence.report
    if report["lost"]:
        yield Violation(CONSERVATION, (), f"status says lost: {report['lost']}")
    accepted = sum(one["accepted"] for _, one in _lanes(report))
    least = sum(_commands_in(one.planned) for one in case.accepted())
    most = sum(_commands_in(one.planned) for one in case.given.values() if one.fate != "raised")
    if not least <= accepted <= most:
        said = f"the lanes accepted {accepted} commands, the producers {least} to {most}"
        yield Violation(CONSERVATION, (), said)


def conservation(case: Case) -> Iterator[Violation]:
    """Events and profiles carry their key: it is at Klaviyo, or the command has ended."""
    missing: dict[str, list[str]] = defaultdict(list)
    for one in case.accepted("track", "track_once", "identify"):
        wanted = {"event"} if one.planned.lane == "events" else {"profile"}
        if one.planned.lane == "events" and one.planned.step:
            wanted = {"event", "profile"}
        found = {effect.kind for effect in case.seen[one.key]}
        if not wanted <= found and not case.ended(one) and not _may_be_dropped(case, one):
            missing[one.planned.lane].append(one.key)
    for lane, keys in missing.items():
        yield Violation(CONSERVATION, tuple(keys), f"{len(keys)} commands of {lane} are nowhere")


def _may_be_dropped(case: Case, one: Given) -> bool:
    """Whether a rule of ours may have dropped it: its person was to be forgotten."""
    return any(
        other.planned.person == one.planned.person for other in case.accepted("delete_profile")
    )


def conservation_of_the_untraceable(case: Case) -> Iterator[Violation]:
    """Of commands without a key at Klaviyo each has an effect of its kind, or was dropped."""
    for lane in ("lists", "consent", "privacy"):
        missing = [
            one for one in case.accepted() if one.planned.lane == lane and not case.ended(one)
        ]
        missing = [one for one in missing if not _has_effect(case, one)]
        dropped = sum(one["dropped"] for name, one in _lanes(case.evidence.report) if name == lane)
        if len(missing) > dropped:
            keys = tuple(one.key for one in missing)
            said = f"{len(keys)} commands of {lane} have no effect, {dropped} were dropped"
            yield Violation(CONSERVATION, keys, said)


def _has_effect(case: Case, one: Given) -> bool:
    """Whether something of its kind happened after it was given, or it was overruled."""
    planned = one.planned
    if planned.lane == "lists":
        return _list_has_effect(case, one)
    listed = planned.arguments.get("list_id")
    if planned.verb == "delete_profile":
        return True  # of somebody unknown there it leaves no trace: see `forgotten`
    return any(
        effect.kind == planned.verb and effect.person == planned.person and effect.list_id == listed
        for effect in case.effects
        if effect.at >= one.at - 1
    )


def _list_has_effect(case: Case, one: Given) -> bool:
    planned = one.planned
    if planned.verb in ("add_to_list", "remove_from_list"):
        return True  # what counts is the last word: see `membership`
    name = planned.arguments.get("new_name") or planned.arguments["list_name"]
    if planned.verb == "delete_list":
        return all(each["name"] != name for each in case.evidence.history.lists)
    return any(effect.name == name for effect in case.effects)


def raised(case: Case) -> Iterator[Violation]:
    """A call that raised has no effect."""
    keys = [one.key for one in case.given.values() if one.fate == "raised" and case.seen[one.key]]
    if keys:
        yield Violation(CONSERVATION, tuple(keys), "calls that raised have been delivered")


# Once, order


def once(case: Case) -> Iterator[Violation]:
    """No event is in the account twice; what a deletion took away may come again."""
    there: dict[str, set[str]] = defaultdict(set)
    twice: tuple[str, ...] = ()
    for effect in case.effects:
        if effect.kind == "delete_profile":
            there[effect.person].clear()
        elif effect.kind == "event" and effect.is_new and effect.keys[0]:
            twice += (effect.keys[0],) if effect.keys[0] in there[effect.person] else ()
            there[effect.person].add(effect.keys[0])
    if twice:
        yield Violation(ONCE, twice, f"{len(twice)} events are recorded more than once")


def once_lists(case: Case) -> Iterator[Violation]:
    """No list is made twice."""
    counts = Counter(effect.name for effect in case.effects if effect.kind == "create_list")
    for name, count in counts.items():
        if count > 1:
            yield Violation(ONCE, (name,), f"the list {name!r} was made {count} times")


def order(case: Case) -> Iterator[Violation]:
    """The steps of one person rise, as one writer of one lane gave them."""
    last: dict[tuple[str, str], Effect] = {}
    for effect in case.effects:
        if effect.kind != "profile" or not effect.step or not effect.keys:
            continue
        writer = effect.keys[0].partition("-")[0]
        before = last.get((effect.person, writer))
        if before is not None and effect.step < before.step:
            said = (
                f"{effect.person}: step {effect.step} (line {effect.number}) was applied"
                f" after step {before.step} (line {before.number})"
            )
            yield Violation(ORDER, (*effect.keys[:2], *before.keys[:2]), said)
        last[effect.person, writer] = effect


def last_step(case: Case) -> Iterator[Violation]:
    """In the end a profile has what its writer said last."""
    last: dict[str, Given] = {}
    for one in case.given.values():
        if one.planned.step and one.fate != "raised":
            last[one.planned.person] = one
    for person, one in last.items():
        if not _is_certain(case, one):
            continue
        profile = case.evidence.history.profiles.get(person)
        step = profile["properties"].get("step") if profile else None
        if step != one.planned.step and case.seen[one.key]:
            said = f"{person} ends with step {step}, its last was {one.planned.step}"
            yield Violation(ORDER, (one.key,), said)


def membership(case: Case) -> Iterator[Violation]:
    """Who was last added to a list is on it, who was last removed is not."""
    for (person, listed), words in _membership_words(case).items():
        profile = case.evidence.history.profiles.get(person)
        is_member = profile is not None and listed in profile["lists"]
        is_wanted = words[-1].planned.verb == "add_to_list"
        if is_member is not is_wanted and all(_is_certain(case, word) for word in words):
            said = f"{person} is {'' if is_member else 'not '}on {listed} against the last word"
            yield Violation(ORDER, (words[-1].key,), said)


def _membership_words(case: Case) -> dict[tuple[str, str], list[Given]]:
    """What was said about a person and a list, in order."""
    names = {one["name"]: one["id"] for one in case.evidence.history.lists}
    words: dict[tuple[str, str], list[Given]] = defaultdict(list)
    for one in case.given.values():
        if one.planned.verb in ("add_to_list", "remove_from_list"):
            arguments = one.planned.arguments
            listed = arguments.get("list_id") or names[arguments["list_name"]]
            words[one.planned.person, listed].append(one)
    return words


def _is_certain(case: Case, one: Given) -> bool:
    """Whether it must have had its effect."""
    return _is_sure(case, one) and not _may_be_dropped(case, one)


# Consent


def _words(case: Case) -> dict[str, list[Given]]:
    words: dict[str, list[Given]] = defaultdict(list)
    for one in case.given.values():
        if one.planned.verb in ("subscribe", "unsubscribe") and one.fate != "raised":
            words[one.planned.person].append(one)
    return words


def _covers(word: Given, channel: str, listed: str | None) -> bool:
    """Whether it speaks of this channel, on this list or everywhere."""
    arguments = word.planned.arguments
    channels = arguments.get("channels", ["email"])
    return channel in channels and arguments.get("list_id") in (None, listed)


def consent(case: Case) -> Iterator[Violation]:
    """Whose last word is no, is not subscribed."""
    for person, words in _words(case).items():
        profile = case.evidence.history.profiles.get(person)
        if profile is None:
            continue
        for channel, listed in _scopes(words):
            last = _last_no(case, [word for word in words if _covers(word, channel, listed)])
            if last is not None and _is_subscribed(profile, channel, listed):
                said = f"{person} is subscribed to {channel} of {listed or 'all'} after a no"
                yield Violation(CONSENT, (last.key,), said)


def _scopes(words: list[Given]) -> list[tuple[str, str | None]]:
    """The channels, each everywhere, and email on each list that is spoken of."""
    scopes: set[tuple[str, str | None]] = {("email", None), ("sms", None)}
    scopes |= {("email", word.planned.arguments.get("list_id")) for word in words}
    return sorted(scopes, key=str)


def _last_no(case: Case, words: list[Given]) -> Given | None:
    """The last no among them, if no yes may have come after it."""
    noes = [w for w in words if w.planned.verb == "unsubscribe" and _is_sure(case, w)]
    last = max(noes, key=lambda word: word.at, default=None)
    if last is None:
        return None
    yeses = [word for word in words if word.planned.verb == "subscribe"]
    return None if any(word.returned_at >= last.at for word in yeses) else last


def _is_sure(case: Case, word: Given) -> bool:
    return word.fate == "accepted" and not case.ended(word)


def _is_subscribed(profile: dict[str, Any], channel: str, listed: str | None) -> bool:
    state = profile["subscriptions"][channel]["marketing"]
    if state["consent"] != "SUBSCRIBED":
        return False
    if listed is None or channel != "email":
        return True
    left = {one["list_id"] for one in state["list_suppressions"]}
    return listed in profile["lists"] and listed not in left


def consent_in_order(case: Case) -> Iterator[Violation]:
    """A subscribe that is older than a no which Klaviyo has already had is not sent."""
    words = _words(case)
    sent_noes: dict[str, list[Effect]] = defaultdict(list)
    for effect in case.effects:
        if effect.kind == "unsubscribe":
            sent_noes[effect.person].append(effect)
        elif effect.kind == "subscribe" and effect.keys:
            yes = case.given[effect.keys[0]]
            for no in sent_noes[effect.person]:
                given = _noes_behind(no, effect, words[effect.person])
                if given and all(word.at > yes.returned_at for word in given):
                    said = (
                        f"{effect.person}: a subscribe (line {effect.number}) was sent after the"
                        f" newer unsubscribe of line {no.number}"
                    )
                    yield Violation(CONSENT, (yes.key, given[0].key), said)
                    break


def _noes_behind(no: Effect, yes: Effect, words: list[Given]) -> list[Given]:
    """The words of which an unsubscribe at Klaviyo may be the effect, if it overrules this yes."""
    if no.list_id not in (None, yes.list_id):
        return []
    return [
        word
        for word in words
        if word.planned.verb == "unsubscribe"
        and word.planned.arguments.get("list_id") == no.list_id
        and word.at <= no.at
        and set(yes.channels) <= set(word.planned.arguments.get("channels", ["email"]))
    ]


def global_unsubscribes(case: Case) -> Iterator[Violation]:
    """An unsubscribe from a list never became one from everything."""
    count = case.evidence.history.global_unsubscribes
    if count:
        said = f"Klaviyo made {count} unsubscribes from a list into one from everything"
        yield Violation(CONSENT, (), said)


# Forgotten, harmless


def forgotten(case: Case) -> Iterator[Violation]:
    """After a deletion nothing older of that person reaches Klaviyo, or stays there."""
    for one in case.accepted("delete_profile"):
        if case.ended(one):
            continue
        for effect in _after_last_deletion(case, one.planned.person):
            if old := _older_keys(case, effect, one.at):
                said = (
                    f"{effect.person}: line {effect.number} brings what was to be forgotten, and no"
                    " deletion follows"
                )
                yield Violation(FORGOTTEN, (one.key, *old), said)
    yield from _brought_back(case)


def _after_last_deletion(case: Case, person: str) -> list[Effect]:
    """A person's events and profile changes that no deletion at Klaviyo follows."""
    theirs = [effect for effect in case.effects if effect.person == person]
    deletions = [effect.number for effect in theirs if effect.kind == "delete_profile"]
    last = deletions[-1] if deletions else -1
    return [effect for effect in theirs if effect.kind in _TRACED and effect.number > last]


def _older_keys(case: Case, effect: Effect, at: float) -> tuple[str, ...]:
    """The commands behind an effect whose calls had returned before an instant."""
    return tuple(key for key in effect.keys if key and case.given[key].returned_at < at)


def _brought_back(case: Case) -> Iterator[Violation]:
    """What comes after a deletion that Klaviyo has had, and is older than the first one asked."""
    asked: dict[str, list[Given]] = defaultdict(list)
    for one in case.given.values():
        if one.planned.verb == "delete_profile" and one.fate != "raised":
            asked[one.planned.person].append(one)
    deleted: dict[str, Effect] = {}
    for effect in case.effects:
        if effect.kind == "delete_profile":
            deleted[effect.person] = effect
        elif effect.person in deleted and effect.kind in _TRACED:
            before = deleted[effect.person]
            calls = (one.at for one in asked[effect.person] if one.at <= before.at)
            if old := _older_keys(case, effect, min(calls, default=0.0)):
                said = (
                    f"{effect.person}: line {effect.number} brings back what was forgotten"
                    f" at line {before.number}"
                )
                yield Violation(FORGOTTEN, old, said)


def harmless(case: Case) -> Iterator[Violation]:
    """Only what was poisoned is dead."""
    for letter in case.evidence.dead:
        text = msgspec.json.encode(letter.envelope).decode() if letter.envelope else ""
        if not any(poison in text for poison in (*POISONS, VENOM)):
            failure = letter.failure
            said = (
                f"{letter.verb} {letter.id} is dead without being poisoned:"
                f" {failure.status} {failure.code} {failure.title} {failure.detail}"
            )
            yield Violation(HARMLESS, (_key_of(letter),), said)


# Limits


def limits(case: Case) -> Iterator[Violation]:
    """No 429 that is nobody's fault but ours."""
    spans = [
        (at, _DISTURBED_SECONDS if what.endswith(_DISTURBANCES) else _STOPPED_SECONDS)
        for at, what in case.evidence.notes
        if what.endswith((*_DISTURBANCES, *_STOPS))
    ]
    ours = [
        line
        for line in case.evidence.requests
        if line.status == "429"
        and not line.by_rule
        and not any(0 <= line.received - at <= seconds for at, seconds in spans)
    ]
    if ours:
        counts = Counter(line.endpoint for line in ours)
        yield Violation(LIMITS, (), f"429s of our own making: {dict(counts)}")
    early = list(_early(case))
    if early:
        said = f"{len(early)} requests before Retry-After was over: {early[:3]}"
        yield Violation(LIMITS, (), said)


def _early(case: Case) -> Iterator[str]:
    """Requests that followed a 429 by a rule sooner than the least Retry-After that rules give."""
    blocked: dict[str, float] = {}
    for line in case.evidence.requests:
        until = blocked.get(line.endpoint, 0.0)
        # What was under way at the same time as the one that was throttled could not know.
        if _UNDER_WAY_SECONDS < line.received - (until - 1.0) < 1.0 - 0.1:
            yield f"{line.endpoint} {until - line.received:.2f} s too early"
        if line.status == "429" and line.by_rule:
            blocked[line.endpoint] = line.received + 1.0


def schema(case: Case) -> Iterator[Violation]:
    """No 400 that was not planned."""
    refused = [
        line
        for line in case.evidence.requests
        if line.status in ("400", "413", "415", "404", "405") and not line.by_rule
    ]
    for line in refused:
        if line.status == "404" and line.endpoint.endswith("data-privacy-deletion-jobs"):
            continue
        if line.detail.startswith(_REPEAT) and _repeats_were_refused(case, line):
            continue
        yield Violation(LIMITS, (), f"{line.status} of {line.endpoint}: {line.detail}")


_REPEAT = "Duplicate unique_id."
_REFUSING_SECONDS = 7.0


def _repeats_were_refused(case: Case, line: RequestLine) -> bool:
    """Whether the sandbox was told to refuse events that it has had before."""
    return any(
        what == "begin repeats refused" and -0.5 < line.received - at < _REFUSING_SECONDS
        for at, what in case.evidence.notes
    )


# Reading


def _given(journal: list[dict[str, Any]]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for line in journal:
        if line["kind"] == "doing":
            planned = msgspec.convert(line["planned"], Planned)
            found[planned.key] = Given(planned, line["at"], float("inf"), "unknown", "")
        elif line["kind"] in ("accepted", "raised"):
            found[line["key"]] = msgspec.structs.replace(
                found[line["key"]],
                returned_at=line["at"],
                fate=line["kind"],
                id=line.get("id", ""),
            )
    return found


def _commands_in(planned: Planned) -> int:
    """A track with profile attributes is two commands."""
    return 1 + ("profile" in planned.arguments)


def _key_of(letter: Any) -> str:
    """The key inside a dead letter, or its id."""
    if letter.envelope is None:
        return str(letter.id)
    command = msgspec.json.decode(msgspec.json.encode(letter.envelope.command))
    properties = command.get("properties") or {}
    if "key" in properties:
        return str(properties["key"])
    return next((name for name in properties if name != "step"), str(letter.id))


def _lanes(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for account in report["accounts"].values():
        yield from account["lanes"].items()
