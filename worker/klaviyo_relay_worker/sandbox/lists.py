"""The lists, whose members come by request."""

from __future__ import annotations

from .groups import Group, Groups

DOUBLE_OPT_IN, SINGLE_OPT_IN = "double_opt_in", "single_opt_in"


class MailingList(Group):
    """One list."""

    opt_in_process: str = SINGLE_OPT_IN


class Lists(Groups[MailingList]):
    """All lists by id."""

    def named(self, wanted: str) -> MailingList | None:
        """The first list with this id or name."""
        known = self._by_id.get(wanted)
        return known or next((one for one in self if one.name == wanted), None)

    def create(self, name: str, opt_in_process: str | None, now: float) -> MailingList:
        """A new list; names need not be unique. Single opt-in unless said otherwise.

        Klaviyo takes the account's default here; the sandbox's account defaults to single.
        """
        process = opt_in_process or SINGLE_OPT_IN
        made = MailingList(self._ids.short(), name, now, now, opt_in_process=process)
        self._by_id[made.id] = made
        return made

    def delete(self, list_id: str) -> None:
        """Forget a list."""
        del self._by_id[list_id]
