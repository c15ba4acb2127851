"""Who gets no email, why, and since when."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_exclusions_come_with_reason_and_time(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    account.consent("create", ADA, list_id)
    account.consent("delete", ADA, list_id)
    account.person(BOB)
    account.consent("delete", BOB)
    [excluded] = reader.lists.exclusions(list_id)
    assert (excluded.email, excluded.reason, excluded.list_id) == (ADA, "UNSUBSCRIBE", list_id)
    assert excluded.timestamp.tzinfo is not None
    [suppressed] = reader.profiles.suppressed()
    assert (suppressed.email, suppressed.reason, suppressed.list_id) == (BOB, "UNSUBSCRIBE", None)
    assert list(reader.profiles.suppressed(reason="HARD_BOUNCE")) == []
    assert list(reader.lists.exclusions(list_id, since="2100-01-01")) == []


def test_the_exclusions_of_an_unknown_list_are_an_error_and_not_an_empty_list(reader):
    with pytest.raises(NotFoundError, match=r"^list_id: "):
        list(reader.lists.exclusions("ABCDEF"))


def test_complaints_and_bounces_are_told_apart(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    for email in (ADA, BOB, CLO):
        account.person(email)
    sandbox.suppress(ADA, "HARD_BOUNCE")
    sandbox.suppress(BOB, "SPAM_COMPLAINT", list_id)
    sandbox.suppress(CLO, "UNSUBSCRIBE", list_id)
    sandbox.suppress(CLO, "SPAM_COMPLAINT", sandbox.create_list("Other"))

    def reasons(found):
        return {(one.email, one.reason) for one in found}

    assert reasons(reader.profiles.suppressed()) == {(ADA, "HARD_BOUNCE")}
    assert reasons(reader.lists.exclusions(list_id)) == {
        (BOB, "SPAM_COMPLAINT"),
        (CLO, "UNSUBSCRIBE"),
    }
    complaints = reader.lists.exclusions(list_id, reason="SPAM_COMPLAINT")
    assert reasons(complaints) == {(BOB, "SPAM_COMPLAINT")}


def test_exclusions_come_over_many_pages(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    emails = {f"p{at}@shop.io" for at in range(230)}
    for email in emails:
        account.person(email)
        sandbox.suppress(email, "UNSUBSCRIBE", list_id)
    assert {one.email for one in reader.lists.exclusions(list_id)} == emails


@pytest.mark.parametrize("reason", ["unsubscribe", "BOUNCED", "", 5])
def test_a_reason_that_klaviyo_does_not_know_is_refused_instead_of_finding_nobody(
    reader, sandbox, reason
):
    list_id = sandbox.create_list("News")
    for read in (
        lambda: reader.profiles.suppressed(reason=reason),
        lambda: reader.lists.exclusions(list_id, reason=reason),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^reason: .*UNSUBSCRIBE.*HARD_BOUNCE"):
            read()
