"""Lists: members in bulk, lists by id or name, and commands about a list alone at their place."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from klaviyo_relay import AddToList, CreateList, DeleteList, RemoveFromList, RenameList
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Following, Parked
from klaviyo_relay_worker.plan import lists
from klaviyo_relay_worker.plan.batch import Situation


def planned(talk, entries, **situation):
    return lists.choose(entries, Situation(**{"now": talk.now, **situation}))


def add(name, list_id="AAAAAA"):
    return AddToList(list_id=list_id, email=f"{name}@x.io")


def named(name, list_name="News"):
    return AddToList(list_name=list_name, email=f"{name}@x.io")


def found(*ids):
    return {"data": [{"type": "list", "id": identity} for identity in ids]}


JOB = {"data": {"type": "profile-bulk-import-job", "id": "JOB"}}


class Lists:
    """A Klaviyo that knows some lists by name."""

    def __init__(self, talk, **ids):
        self.talk, self.ids = talk, ids

    def __call__(self, request):
        if request.endpoint == limits.GET_LISTS:
            name = unquote(request.path).partition('equals(name,["')[2].removesuffix('"])')
            return self.talk.answer(200, found(*self.ids.get(name, ())))
        if request.endpoint == limits.CREATE_LIST:
            return self.talk.answer(201, {"data": {"type": "list", "id": "NEW123"}})
        if request.endpoint == limits.BULK_IMPORT_PROFILES:
            return self.talk.answer(202, JOB)
        if request.endpoint in (limits.GET_LIST_PROFILE_IDS, limits.GET_PROFILES):
            return self.talk.answer(200, found("P1", "P2"))
        return self.talk.answer(204)


def test_additions_to_one_list_are_one_import_job(talk):
    entries = talk.entries(*(add(f"p{n}") for n in range(300)))
    [batch] = planned(talk, entries)
    ledger, [request] = talk.converse(batch, Lists(talk))
    data = talk.body(request)["data"]
    assert len(data["attributes"]["profiles"]["data"]) == 300
    assert data["relationships"]["lists"]["data"] == [{"type": "list", "id": "AAAAAA"}]
    assert list(ledger.outcomes.values()) == [Following("JOB", row) for row in range(300)]


@pytest.mark.parametrize(
    "other",
    [add("b", "BBBBBB"), RemoveFromList(list_id="AAAAAA", email="b@x.io"), named("b")],
    ids=["another list", "a removal", "the name instead"],
)
def test_only_what_has_the_same_target_goes_together(talk, other):
    entries = talk.entries(add("a"), other, add("c"))
    [batch] = planned(talk, entries)
    assert list(batch.entries) == [entries[0], entries[2]]


def test_only_the_last_word_on_a_membership_is_sent(talk):
    remove = RemoveFromList(list_id="AAAAAA", email="a@x.io")
    entries = talk.entries(add("a"), remove, add("b"), add("a", "BBBBBB"), add("a"))
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, Lists(talk))
    assert requests == []
    assert ledger.outcomes == dict.fromkeys([e.key for e in entries[:2]], Dropped("superseded"))


def test_words_on_a_membership_keep_their_order_where_they_may_mean_two_people(talk):
    both = RemoveFromList(list_id="AAAAAA", email="a@x.io", external_id="e")
    entries = talk.entries(add("a"), both, AddToList(list_id="AAAAAA", external_id="e"))
    [batch] = planned(talk, entries)
    assert list(batch.entries) == entries[:1]


def test_a_word_on_a_membership_before_one_about_the_list_is_not_superseded_by_one_after(talk):
    entries = talk.entries(add("a"), CreateList(list_name="N"), add("a"))
    [batch] = planned(talk, entries)
    assert list(batch.entries) == entries[:1]
    assert batch.endpoint == limits.BULK_IMPORT_PROFILES


ABOUT = [
    CreateList(list_name="News"),
    RenameList(list_id="AAAAAA", new_name="N"),
    DeleteList(list_name="N"),
]


@pytest.mark.parametrize("about", ABOUT, ids=["create", "rename", "delete"])
def test_nothing_passes_a_command_about_a_list(talk, about):
    entries = talk.entries(add("a"), about, add("b"))
    assert list(planned(talk, entries)[0].entries) == entries[:1]
    assert list(planned(talk, entries[1:])[0].entries) == [entries[1]]
    assert planned(talk, entries[1:], is_idle=False) == []


def test_a_name_is_looked_up_once_and_remembered(talk):
    [batch] = planned(talk, talk.entries(named("a")))
    ledger, requests = talk.converse(batch, Lists(talk, News=["AAAAAA"]))
    assert batch.endpoint == limits.GET_LISTS
    assert [one.endpoint for one in requests] == [limits.GET_LISTS, limits.BULK_IMPORT_PROFILES]
    assert ledger.lists == {"News": "AAAAAA"}


def test_a_known_name_is_not_looked_up(talk):
    [batch] = planned(talk, talk.entries(named("a")), lists={"News": "AAAAAA"})
    _, requests = talk.converse(batch, Lists(talk))
    assert batch.endpoint == limits.BULK_IMPORT_PROFILES
    assert len(requests) == 1


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "a&b=c?#", "naïve ☃", "x,y]"], ids=str)
def test_a_name_is_quoted_for_the_filter(name):
    query = parse_qs(urlsplit(lists.lists_named(name).path).query, strict_parsing=True)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    assert query == {"filter": [f'equals(name,["{escaped}"])']}


def test_an_ambiguous_name_is_refused(talk):
    [batch] = planned(talk, talk.entries(named("a")))
    ledger, _ = talk.converse(batch, Lists(talk, News=["AAAAAA", "BBBBBB"]))
    [outcome] = ledger.outcomes.values()
    assert isinstance(outcome, Dead)
    assert outcome.failure.code == "ambiguous_list"


def test_an_unknown_name_waits_ten_minutes_and_is_refused_then(talk):
    young = talk.entry(named("a"), at=talk.now - 599)
    old = talk.entry(named("b"), at=talk.now - 600)
    [batch] = planned(talk, [young, old])
    ledger, _ = talk.converse(batch, Lists(talk))
    assert isinstance(ledger.outcomes[young.key], Parked)
    assert talk.now < ledger.outcomes[young.key].until <= talk.now + 10
    assert ledger.outcomes[old.key].failure.code == lists.UNKNOWN_LIST


def test_a_removal_looks_the_members_up_and_removes_them_by_id(talk):
    entries = talk.entries(
        RemoveFromList(list_id="AAAAAA", email="a@x.io"),
        RemoveFromList(list_id="AAAAAA", email="b@x.io", external_id="e"),
    )
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, Lists(talk))
    assert [one.endpoint for one in requests] == [
        limits.GET_LIST_PROFILE_IDS, limits.GET_PROFILES, limits.REMOVE_LIST_PROFILES
    ]  # fmt: skip
    assert 'any(email,["a@x.io","b@x.io"])' in unquote(requests[0].path)
    assert talk.body(requests[2])["data"] == [{"type": "profile", "id": i} for i in ("P1", "P2")]
    assert set(ledger.outcomes.values()) == {Delivered()}


def test_the_removal_of_no_member_needs_no_removal(talk):
    [batch] = planned(talk, talk.entries(RemoveFromList(list_id="AAAAAA", email="a@x.io")))
    ledger, requests = talk.converse(batch, lambda _: talk.answer(200, {"data": []}))
    assert len(requests) == 1
    assert list(ledger.outcomes.values()) == [Delivered()]


def test_a_removal_asks_for_a_hundred_at_most(talk):
    entries = talk.entries(
        *(RemoveFromList(list_id="AAAAAA", email=f"p{n}@x.io") for n in range(150))
    )
    assert len(planned(talk, entries)[0].entries) == 100


def test_a_list_is_created_unless_one_of_its_name_exists(talk):
    [batch] = planned(talk, talk.entries(CreateList(list_name="News")))
    ledger, requests = talk.converse(batch, Lists(talk))
    assert [one.endpoint for one in requests] == [limits.GET_LISTS, limits.CREATE_LIST]
    assert ledger.lists == {"News": "NEW123"}
    ledger, requests = talk.converse(batch, Lists(talk, News=["AAAAAA"]))
    assert [one.endpoint for one in requests] == [limits.GET_LISTS]
    assert ledger.lists == {"News": "AAAAAA"}
    assert list(ledger.outcomes.values()) == [Delivered()]


def test_a_renamed_list_is_known_by_its_new_name_only(talk):
    [batch] = planned(talk, talk.entries(RenameList(list_name="News", new_name="Weekly")))
    ledger, requests = talk.converse(batch, Lists(talk, News=["AAAAAA"]))
    assert requests[1].path == "/api/lists/AAAAAA"
    assert ledger.lists == {"News": None, "Weekly": "AAAAAA"}


def test_a_deleted_list_is_delivered_and_forgotten(talk):
    [batch] = planned(talk, talk.entries(DeleteList(list_name="News")), lists={"News": "AAAAAA"})
    ledger, _ = talk.converse(batch, lambda _: talk.answer(204))
    assert list(ledger.outcomes.values()) == [Delivered()]
    assert ledger.lists == {"News": None}


def test_the_deletion_of_a_list_that_is_gone_already_has_nothing_to_do(talk):
    [batch] = planned(talk, talk.entries(DeleteList(list_id="AAAAAA")))
    ledger, _ = talk.converse(batch, lambda _: talk.refusal("/data", status=404))
    assert list(ledger.outcomes.values()) == [Delivered()]


GONE = {"status": 400, "detail": "List ID AAAAAA does not exist."}, {"status": 404}


@pytest.mark.parametrize(
    ("command", "gone"),
    [
        (named("a"), GONE[0]),
        (RemoveFromList(list_name="News", email="a@x.io"), GONE[1]),
        (RenameList(list_name="News", new_name="Weekly"), GONE[1]),
        (DeleteList(list_name="News"), GONE[1]),
    ],
    ids=["add", "remove", "rename", "delete"],
)
def test_a_remembered_name_whose_list_is_gone_is_looked_up_anew_once(talk, command, gone):
    entries = talk.entries(command)
    [batch] = planned(talk, entries, lists={"News": "AAAAAA"})
    ledger, requests = talk.converse(batch, lambda _: talk.refusal("/data", **gone))
    assert (ledger.outcomes, ledger.lists) == ({}, {"News": None})
    assert len(requests) == 1
    [batch] = planned(talk, entries)
    ledger, _ = talk.converse(
        batch,
        lambda request: (
            talk.answer(200, found("AAAAAA"))
            if request.endpoint == limits.GET_LISTS
            else talk.refusal("/data", **gone)
        ),
    )
    [outcome] = ledger.outcomes.values()
    assert outcome == Delivered() if command.__class__ is DeleteList else isinstance(outcome, Dead)


def test_another_refusal_forgets_no_name(talk):
    [batch] = planned(talk, talk.entries(named("a")), lists={"News": "AAAAAA"})
    ledger, _ = talk.converse(batch, lambda _: talk.refusal("/data", status=400))
    assert [type(outcome) for outcome in ledger.outcomes.values()] == [Dead]
    assert ledger.lists == {}


def test_the_deletion_of_a_name_that_klaviyo_does_not_know_has_nothing_to_do(talk):
    [batch] = planned(talk, talk.entries(DeleteList(list_name="News")))
    ledger, requests = talk.converse(batch, Lists(talk))
    assert list(ledger.outcomes.values()) == [Delivered()]
    assert [one.endpoint for one in requests] == [limits.GET_LISTS]


@pytest.mark.parametrize(
    "about",
    [DeleteList(list_name="News"), RenameList(list_name="News", new_name="N")],
    ids=["delete", "rename"],
)
def test_a_deletion_or_renaming_by_a_name_of_two_lists_is_refused(talk, about):
    [batch] = planned(talk, talk.entries(about))
    ledger, _ = talk.converse(batch, Lists(talk, News=["AAAAAA", "BBBBBB"]))
    assert [found.failure.code for found in ledger.outcomes.values()] == ["ambiguous_list"]


def test_the_renaming_of_an_unknown_name_is_refused_at_once_so_that_nothing_overtakes_it(talk):
    [batch] = planned(talk, talk.entries(RenameList(list_name="News", new_name="Weekly")))
    ledger, _ = talk.converse(batch, Lists(talk))
    assert [found.failure.code for found in ledger.outcomes.values()] == [lists.UNKNOWN_LIST]


HELD = lists.fence_of(RenameList(list_name="News", new_name="Weekly"))


@pytest.mark.parametrize(
    "command",
    [named("a"), named("a", "Weekly"), DeleteList(list_name="News"), CreateList(list_name="News")],
    ids=["addition", "addition by the new name", "deletion", "creation"],
)
def test_what_concerns_a_list_waits_for_a_command_about_it_and_other_lists_do_not(talk, command):
    entries = talk.entries(command, add("b"))
    [batch] = planned(talk, entries, held=HELD)
    assert list(batch.entries) == entries[1:]
    assert planned(talk, entries[:1], held=HELD) == []


def test_nothing_overtakes_what_waits_for_a_command_about_its_list(talk):
    delete = DeleteList(list_name="News")
    entries = talk.entries(named("a"), add("a"), delete, named("b"), add("c"))
    [batch] = planned(talk, entries, held=HELD)
    assert list(batch.entries) == entries[4:], "a's other membership, b's on the list to be deleted"


def test_a_command_about_a_list_holds_nobody_but_that_list():
    assert lists.fence_of(DeleteList(list_id="AAAAAA")) == {"list_id:AAAAAA"}
    assert lists.fence_of(add("a")) == {"email:a@x.io"}


def test_a_list_that_is_gone_costs_few_requests(talk):
    # Klaviyo's words for it, as recorded: pointer "/data", the id in the detail.
    entries = talk.entries(*(add(f"p{n}") for n in range(256)))
    [batch] = planned(talk, entries)
    detail = "List ID AAAAAA does not exist."
    ledger, requests = talk.converse(batch, lambda _: talk.refusal("/data", detail=detail))
    assert len(ledger.outcomes) == 256
    assert len(requests) <= 20


class Choosy(Lists):
    """A Klaviyo that refuses to look for some values."""

    def __init__(self, talk, *bad):
        super().__init__(talk)
        self.bad = bad

    def __call__(self, request):
        if any(value in unquote(request.path) for value in self.bad):
            return self.talk.refusal("filter", detail="is no address")
        return super().__call__(request)


@pytest.mark.parametrize("places", [(7,), (0, 99)], ids=["one", "both ends"])
def test_a_value_that_klaviyo_does_not_look_for_harms_no_other_removal(talk, places):
    entries = talk.entries(
        *(RemoveFromList(list_id="AAAAAA", email=f"p{n:02}@x.io") for n in range(100))
    )
    bad = [entries[place] for place in places]
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, Choosy(talk, *(one.command.email for one in bad)))
    dead = [key for key, outcome in ledger.outcomes.items() if isinstance(outcome, Dead)]
    assert dead == [one.key for one in bad]
    assert ledger.outcomes[dead[0]].failure.detail == "is no address"
    assert [outcome for outcome in ledger.outcomes.values() if outcome == Delivered()] == [
        Delivered()
    ] * (100 - len(bad))
    assert len(requests) <= 2 + 2 * 7 * len(bad) + 1


def test_nobody_is_removed_by_one_identifier_if_another_is_refused(talk):
    refused = RemoveFromList(list_id="AAAAAA", email="a@x.io", external_id="bad")
    entries = talk.entries(refused, RemoveFromList(list_id="AAAAAA", email="b@x.io"))
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, Choosy(talk, "bad"))
    assert [type(outcome) for outcome in ledger.outcomes.values()] == [Dead, Delivered]
    assert "a@x.io" not in unquote(requests[-2].path), "the last look-up before the removal"


def test_a_removal_from_a_list_that_is_gone_asks_once(talk):
    entries = talk.entries(
        *(RemoveFromList(list_id="AAAAAA", email=f"p{n}@x.io") for n in range(50))
    )
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, lambda _: talk.refusal("/data", status=404))
    assert len(requests) == 1
    assert {type(outcome) for outcome in ledger.outcomes.values()} == {Dead}
