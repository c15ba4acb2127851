"""The oracle by stories: small runs made up by hand, which keep the rules or break one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import pytest
from episode import Evidence
from history import Effect, History, RequestLine
from workload import POISONED, Planned

from klaviyo_relay import Track
from klaviyo_relay.envelope import Envelope, encode, receive
from klaviyo_relay_worker.dead_letters import DeadLetter
from klaviyo_relay_worker.outcome import Failure

ADA = "ada@shop.io"
LIST = "Y6nRLr"
BEGAN = 1_800_000_000.0
LANES = {
    "track": "events",
    "identify": "profiles",
    "add_to_list": "lists",
    "remove_from_list": "lists",
    "create_list": "lists",
    "subscribe": "consent",
    "unsubscribe": "consent",
    "delete_profile": "privacy",
}


class Story:
    """A run: its lines tell, one second apart, what producers noted and what Klaviyo did."""

    def __init__(self) -> None:
        self._at = BEGAN
        self._journal: list[dict[str, Any]] = []
        self._effects: list[Effect] = []
        self.accepted: Counter[str] = Counter()
        self.profiles: dict[str, dict[str, Any]] = {}
        self.lost = self.dropped = self.global_unsubscribes = 0
        self.dead: list[DeadLetter] = []
        self.requests: list[RequestLine] = []
        self.pending: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self.notes: list[tuple[float, str]] = []

    def _next(self) -> float:
        self._at += 1.0
        return self._at

    def call(
        self,
        key: str,
        verb: str,
        person: str = ADA,
        *,
        step: int = 0,
        fate: str = "accepted",
        **arguments: Any,
    ) -> None:
        """A producer's call, from its beginning to its end."""
        lane = LANES[verb]
        planned = Planned(
            key=key, verb=verb, lane=lane, person=person, arguments=arguments, step=step
        )
        told = {name: getattr(planned, name) for name in Planned.__struct_fields__}
        self._journal.append({"kind": "doing", "at": self._next(), "planned": told})
        self._journal.append({"kind": fate, "at": self._next(), "key": key, "id": f"id-{key}"})
        if fate == "accepted":
            self.accepted[lane] += 1

    def effect(self, kind: str, *keys: str, person: str = ADA, **more: Any) -> None:
        """Something happens at Klaviyo."""
        number = len(self._effects)
        self._effects.append(
            Effect(number=number, at=self._next(), kind=kind, person=person, keys=keys, **more)
        )

    def profile(self, *, step: int = 0, email: str = "NEVER_SUBSCRIBED", **more: Any) -> None:
        """How Ada stands at the end."""
        marketing = {"consent": email, "list_suppressions": []}
        self.profiles[ADA] = {
            "properties": {"step": step},
            "lists": [],
            "subscriptions": {
                "email": {"marketing": marketing},
                "sms": {"marketing": {"consent": "NEVER_SUBSCRIBED"}},
            },
            **more,
        }

    def die(self, key: str, note: str) -> None:
        """A command ends as a dead letter."""
        command = Track(metric="M", email=ADA, properties={"key": key, "note": note})
        envelope = Envelope(id=f"id-{key}", account="default", at=0, command=command)
        self.dead.append(
            DeadLetter(
                id=f"id-{key}",
                lane="default:events",
                verb="track",
                failure=Failure(status=400),
                dead_at=self._next(),
                envelope=receive(encode(envelope)),
            )
        )

    def request(
        self, status: str, *, after: float = 1.0, by_rule: bool = False, detail: str = ""
    ) -> None:
        """A request that Klaviyo answered, so many seconds after what was told before."""
        self._at += after
        endpoint = "POST /api/events"
        line = RequestLine(self._at, self._at, "POST", endpoint, status, 1, 10, by_rule, detail)
        self.requests.append(line)

    def note(self, what: str) -> None:
        """The nemesis does something."""
        self.notes.append((self._next(), what))

    def evidence(self) -> Evidence:
        """What the oracle is given of it."""
        lanes = {
            name: {"accepted": self.accepted[name], "dropped": self.dropped}
            for name in set(LANES.values())
        }
        return Evidence(
            journal=self._journal,
            history=History(
                self._effects,
                self.profiles,
                [{"id": LIST, "name": "Readers"}],
                self.global_unsubscribes,
            ),
            requests=self.requests,
            report={"lost": self.lost, "accounts": {"default": {"lanes": lanes}}},
            dead=self.dead,
            discarded=[],
            pending=self.pending,
            pending_before_time_passed=self.before,
            notes=self.notes,
            exits=[],
            log=Path(),
        )


