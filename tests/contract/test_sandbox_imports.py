"""Import jobs in the sandbox: worked off later, row by row."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox

IMPORTS = "/api/profile-bulk-import-jobs"
ROWS = "/data/attributes/profiles/data"


def test_an_import_job_is_worked_off_later(
    api: Any, make: Any, sandbox: Sandbox, clock: Any
) -> None:
    """Queued, processing, complete; before that nobody is imported, then all are on the list."""
    list_id = sandbox.create_list("News")
    rows = [make.profile(email=f"a{n}@shop.io") for n in range(3)]
    answer = api.post(IMPORTS, make.import_job(*rows, lists=(list_id,)))
    job = answer.json()["data"]
    path = f"{IMPORTS}/{job['id']}"
    seen = [job["attributes"]["status"]]
    for _ in range(2):
        clock.turn(0.3)
        seen.append(api.get(path)["data"]["attributes"]["status"])
    done = api.get(path)["data"]["attributes"]
    assert seen == ["queued", "processing", "complete"]
    assert (done["total_count"], done["completed_count"], done["failed_count"]) == (3, 3, 0)
    assert sandbox.summary()["lists"][list_id] == {"name": "News", "members": 3}
    assert (
        api.profile_of("a0@shop.io")["attributes"]["subscriptions"]["email"]["marketing"]["consent"]
        == "NEVER_SUBSCRIBED"
    )


def test_nothing_is_imported_before_the_job_is_due(api: Any, make: Any, sandbox: Sandbox) -> None:
    """202 promises nothing yet."""
    api.post(IMPORTS, make.import_job(make.profile(email="ada@shop.io")))
    assert sandbox.summary()["profiles"] == 0


def test_rows_that_fail_become_import_errors(api: Any, make: Any, clock: Any) -> None:
    """A conflict is only found when the job runs; the other rows go in."""
    api.post("/api/profile-import", {"data": make.profile(email="ada@shop.io")})
    api.post("/api/profile-import", {"data": make.profile(phone_number="+4915112345678")})
    both = make.profile(email="ada@shop.io", phone_number="+4915112345678")
    body = make.import_job(make.profile(email="bob@shop.io"), both)
    path = f"{IMPORTS}/{api.post(IMPORTS, body).json()['data']['id']}"
    clock.turn(1)
    done = api.get(path)["data"]["attributes"]
    assert (done["completed_count"], done["failed_count"]) == (1, 1)
    [error] = api.get(f"{path}/import-errors")["data"]
    assert error["attributes"]["code"] == "duplicate_profile"
    assert error["attributes"]["source"] == {"pointer": f"{ROWS}/1"}
    assert error["attributes"]["original_payload"] == both


def test_one_bad_row_fails_the_whole_import(api: Any, make: Any, sandbox: Sandbox) -> None:
    """400 at once with every bad row, and there is no job."""
    rows = [make.profile(email="ok@shop.io"), make.profile(email="bad"), make.profile(title="x")]
    assert api.pointers(IMPORTS, make.import_job(*rows)) == [
        f"{ROWS}/1/attributes/email",
        f"{ROWS}/2/attributes",
    ]
    assert api.get(IMPORTS)["data"] == []


def test_an_import_to_an_unknown_list_is_refused(api: Any, make: Any) -> None:
    """The pointer is as vague as Klaviyo's."""
    body = make.import_job(make.profile(email="ada@shop.io"), lists=("NoList",))
    assert api.pointers(IMPORTS, body) == ["/data"]
