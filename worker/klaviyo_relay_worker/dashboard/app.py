"""The dashboard as an application, and the server that it runs in."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import uvicorn
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import masked
from klaviyo_relay_worker.dashboard.actions import Actions
from klaviyo_relay_worker.dashboard.binding import Binding
from klaviyo_relay_worker.dashboard.forms import Forms
from klaviyo_relay_worker.dashboard.overview import Overviews
from klaviyo_relay_worker.dashboard.security import LOGIN, Guard
from klaviyo_relay_worker.dashboard.sessions import Sessions
from klaviyo_relay_worker.dashboard.throughput import Sampler, Throughput
from klaviyo_relay_worker.dashboard.views import Views
from klaviyo_relay_worker.errors import UnknownLaneError
from klaviyo_relay_worker.settings import WorkerSettings

_STATIC = {"dashboard.css": "text/css", "dashboard.js": "text/javascript"}
# A person waits for the page, not for a request's whole deadline.
_ANSWER_SECONDS = 3.0


def create_app(settings: WorkerSettings, binding: Binding) -> ASGIApp:
    """The dashboard of one Redis.

    Args:
        settings: where Redis is; no API key is needed.
        binding: who may ask, and by which names.
    """
    binding.check()
    redis, keys = connect(settings.redis_url, answer_seconds=_ANSWER_SECONDS), settings.keys
    throughput, sessions = Throughput(redis, keys), Sessions(binding.token)
    overviews = Overviews(redis, keys, throughput)
    actions = Actions(redis, keys, settings.journal_ids)
    views = Views(redis, keys, overviews, actions, sessions, server=masked(settings.redis_url))
    forms = Forms(views, overviews, actions, sessions)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sampler = Sampler(throughput)
        sampler.start()
        yield
        sampler.close()
        redis.close()

    handlers: dict[Any, Any] = {
        RedisError: views.redis_is_away,
        UnknownLaneError: views.failed,
        HTTPException: views.failed,
    }
    app = Starlette(routes=_routes(views, forms), lifespan=lifespan, exception_handlers=handlers)
    return Guard(app, binding, sessions)


def _routes(views: Views, forms: Forms) -> list[Route]:
    shown = {
        "/": views.page,
        "/live": views.live,
        "/letters": views.letters,
        "/confirm": views.confirm,
        LOGIN: views.login,
        "/static/{name}": _static,
    }
    sent = {
        "/redrive": forms.redrive,
        "/discard": forms.discard,
        "/pause": forms.pause,
        "/resume": forms.resume,
        "/reveal": forms.reveal,
        LOGIN: forms.login,
        "/logout": forms.logout,
    }
    return [Route(path, view, methods=["GET"]) for path, view in shown.items()] + [
        Route(path, form, methods=["POST"]) for path, form in sent.items()
    ]


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise HTTPException(404, "There is no such file.")
    text = files(__package__ or "").joinpath("static", name).read_bytes()
    return Response(text, media_type=_STATIC[name])


def listen(binding: Binding) -> socket.socket:
    """The socket at which the dashboard will be; who comes before the server is up, waits.

    Raises:
        OSError: the address is not ours, or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        binding.host, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError:
        made.close()
        raise
    return made


def server_of(app: ASGIApp) -> uvicorn.Server:
    """A server for it; `run(sockets=[...])` runs it until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        # The audit itself tells what a proxy says from what is so.
        proxy_headers=False,
        server_header=False,
        ws="none",
        limit_concurrency=64,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)
