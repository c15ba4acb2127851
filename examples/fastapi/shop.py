"""A FastAPI shop that tells Klaviyo.

    KLAVIYO_RELAY_REDIS_URL=redis://127.0.0.1:6379/0 uvicorn shop:app

POST /orders with {"number": …, "email": …, "total": …}; POST /unsubscribe with {"email": …}.
"""

import os

from fastapi import FastAPI
from fastapi.requests import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import klaviyo_relay as klaviyo
from klaviyo_relay.contrib.fastapi import lifespan

app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """What a customer sends."""

    number: str
    email: str
    total: float


class Person(BaseModel):
    """Who it is about."""

    email: str


@app.post("/orders", status_code=201)
async def orders(order: Order) -> dict[str, object]:
    """Place an order: the verb takes microseconds, so the event loop does not notice."""
    command = klaviyo.track(
        "Placed Order", email=order.email, value=order.total, properties={"number": order.number}
    )
    return {"id": command, "pid": os.getpid()}


@app.post("/unsubscribe", status_code=202)
async def unsubscribe(person: Person) -> dict[str, object]:
    """Withdraw consent: this one waits for the disk, in a thread."""
    return {"id": await klaviyo.unsubscribe_async(email=person.email)}


@app.exception_handler(klaviyo.InvalidCommandError)
async def invalid(_: Request, error: klaviyo.InvalidCommandError) -> JSONResponse:
    """Say what is wrong with a command."""
    return JSONResponse({"field": error.field, "rule": error.rule}, status_code=422)
