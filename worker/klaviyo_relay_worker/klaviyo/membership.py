"""Membership: who is on a list or in a segment, which is named by its id or its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.arguments import Moment, chosen, listed, moment, people, text
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.group import Group, each, once, page_size, paths_of
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Json, Profile


class Membership(Group):
    """What lists and segments have in common."""

    _kind: ClassVar[str]
    """list or segment: in paths and in names of arguments."""
    _many: ClassVar[str]
    _single: ClassVar[str]
    _members: ClassVar[str]
    """The endpoints that read all of the kind, one, and the members of one."""
    _with_count: ClassVar[str]
    """The rate limit of reading one with the number of its members."""

    def id_of(self, name: str) -> str:
        """The id of the one with this name.

        Raises:
            NotFoundError: there is none.
            InvalidArgumentError: there are several.
        """
        return self._id_of(name)

    def _get(self, identity: str | None, name: str | None, *, with_count: bool) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if with_count:
            more[f"additional_fields_{self._kind}"] = "profile_count"
        path = query.path(f"/api/{self._kind}s/{self._id_given(identity, name)}", **more)
        limit = self._with_count if with_count else ""
        return self._one(self._single, path, f"{self._kind}_id", limit=limit)

    def _id_given(self, identity: str | None, name: str | None) -> str:
        argument, value = chosen({f"{self._kind}_id": identity, f"{self._kind}_name": name})
        return listed(argument, value) if argument.endswith("_id") else self._id_of(value)

    def _id_of(self, name: str) -> str:
        argument = f"{self._kind}_name"
        path = query.path(
            f"/api/{self._kind}s", [query.equals_listed("name", text(argument, name))]
        )
        document = self._access.ask(Request(endpoint=self._many, path=path))
        found = [str(one["id"]) for one in document["data"]]
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFoundError(f"{argument}: Klaviyo has no {self._kind} of this name", 404)
        shared = f"{len(found)} {self._kind}s share this name; give {self._kind}_id, one of"
        raise InvalidArgumentError(argument, f"{shared} {', '.join(found)}")

    def _of(
        self,
        identity: str,
        *,
        emails: Iterable[str] | None,
        phone_numbers: Iterable[str] | None,
        push_tokens: Iterable[str] | None,
        since: Moment | None = None,
        count: int | None,
        cursor: str | None,
        keep: Callable[[Profile], bool] = lambda _one: True,
    ) -> Pages[Profile]:
        named = people(emails=emails, phone_numbers=phone_numbers, push_tokens=push_tokens)
        joined = [] if since is None else [query.since("joined_group_at", moment("since", since))]
        paths = paths_of(
            f"/api/{self._kind}s/{identity}/profiles",
            named,
            conditions=joined,
            cursor=cursor,
            additional_fields_profile="subscriptions",
            page_size=page_size(limits.PROFILES_A_PAGE, None if named else count),
        )
        profiles = each(Profile)

        def read(document: Json) -> Iterator[Profile]:
            return filter(keep, profiles(document))

        return self._pages(
            self._members,
            paths,
            once(read, lambda one: one.id) if named else read,
            count=count,
            argument=f"{self._kind}_id",
        )
