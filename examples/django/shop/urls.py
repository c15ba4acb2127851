"""POST /orders with number, email, total and, to see it roll back, fail=1."""

import os

from django.db import IntegrityError, transaction
from django.http import HttpRequest, JsonResponse, QueryDict
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from klaviyo_relay.contrib import django as klaviyo
from shop.models import Order


class PaymentRefusedError(Exception):
    """The payment failed, after everything else was done."""


def pay(given: QueryDict) -> None:
    """Take the money, unless told to fail."""
    if given.get("fail"):
        raise PaymentRefusedError


@csrf_exempt
@require_POST
def orders(request: HttpRequest) -> JsonResponse:
    """Place an order; whatever fails, the order and its event are both there or neither."""
    given = request.POST
    try:
        with transaction.atomic():
            order = Order.objects.create(number=given["number"], email=given["email"])
            command = klaviyo.track(
                "Placed Order",
                email=order.email,
                value=float(given["total"]),
                properties={"number": order.number},
            )
            pay(given)
    except (IntegrityError, PaymentRefusedError):
        return JsonResponse({"refused": given["number"]}, status=409)
    return JsonResponse({"id": command, "pid": os.getpid()}, status=201)


@csrf_exempt
@require_POST
def crash(request: HttpRequest) -> JsonResponse:
    """Fail with an error that nobody expects: ATOMIC_REQUESTS rolls the request back."""
    given = request.POST
    Order.objects.create(number=given["number"], email=given["email"])
    klaviyo.track("Placed Order", email=given["email"], properties={"number": given["number"]})
    raise RuntimeError


urlpatterns = [path("orders", orders), path("crash", crash)]
