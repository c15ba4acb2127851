"""Pseudonyms: the same for the same person, and nobody can tell whose they are."""

from __future__ import annotations

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.pseudonyms import PSEUDONYM_BYTES, Pseudonyms


def test_all_workers_of_a_namespace_use_the_same(redis, keys):
    first, second = Pseudonyms(redis, keys), Pseudonyms(redis, keys)
    assert first.of("email:a@x.io") == second.of("email:a@x.io")
    assert len(first.of("email:a@x.io")) == PSEUDONYM_BYTES


def test_another_namespace_uses_others(redis, keys):
    other = Pseudonyms(redis, Keys("other"))
    assert other.of("email:a@x.io") != Pseudonyms(redis, keys).of("email:a@x.io")


def test_words_are_kept_apart(redis, keys):
    pseudonyms = Pseudonyms(redis, keys)
    texts = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c")]
    assert len({pseudonyms.of(*words) for words in texts}) == len(texts)


def test_any_text_has_one(redis, keys):
    pseudonyms = Pseudonyms(redis, keys)
    assert pseudonyms.of("\ud800") != pseudonyms.of("")


def test_the_secret_is_read_once(redis, keys):
    pseudonyms = Pseudonyms(redis, keys)
    known = pseudonyms.of("a")
    redis.delete(keys.secret)
    assert pseudonyms.of("a") == known
    assert Pseudonyms(redis, keys).of("a") != known
