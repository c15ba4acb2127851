"""Operations on bulk import jobs."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from klaviyo_relay_worker.sandbox import bodies, checks, filters, pages, resources
from klaviyo_relay_worker.sandbox.decoding import decode_body, each, whole, within
from klaviyo_relay_worker.sandbox.errors import Refusal, invalid, not_found
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.jobs import Job
from klaviyo_relay_worker.sandbox.people import Patch, Who
from klaviyo_relay_worker.sandbox.store import Store

KIND = "profile-bulk-import-job"
ROWS = ("data", "attributes", "profiles", "data")
_ROWS_POINTER = "/" + "/".join(ROWS)

_job = whole(bodies.ImportJob)
_row = msgspec.json.Decoder(bodies.ProfileImport)
_JOB_FILTERS: filters.Allowed = {"status": filters.ANY}


class Row(NamedTuple):
    """A checked row, with the bytes it came as."""

    who: Who
    patch: Patch
    payload: bytes


def bulk_import_profiles(call: Call) -> Answer:
    """POST /api/profile-bulk-import-jobs: 202 with a queued job, or 400 for all rows."""
    data = decode_body(_job, call.body)
    items = data.attributes.profiles.data
    within(len(items), checks.MAX_IMPORT_ROWS, "profiles", _ROWS_POINTER)
    rows = each(items, _row, _checked, _ROWS_POINTER)
    list_ids = _list_ids(data.relationships)
    with call.store.open() as now:
        for list_id in list_ids:
            if call.store.lists.get(list_id) is None:
                raise invalid(f"List ID {list_id} does not exist.", "/data")
        work = partial(_import, call.store, rows, call.settings.failing_rows.encode())
        delay = call.settings.import_delay_seconds
        job = call.store.jobs.create(
            KIND, total=len(rows), work=work, now=now, delay=delay, list_ids=list_ids
        )
        document = {"data": resources.import_job(call, job, now)}
    return answer(202, document, len(rows))


def get_jobs(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs, newest first."""
    conditions = filters.parse(call.parameter("filter"), _JOB_FILTERS)
    with call.store.open() as now:
        jobs = [job for job in call.store.jobs if job.kind == KIND]
        found = filters.keep(jobs, conditions, lambda job, _: job.status(now))
        shown = pages.page(call, found, pages.JOBS, _ORDERS, "-created_at")
        data = [resources.import_job(call, job, now) for job in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_job(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs/{id}."""
    with call.store.open() as now:
        document = {"data": resources.import_job(call, _known(call), now)}
    return answer(200, document)


def get_import_errors(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs/{id}/import-errors."""
    with call.store.open():
        shown = pages.page(call, _known(call).faults, pages.JOBS, _FAULT_ORDERS, "row")
        data = [resources.import_error(call, one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_job_lists(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs/{id}/lists."""
    with call.store.open():
        lists = [call.store.lists.get(list_id) for list_id in _known(call).list_ids]
        data = [resources.mailing_list(call, one) for one in lists if one]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def get_job_list_ids(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs/{id}/relationships/lists."""
    with call.store.open():
        data = [resources.reference("list", list_id) for list_id in _known(call).list_ids]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def get_job_profile_ids(call: Call) -> Answer:
    """GET /api/profile-bulk-import-jobs/{id}/relationships/profiles."""
    with call.store.open():
        ids = _known(call).profile_ids
        shown = pages.page(call, ids, pages.JOBS, {"id": lambda one: (one, "")}, "id")
    data = [resources.reference("profile", one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def _checked(row: bodies.ProfileImport, raw: msgspec.Raw) -> Row:
    payload = bytes(raw)
    who, patch = checks.import_row(row, len(payload), lenient_phone=True)
    return Row(who, patch, payload)


def _import(store: Store, rows: list[Row], failing: bytes, job: Job) -> None:
    """Do the work of a job; a row that cannot be applied becomes an import error."""
    now = job.due
    for index, row in enumerate(rows):
        if failing and failing in row.payload:
            detail = "The row fails by a setting."
            store.jobs.fail(job, index, row.payload, now, code="invalid", detail=detail)
            continue
        try:
            profile, _ = store.upsert(row.who, row.patch, now, clear_nulls=False)
        except Refusal as refusal:
            detail = refusal.faults[0].detail
            code = "not_found" if refusal.status == HTTPStatus.NOT_FOUND else "duplicate_profile"
            store.jobs.fail(job, index, row.payload, now, code=code, detail=detail)
            continue
        job.profile_ids.append(profile.id)
        for list_id in job.list_ids:
            if one := store.lists.get(list_id):
                one.add(profile.id, now)


def _list_ids(relationships: bodies.ImportLists | None) -> tuple[str, ...]:
    if relationships is None or relationships.lists is None:
        return ()
    return tuple(dict.fromkeys(one.id for one in relationships.lists.data))


def _known(call: Call) -> Job:
    job = call.store.jobs.get(KIND, call.ids[0])
    if job is None:
        raise not_found("profile bulk import job", call.ids[0])
    return job


_ORDERS: dict[str, pages.Reader] = {"created_at": lambda one: (one.created, one.id)}
_FAULT_ORDERS: dict[str, pages.Reader] = {"row": lambda one: (one.index, one.id)}
