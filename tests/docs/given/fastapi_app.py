"""A FastAPI application, and what a customer sends."""

from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["Order", "app"]

app = FastAPI()


class Order(BaseModel):
    """What a customer sends."""

    name: str
    email: str
    total: float