def an_event(story: Story) -> None:
    story.call("w1-1", "track")
    story.effect("event", "w1-1")


def steps(story: Story, *numbers: int, writers: tuple[str, str] = ("w1", "w1")) -> None:
    """Two calls of identify, and their effects in this order."""
    for number, writer in zip((1, 2), writers, strict=True):
        story.call(f"{writer}-{number}", "identify", step=number)
    for number in numbers:
        story.effect("profile", f"{writers[number - 1]}-{number}", step=number)


def words(story: Story, *verbs: str) -> None:
    """Ada says yes or no to everything, and Klaviyo hears it at once."""
    for number, verb in enumerate(verbs, 1):
        story.call(f"w1-{number}", verb)
        keys = (f"w1-{number}",) if verb == "subscribe" else ()
        story.effect(verb, *keys, channels=("email",))


# Stories that keep every rule.


def an_event_arrives(story: Story) -> None:
    an_event(story)


def a_repeat_is_discarded(story: Story) -> None:
    an_event(story)
    story.effect("event", "w1-1", is_new=False)


def a_poisoned_event_is_dead(story: Story) -> None:
    story.call("w1-1", "track")
    story.die("w1-1", POISONED)


def a_call_that_raised_has_no_effect(story: Story) -> None:
    story.call("w1-1", "track", fate="raised")


def an_unsubscribe_waits_for_an_hour(story: Story) -> None:
    story.before = {"consent": 1}


def steps_rise_and_the_last_one_stays(story: Story) -> None:
    steps(story, 1, 2)
    story.profile(step=2)


def two_writers_overtake_each_other(story: Story) -> None:
    steps(story, 2, 1, writers=("w2", "w1"))
    story.profile(step=2)


def a_subscribe_is_dropped_by_a_rule(story: Story) -> None:
    story.call("w1-1", "subscribe")
    story.dropped = 1


def a_last_no_holds(story: Story) -> None:
    words(story, "subscribe", "unsubscribe")
    story.profile(email="UNSUBSCRIBED")


def a_last_yes_holds(story: Story) -> None:
    words(story, "unsubscribe", "subscribe")
    story.profile(email="SUBSCRIBED")


def who_was_added_is_on_the_list(story: Story) -> None:
    story.call("w1-1", "remove_from_list", list_id=LIST)
    story.call("w1-2", "add_to_list", list_id=LIST)
    story.profile(lists=[LIST])


def a_person_is_forgotten(story: Story) -> None:
    an_event(story)
    story.call("w1-2", "delete_profile")
    story.effect("delete_profile")


def an_event_of_a_forgotten_person_is_dropped(story: Story) -> None:
    story.call("w1-1", "track")
    story.call("w1-2", "delete_profile")
    story.effect("delete_profile")


def a_forgotten_persons_newer_event_arrives(story: Story) -> None:
    a_person_is_forgotten(story)
    story.call("w1-3", "track")
    story.effect("event", "w1-3")


def a_throttling_rule_is_obeyed(story: Story) -> None:
    story.request("429", by_rule=True)
    story.request("202", after=1.5)


def another_integration_uses_up_the_limit(story: Story) -> None:
    story.note("begin other integration")
    story.request("429", after=30.0)


def a_repeat_is_refused_as_the_sandbox_was_told(story: Story) -> None:
    story.note("begin repeats refused")
    story.request("400", detail="Duplicate unique_id.")


KEPT: list[Callable[[Story], None]] = [
    an_event_arrives,
    a_repeat_is_discarded,
    a_poisoned_event_is_dead,
    a_call_that_raised_has_no_effect,
    an_unsubscribe_waits_for_an_hour,
    steps_rise_and_the_last_one_stays,
    two_writers_overtake_each_other,
    a_subscribe_is_dropped_by_a_rule,
    a_last_no_holds,
    a_last_yes_holds,
    who_was_added_is_on_the_list,
    a_person_is_forgotten,
    an_event_of_a_forgotten_person_is_dropped,
    a_forgotten_persons_newer_event_arrives,
    a_throttling_rule_is_obeyed,
    another_integration_uses_up_the_limit,
    a_repeat_is_refused_as_the_sandbox_was_told,
]


# Stories that break one.


def an_event_is_nowhere(story: Story) -> None:
    story.call("w1-1", "track")


def status_says_that_one_is_lost(story: Story) -> None:
    an_event(story)
    story.lost = 1


def lanes_took_more_than_was_given(story: Story) -> None:
    an_event(story)
    story.accepted["events"] += 1


def a_subscribe_has_no_effect(story: Story) -> None:
    story.call("w1-1", "subscribe")


