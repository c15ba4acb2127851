"""Reads of profiles."""

from __future__ import annotations

from collections.abc import Iterable

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.arguments import Moment, chosen, moment, path_part, people
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.exclusions import Wanted
from klaviyo_relay_worker.klaviyo.group import Group, each, once, page_size, paths_of
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Exclusion, MailingList, Profile, Reason, read

_PATH = "/api/profiles"


class Profiles(Group):
    """Profiles, one by one or many."""

    def get(self, profile_id: str) -> Profile:
        """A profile with its subscriptions.

        Raises:
            NotFoundError: there is none by this id.
        """
        path = query.path(
            f"{_PATH}/{path_part('profile_id', profile_id)}",
            additional_fields_profile="subscriptions",
        )
        return read(Profile, self._one(limits.GET_PROFILE, path, "profile_id"))

    def id_of(
        self,
        *,
        email: str | None = None,
        phone_number: str | None = None,
        external_id: str | None = None,
    ) -> str | None:
        """The id of the profile with exactly one of these, or None where Klaviyo knows none."""
        given = {"email": email, "phone_number": phone_number, "external_id": external_id}
        name, value = chosen(given)
        [(field, [checked])] = people(**{f"{name}s": [value]})
        path = query.path(_PATH, [query.equals(field, checked)], fields_profile="email")
        found = self._access.ask(Request(endpoint=limits.GET_PROFILES, path=path))["data"]
        return str(found[0]["id"]) if found else None

    def all(
        self,
        *,
        emails: Iterable[str] | None = None,
        phone_numbers: Iterable[str] | None = None,
        external_ids: Iterable[str] | None = None,
        created_since: Moment | None = None,
        updated_since: Moment | None = None,
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Profile]:
        """Profiles with their subscriptions: those who are named, or all.

        Who is changed during a long read with `updated_since` may come twice, but is not left out.

        Args:
            emails, phone_numbers, external_ids: only these, any number of them.
            created_since, updated_since: only who was created or updated after this.
            count: at most so many.
            cursor: of an earlier read (`Pages.cursor`), to go on there.
        """
        times = {"created": created_since, "updated": updated_since}
        named = people(emails=emails, phone_numbers=phone_numbers, external_ids=external_ids)
        paths = paths_of(
            _PATH,
            named,
            conditions=[
                query.after(field, moment(f"{field}_since", given))
                for field, given in times.items()
                if given is not None
            ],
            cursor=cursor,
            additional_fields_profile="subscriptions",
            page_size=page_size(limits.PROFILES_A_PAGE, None if named else count),
        )
        reading = each(Profile)
        return self._pages(
            limits.GET_PROFILES,
            paths,
            once(reading, lambda one: one.id) if named else reading,
            count=count,
        )

    def suppressed(
        self,
        *,
        reason: Reason | None = None,
        since: Moment | None = None,
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Exclusion]:
        """Who gets no email at all, why, and since when.

        Args:
            reason: only UNSUBSCRIBE, SPAM_COMPLAINT, HARD_BOUNCE, INVALID_EMAIL, USER_SUPPRESSED.
            since: only from this time on.
            count, cursor: as in `all`.
        """
        wanted = Wanted.checked(None, reason, since)
        return self._pages(
            limits.GET_PROFILES, [wanted.path(cursor)], wanted.reading(), count=count
        )

    def lists(self, profile_id: str) -> list[MailingList]:
        """The lists that a profile is on (60 requests a minute at most)."""
        path = f"{_PATH}/{path_part('profile_id', profile_id)}/lists"
        found = self._pages(
            limits.GET_LISTS_OF_PROFILE, [path], each(MailingList), argument="profile_id"
        )
        return list(found)
