"""From bytes to shapes; what does not fit becomes a refusal with a JSON pointer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from .bodies import Data
from .errors import Fault, Refusal, invalid

Shape = TypeVar("Shape")
Checked = TypeVar("Checked")
_Decoder = msgspec.json.Decoder

_MEMBER = re.compile(r"Object (?:contains unknown|missing required) field `([^`]*)`")
_PLACE = re.compile(r" - at `\$(.*)`$")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")


def whole(shape: type[Shape]) -> _Decoder[Data[Shape]]:
    """A decoder of `{"data": shape}`."""
    return _Decoder(Data[shape])  # type: ignore[valid-type]  # a type made as it runs


def decode(decoder: _Decoder[Shape], raw: bytes | msgspec.Raw) -> Shape:
    """Decode `raw`; the pointer of a refusal is relative to it."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Refusal(400, _fault(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The body is not valid JSON: {error}.") from None


def decode_body(decoder: _Decoder[Data[Shape]], body: bytes) -> Shape:
    """Decode a whole body and unwrap its `data`."""
    return decode(decoder, body).data


def each(
    items: Sequence[msgspec.Raw],
    decoder: _Decoder[Shape],
    check: Callable[[Shape, msgspec.Raw], Checked],
    pointer: str,
) -> list[Checked]:
    """Decode and check every item; refuse with the faults of all the bad ones.

    One bad item makes Klaviyo refuse the whole request, with one error object per bad item
    (observed for bulk import and bulk subscribe; assumed for bulk events).
    """
    good: list[Checked] = []
    faults: list[Fault] = []
    for index, raw in enumerate(items):
        try:
            good.append(check(decode(decoder, raw), raw))
        except Refusal as refusal:
            faults.extend(fault.under(f"{pointer}/{index}") for fault in refusal.faults)
    if faults:
        raise Refusal(400, *faults)
    return good


def within(count: int, maximum: int, what: str, pointer: str) -> None:
    """Refuse an empty list, and one that is longer than a call may be."""
    if not 1 <= count <= maximum:
        raise invalid(f"Between 1 and {maximum} {what} are required, {count} were given.", pointer)


def _fault(message: str) -> Fault:
    """A message of msgspec as a fault: its `$.a.b[0]` as a pointer, unknown members named."""
    place = _PLACE.search(message)
    path = _INDEX.sub(r".\1", place[1]) if place else ""
    pointer = path.replace(".", "/")
    said = message[: place.start()] if place else message
    if member := _MEMBER.match(said):
        name = member[1]
        unknown = said.startswith("Object contains")
        detail = f"'{name}' is not a valid field." if unknown else f"'{name}' is a required field."
        return Fault(detail, pointer=f"{pointer}/{name}")
    return Fault(f"{said}.", pointer=pointer)