def a_call_that_raised_is_delivered(story: Story) -> None:
    story.call("w1-1", "track", fate="raised")
    story.effect("event", "w1-1")


def an_event_is_recorded_twice(story: Story) -> None:
    an_event(story)
    story.effect("event", "w1-1")


def a_list_is_made_twice(story: Story) -> None:
    story.call("w1-1", "create_list", person="", list_name="News")
    for _ in range(2):
        story.effect("create_list", person="", name="News")


def steps_fall(story: Story) -> None:
    steps(story, 2, 1)
    story.profile(step=2)


def the_last_step_did_not_stay(story: Story) -> None:
    steps(story, 1, 2)
    story.profile(step=1)


def who_was_added_last_is_not_on_the_list(story: Story) -> None:
    story.call("w1-1", "add_to_list", list_id=LIST)
    story.profile()


def who_said_no_is_subscribed(story: Story) -> None:
    words(story, "subscribe", "unsubscribe")
    story.profile(email="SUBSCRIBED")


def an_older_yes_is_sent_after_a_no(story: Story) -> None:
    story.call("w1-1", "subscribe")
    story.call("w1-2", "unsubscribe")
    story.effect("unsubscribe", channels=("email",))
    story.effect("subscribe", "w1-1", channels=("email",))


def an_unsubscribe_from_a_list_became_global(story: Story) -> None:
    story.global_unsubscribes = 1


def a_forgotten_person_comes_back(story: Story) -> None:
    a_person_is_forgotten(story)
    story.effect("event", "w1-1")


def a_forgotten_event_comes_between_two_deletions(story: Story) -> None:
    a_forgotten_person_comes_back(story)
    story.effect("delete_profile")


def a_harmless_event_is_dead(story: Story) -> None:
    story.call("w1-1", "track")
    story.die("w1-1", "nothing wrong")


def we_are_throttled_by_ourselves(story: Story) -> None:
    story.request("429")


def retry_after_is_not_obeyed(story: Story) -> None:
    story.request("429", by_rule=True)
    story.request("202", after=0.6)


def a_request_is_refused_that_nobody_poisoned(story: Story) -> None:
    story.request("400")


def work_is_left(story: Story) -> None:
    story.pending = {"events": 3}


def work_took_an_hour(story: Story) -> None:
    story.before = {"events": 3}


BROKEN: list[tuple[Callable[[Story], None], str]] = [
    (an_event_is_nowhere, oracle.CONSERVATION),
    (status_says_that_one_is_lost, oracle.CONSERVATION),
    (lanes_took_more_than_was_given, oracle.CONSERVATION),
    (a_subscribe_has_no_effect, oracle.CONSERVATION),
    (a_call_that_raised_is_delivered, oracle.CONSERVATION),
    (an_event_is_recorded_twice, oracle.ONCE),
    (a_list_is_made_twice, oracle.ONCE),
    (steps_fall, oracle.ORDER),
    (the_last_step_did_not_stay, oracle.ORDER),
    (who_was_added_last_is_not_on_the_list, oracle.ORDER),
    (who_said_no_is_subscribed, oracle.CONSENT),
    (an_older_yes_is_sent_after_a_no, oracle.CONSENT),
    (an_unsubscribe_from_a_list_became_global, oracle.CONSENT),
    (a_forgotten_person_comes_back, oracle.FORGOTTEN),
    (a_forgotten_event_comes_between_two_deletions, oracle.FORGOTTEN),
    (a_harmless_event_is_dead, oracle.HARMLESS),
    (we_are_throttled_by_ourselves, oracle.LIMITS),
    (retry_after_is_not_obeyed, oracle.LIMITS),
    (a_request_is_refused_that_nobody_poisoned, oracle.LIMITS),
    (work_is_left, oracle.REST),
    (work_took_an_hour, oracle.REST),
]


def sentence(told: object) -> str | None:
    return told.__name__.replace("_", " ") if callable(told) else None


@pytest.mark.parametrize("tell", KEPT, ids=sentence)
def test_a_story_that_keeps_the_rules_is_no_violation(tell: Callable[[Story], None]) -> None:
    story = Story()
    tell(story)

    assert oracle.judge(story.evidence()) == []


@pytest.mark.parametrize(("tell", "rule"), BROKEN, ids=sentence)
def test_a_story_that_breaks_a_rule_is_a_violation_of_it_alone(
    tell: Callable[[Story], None], rule: str
) -> None:
    story = Story()
    tell(story)

    assert {violation.rule for violation in oracle.judge(story.evidence())} == {rule}
