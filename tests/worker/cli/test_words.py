"""Words: an error as one sentence, with Klaviyo's own words and what would help."""

from __future__ import annotations

from klaviyo_relay_worker.cli.words import sentence
from klaviyo_relay_worker.errors import RateLimitError, RefusedError, ServerError
from klaviyo_relay_worker.outcome import Failure


def test_most_errors_say_enough_themselves():
    assert sentence(ServerError("Klaviyo answers 503 to GET /api/lists", 503)) == (
        "Klaviyo answers 503 to GET /api/lists"
    )


def test_a_used_up_rate_limit_says_when_to_ask_again():
    found = sentence(RateLimitError("used up", retry_after=12.4))
    assert found == "used up; ask again in 12 s, or wait longer with --patience"


def test_a_refusal_has_each_of_klaviyos_words_once_and_harmless():
    failures = [Failure(detail="is\x1b[2J wrong"), Failure(detail="is\x1b[2J wrong"), Failure()]
    found = sentence(RefusedError("refused", 400, failures))
    assert found == "refused; is\\u001b[2J wrong"
