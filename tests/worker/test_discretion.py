"""Discretion: Celery tells what went wrong with a message, and nothing of what was in it."""

from __future__ import annotations

import logging

from klaviyo_relay_worker.discretion import be_discreet


def test_celery_tells_of_a_message_that_it_cannot_use_without_its_body(caplog):
    from celery.worker.consumer import consumer

    be_discreet()
    body = '{"email": "ada@lovelace.dev"}'
    try:
        {}["klaviyo_relay.trakc"]
    except KeyError as error:
        consumer.error(
            consumer.UNKNOWN_TASK_ERROR, error, body, {"kwargsrepr": body}, {}, exc_info=True
        )
        consumer.error(consumer.INVALID_TASK_ERROR, error, body)
    consumer.warn(consumer.UNKNOWN_FORMAT, body)
    consumer.error(consumer.MESSAGE_DECODE_ERROR, error_of(body), "json", "utf-8", body, body)
    texts = [record.getMessage() for record in caplog.records]
    hidden = "; it is thrown away. What was in it may be private, and is not shown"
    assert texts == [
        "Received unregistered task of type 'klaviyo_relay.trakc'" + hidden,
        "Received invalid task message" + hidden,
        "Received and deleted unknown message.  Wrong destination?!?" + hidden,
        "Can't decode message body" + hidden,
    ]
    assert "lovelace" not in caplog.text


def error_of(text):
    return ValueError(text)


def test_what_celery_hands_to_its_pool_is_not_logged_and_all_else_is(caplog):
    be_discreet()
    pool = logging.getLogger("celery.pool")
    with caplog.at_level(logging.DEBUG, "celery.pool"):
        pool.debug("TaskPool: Apply %s (args:%r kwargs:%r)", "track", ["ada@lovelace.dev"], {})
        pool.debug("TaskPool: grown to %s", 4)
    assert [record.getMessage() for record in caplog.records] == ["TaskPool: grown to 4"]


def test_the_name_of_an_unknown_task_breaks_out_of_no_line(caplog):
    be_discreet()
    name = "x\n2026 all is lost" + "y" * 1000
    logger = logging.getLogger("celery.worker.consumer.consumer")
    logger.error("Received unregistered task of type %s.\nThe body: %r", name, {"email": "ada"})
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 300


def test_being_discreet_twice_is_being_discreet_once():
    for _ in range(2):
        be_discreet()
    assert len(logging.getLogger("celery.pool").filters) == 1
