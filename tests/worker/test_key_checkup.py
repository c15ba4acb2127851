"""The checkup of keys: taken or not, which scopes are missing, and in whose account a list is."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.key_checkup import check_keys
from klaviyo_relay_worker.settings import WorkerSettings


@pytest.fixture
def found(sandbox, redis_url):
    """Runs it with keys; gives (level, subject, text) of every finding."""

    def found(*list_ids, keys=None, url=sandbox.url):
        given = {"default": "pk_test"} if keys is None else keys
        settings = WorkerSettings(redis_url=redis_url, api_url=url, api_keys=given)
        return [(one.level, one.subject, one.text) for one in check_keys(settings, list_ids)]

    return found


def test_a_key_that_klaviyo_takes_is_well_and_what_writing_needs_is_said(found):
    [(level, subject, text)] = found()
    assert (level, subject) == ("ok", "key default")
    assert "It lacks" not in text
    assert "data-privacy:write" in text


def test_no_key_at_all_is_a_warning(found):
    [(level, subject, text)] = found(keys={})
    assert (level, subject, "KLAVIYO_API_KEY" in text) == ("warning", "key", True)


def test_every_account_is_looked_at(found):
    subjects = [subject for _, subject, _ in found(keys={"shop": "pk_b", "default": "pk_a"})]
    assert subjects == ["key default", "key shop"]


def test_a_scope_that_only_reads_need_is_no_fault_and_one_that_verbs_need_is(found, sandbox):
    sandbox.set_faults(
        [
            {"endpoint": "GET /api/metrics", "status": 403},
            {"endpoint": "GET /api/lists", "status": 403},
        ]
    )
    (ok, _, taken), (fault, _, lacks) = found()
    assert (ok, "It lacks metrics:read" in taken) == ("ok", True)
    assert fault == "fault"
    assert lacks.startswith("KLAVIYO_API_KEY lacks the scope lists:read")


@pytest.mark.parametrize(
    ("status", "level", "said"),
    [(401, "fault", "does not know the key"), (503, "warning", "503 to")],
)
def test_a_key_that_is_not_taken_now_is_one_finding(found, sandbox, status, level, said):
    sandbox.set_faults([{"status": status}])
    [(of, _, text)] = found()
    assert (of, said in text) == (level, True)


def test_a_klaviyo_that_cannot_be_reached_is_a_fault_of_the_address(found):
    [(level, _, text)] = found(url="http://127.0.0.1:1")
    assert (level, "look at KLAVIYO_API_URL and the network" in text) == ("fault", True)


def test_a_list_is_well_where_one_account_has_it(found, sandbox):
    there = sandbox.create_list("News")
    _, here, nowhere = found(there, "ABC999")
    assert here == ("ok", f"list {there}", "is in the account default")
    assert nowhere[:2] == ("fault", "list ABC999")


def test_a_list_that_klaviyo_does_not_tell_of_now_is_a_warning(found, sandbox):
    there = sandbox.create_list("News")
    sandbox.set_faults([{"endpoint": "GET /api/lists/{id}", "status": 503}])
    _, unclear, _ = found(there)
    assert unclear[:2] == ("warning", f"list {there}")
