"""Operations on metrics: what kinds of events there are."""

from __future__ import annotations

from klaviyo_relay_worker.sandbox import filters, pages, resources
from klaviyo_relay_worker.sandbox.errors import not_found
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.ledger import Metric

_METRIC_FILTERS: filters.Allowed = {
    "integration.name": filters.ONE,
    "integration.category": filters.ONE,
}


def get_metrics(call: Call) -> Answer:
    """GET /api/metrics: there is no filter by name, and the page size is fixed."""
    conditions = filters.parse(call.parameter("filter"), _METRIC_FILTERS)
    with call.store.open():
        found = filters.keep(call.store.ledger.metrics(), conditions, _read_metric)
        shown = pages.page(call, found, pages.METRICS, _METRIC_ORDERS, "created")
        data = [resources.metric(call, one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_metric(call: Call) -> Answer:
    """GET /api/metrics/{id}."""
    with call.store.open():
        one = call.store.ledger.metric(call.ids[0])
        if one is None:
            raise not_found("metric", call.ids[0])
        return answer(200, {"data": resources.metric(call, one)})


def _read_metric(_: Metric, field: str) -> str | None:
    """All are made by the API; the category filter finds nothing, as recorded."""
    return "API" if field == "integration.name" else None


_METRIC_ORDERS: dict[str, pages.Reader] = {"created": lambda one: (one.created, one.id)}
