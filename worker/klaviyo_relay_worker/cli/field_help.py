"""What each field of a command is, in a few words for `--help`; docs/verbs.md says more."""

from __future__ import annotations

ACCOUNT_HELP = "name of the Klaviyo account"
_OBJECT, _MANY = "a JSON object", "may be given several times"
FIELD_HELP = {
    "email": "the profile's e-mail address",
    "phone_number": "the profile's phone number, such as +15005550006",
    "external_id": "the profile's id in your own system",
    "profile_id": "Klaviyo's id of the profile",
    "anonymous_id": "Klaviyo's id of a visitor who is not known yet",
    "properties": _OBJECT,
    "value": "amount of money, or whatever the metric counts",
    "value_currency": "ISO 4217 code of that amount, such as USD",
    "time": "when it happened, in ISO 8601  [default: now]",
    "unique_id": "Klaviyo keeps one event of this id, metric and profile"
    "  [default: the command's id]",
    "backfill": "an event of the past: store it without setting off flows",
    "first_name": "given name",
    "last_name": "family name",
    "organization": "company or club",
    "locale": "language and country, such as en-US",
    "title": "job title",
    "image": "URL of a picture",
    "location": _OBJECT,
    "unset": f"name of an attribute or property to clear; {_MANY}",
    "append": f"{_OBJECT}: property and what to add to its list",
    "unappend": f"{_OBJECT}: property and what to take from its list",
    "list_id": "Klaviyo's id of the list",
    "list_name": "name of the list, instead of its id",
    "opt_in_process": "single_opt_in or double_opt_in",
    "new_name": "the list's name from then on",
    "channels": f"email or sms; {_MANY}",
    "consented_at": "when the person consented, in ISO 8601  [default: now]",
    "source": "where the person consented, for Klaviyo's record",
    "profile": f"{_OBJECT}, as identify takes it",
}
