# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""The retired SDK's calls and payloads: every row of docs/migrating.md that writes."""

import copy
import warnings

import msgspec
import pytest

import klaviyo_relay
from klaviyo_relay import InvalidCommandError, legacy
from klaviyo_relay.legacy import Klaviyo
from klaviyo_relay.verbs import Verbs

ADA, PHONE, LIST = "ada@lovelace.dev", "+15005550006", "Y6nRLr"
WHO = {"$email": ADA}
AT, AT_ISO = 1_700_000_000, "2023-11-14T22:13:20Z"

old_form = pytest.mark.filterwarnings("ignore:.*retired SDK:DeprecationWarning")


class Recorder(Verbs):
    """Verbs that only remember."""

    def __init__(self):
        self.commands = []
        self.accounts = []

    def enqueue_together(self, commands, *, account="default"):
        self.commands += commands
        self.accounts.append(account)
        return [f"id-{len(self.commands)}"]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def client(recorder):
    return Klaviyo(public_token="PUBLIC", private_token="pk_x", producer=recorder)


def plain(command):
    return msgspec.json.decode(msgspec.json.encode(command))


# --- methods: the first table ---------------------------------------------------------------------

PERSONS = [{"email": ADA, "$first_name": "Ada", "id": 7}, {"phone_number": PHONE, "sms_consent": 1}]
METHODS = [
    (
        "Public.track",
        {
            "event": "M", "email": ADA, "id": "c-1", "properties": {"$value": 1, "a": 2},
            "customer_properties": {"$first_name": "Ada"}, "timestamp": AT,
            "ip_address": "203.0.113.7",
        },
        "klaviyo_relay.track",
        [
            {"verb": "identify", "email": ADA, "external_id": "c-1", "first_name": "Ada",
             "location": {"ip": "203.0.113.7"}},
            {"verb": "track", "metric": "M", "email": ADA, "external_id": "c-1", "value": 1,
             "properties": {"a": 2}, "time": AT_ISO},
        ],
    ),
    (
        "Public.track",
        {"event": "M", "external_id": "c-1", "is_test": False, "method": "post"},
        "klaviyo_relay.track",
        [{"verb": "track", "metric": "M", "external_id": "c-1"}],
    ),
    (
        "Public.track_once",
        {"event": "M", "email": ADA, "properties": {"a": 1}},
        "klaviyo_relay.track_once",
        [{"verb": "track", "metric": "M", "email": ADA, "properties": {"a": 1},
          "unique_id": "once"}],
    ),
    (
        "Public.identify",
        {"email": ADA, "id": 7, "properties": {"$first_name": "Ada", "plan": "gold"}},
        "klaviyo_relay.identify",
        [{"verb": "identify", "email": ADA, "external_id": "7", "first_name": "Ada",
          "properties": {"plan": "gold"}}],
    ),
    (
        "Profiles.update_profile",
        {"profile_id": "01H", "properties": {"$first_name": "Ada", "plan": "gold"}},
        "klaviyo_relay.identify",
        [{"verb": "identify", "profile_id": "01H", "first_name": "Ada",
          "properties": {"plan": "gold"}}],
    ),
    (
        "Profiles.unset_profile_properties",
        {"profile_id": "01H", "properties": ["plan", "$title"]},
        "klaviyo_relay.identify",
        [{"verb": "identify", "profile_id": "01H", "unset": ["plan", "title"]}],
    ),
    (
        "Lists.create_list",
        {"list_name": "VIP"},
        "klaviyo_relay.create_list",
        [{"verb": "create_list", "list_name": "VIP"}],
    ),
    (
        "Lists.update_list_name_by_id",
        {"list_id": LIST, "list_name": "VIP"},
        "klaviyo_relay.rename_list",
        [{"verb": "rename_list", "list_id": LIST, "new_name": "VIP"}],
    ),
    (
        "Lists.delete_list",
        {"list_id": LIST},
        "klaviyo_relay.delete_list",
        [{"verb": "delete_list", "list_id": LIST}],
    ),
    (
        "Lists.add_subscribers_to_list",
        {"list_id": LIST, "profiles": PERSONS},
        "klaviyo_relay.subscribe",
        [
            {"verb": "identify", "email": ADA, "external_id": "7", "first_name": "Ada"},
            {"verb": "subscribe", "list_id": LIST, "email": ADA, "channels": ["email"]},
            {"verb": "subscribe", "list_id": LIST, "phone_number": PHONE, "channels": ["sms"]},
        ],
    ),
    (
        "Lists.add_members_to_list",
        {"list_id": LIST, "profiles": PERSONS},
        "klaviyo_relay.add_to_list",
        [
            {"verb": "identify", "email": ADA, "external_id": "7", "first_name": "Ada"},
            {"verb": "add_to_list", "list_id": LIST, "email": ADA, "external_id": "7"},
            {"verb": "add_to_list", "list_id": LIST, "phone_number": PHONE},
            {"verb": "subscribe", "phone_number": PHONE, "channels": ["sms"]},
        ],
    ),
    (
        "Lists.remove_members_from_list",
        {"list_id": LIST, "emails": [ADA], "phone_numbers": [PHONE]},
        "klaviyo_relay.remove_from_list",
        [
            {"verb": "remove_from_list", "list_id": LIST, "email": ADA},
            {"verb": "remove_from_list", "list_id": LIST, "phone_number": PHONE},
        ],
    ),
    (
        "Lists.delete_subscribers_from_list",
        {"list_id": LIST, "emails": [ADA, "b@lovelace.dev"]},
        "klaviyo_relay.unsubscribe",
        [
            {"verb": "unsubscribe", "list_id": LIST, "email": ADA},
            {"verb": "unsubscribe", "list_id": LIST, "email": "b@lovelace.dev"},
        ],
    ),
    (
        "DataPrivacy.request_profile_deletion",
        {"identifier": ADA},
        "klaviyo_relay.delete_profile",
        [{"verb": "delete_profile", "email": ADA}],
    ),
    (
        "DataPrivacy.request_profile_deletion",
        {"identifier": PHONE, "id_type": "phone_number"},
        "klaviyo_relay.delete_profile",
        [{"verb": "delete_profile", "phone_number": PHONE}],
    ),
    (
        "DataPrivacy.request_profile_deletion",
        {"identifier": "01H", "id_type": "person_id"},
        "klaviyo_relay.delete_profile",
        [{"verb": "delete_profile", "profile_id": "01H"}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "form", "new"), METHODS, ids=lambda value: str(value)[:40])
def test_an_old_method_is_commands_of_today_and_says_what_to_write_instead(
    client, recorder, name, old, form, new
):
    group, method = name.split(".")
    before = copy.deepcopy(old)

    with pytest.warns(DeprecationWarning, match="retired SDK") as caught:
        answer = getattr(getattr(client, group), method)(**old)

    assert [plain(command) for command in recorder.commands] == new
    assert old == before
    # It points here, and names what to write instead.
    (warning,) = caught
    assert warning.filename == __file__
    assert form in str(warning.message)
    # One id for each profile in lists, else that of the command that was asked for.
    main = form.removeprefix("klaviyo_relay.").removesuffix("_once")
    ids = [f"id-{at}" for at, made in enumerate(new, 1) if made["verb"] == main]
    assert answer in (ids, ids[0])


@old_form
def test_the_order_of_arguments_is_the_old_one(client, recorder):
    client.Public.track("M", ADA, "c-1", {"a": 1}, {"plan": "gold"}, AT, "203.0.113.7", False)  # noqa: FBT003 - the old signature
    client.Public.identify(ADA, "c-1", {"plan": "gold"}, False)  # noqa: FBT003 - the old signature

    _, track, identify = map(plain, recorder.commands)
    assert track == {
        "verb": "track", "metric": "M", "email": ADA, "external_id": "c-1",
        "properties": {"a": 1}, "time": AT_ISO,
    }  # fmt: skip
    assert identify["properties"] == {"plan": "gold"}


@old_form
@pytest.mark.parametrize(
    ("group", "method", "arguments"),
    [
        ("Public", "track", {"event": "M", "email": ADA}),
        ("Public", "track_once", {"event": "M", "email": ADA}),
        ("Public", "identify", {"email": ADA}),
    ],
)
def test_a_test_call_is_refused(client, recorder, group, method, arguments):
    with pytest.raises(InvalidCommandError, match="sandbox"):
        getattr(getattr(client, group), method)(**arguments, is_test=True)

    assert recorder.commands == []


ONE_IS_BAD = {
    "a phone number without consent": (
        lambda lists: lists.add_subscribers_to_list(LIST, [{"phone_number": PHONE}]),
        "sms_con",
    ),
    "a person instead of a list": (
        lambda lists: lists.add_subscribers_to_list(LIST, {"email": ADA}),
        "list",
    ),
    "a person without an identifier": (
        lambda lists: lists.add_members_to_list(LIST, [{"email": ADA}, {}]),
        "email",
    ),
    "a list id that is none": (
        lambda lists: lists.add_members_to_list("x", [{"email": ADA}]),
        "list_id",
    ),
    "an email instead of a list": (
        lambda lists: lists.remove_members_from_list(LIST, ADA),
        "emails",
    ),
    "push tokens": (
        lambda lists: lists.remove_members_from_list(LIST, [ADA], [], ["t"]),
        "push_tokens",
    ),
    "no email address": (
        lambda lists: lists.delete_subscribers_from_list(LIST, [ADA, "nobody"]),
        "email",
    ),
    "too many bytes": (
        lambda lists: lists.add_members_to_list(
            LIST, [{"email": ADA}, {"email": ADA, **{str(n): "x" * 99_999 for n in range(2)}}]
        ),
        "bytes",
    ),
}


@old_form
@pytest.mark.parametrize(("call", "field"), ONE_IS_BAD.values(), ids=ONE_IS_BAD)
def test_where_one_is_bad_nothing_is_stored(client, recorder, call, field):
    with pytest.raises(InvalidCommandError, match=field):
        call(client.Lists)

    assert recorder.commands == []


@old_form
def test_an_id_type_that_never_was_is_refused(client):
    with pytest.raises(InvalidCommandError, match="id_type"):
        client.DataPrivacy.request_profile_deletion(ADA, "name")


@pytest.mark.parametrize(
    ("group", "method", "says"),
    [
        ("Profiles", "get_profile", "reader.profiles.get"),
        ("Lists", "get_lists", "klaviyo_relay_worker.legacy"),
        ("Metrics", "get_metric_export", "reader.metrics.aggregate"),
        ("Campaigns", "get_campaigns", "GET /api/campaigns"),
        ("Public", "nonsense", "Public has no nonsense"),
    ],
)
def test_what_reads_says_how_to_read_today(client, group, method, says):
    with pytest.raises(AttributeError, match=r"\w has no|reads, which|does not read") as caught:
        getattr(getattr(client, group), method)

    assert says in str(caught.value)


# --- once a call site; the module's own producer --------------------------------------------------


def test_each_call_site_is_told_once(client):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            client.Public.identify(email=ADA)
        client.Public.identify(email=ADA)

    assert len(caught) == 2
    assert {warning.filename for warning in caught} == {__file__}
    assert len({warning.lineno for warning in caught}) == 2


@old_form
def test_plain_functions_take_an_old_payload_as_it_is(recorder, monkeypatch):
    monkeypatch.setattr(klaviyo_relay, "enqueue", recorder.enqueue)
    payload = {"token": "PUBLIC", "event": "M", "customer_properties": WHO, "properties": {"a": 1},
               "time": AT}  # fmt: skip

    legacy.track(**payload)
    legacy.track_once(event="M", email=ADA)
    legacy.identify(token="PUBLIC", properties=WHO)

    assert [plain(command) for command in recorder.commands] == [
        {"verb": "track", "metric": "M", "email": ADA, "properties": {"a": 1}, "time": AT_ISO},
        {"verb": "track", "metric": "M", "email": ADA, "unique_id": "once"},
        {"verb": "identify", "email": ADA},
    ]


@old_form
def test_a_client_may_have_an_account_of_its_own(recorder):
    Klaviyo("PUBLIC", producer=recorder, account="shop_2").Public.identify(email=ADA)

    assert recorder.accounts == ["shop_2"]


@old_form
def test_the_commands_reach_the_lane(producer, lanes):
    client = Klaviyo(public_token="PUBLIC", producer=producer)
    command_id = client.Public.track("M", email=ADA, customer_properties={"$first_name": "Ada"})

    assert producer.flush(10).left == 0
    assert lanes.ids() == [command_id]
    assert lanes.entries("profiles")[0].envelope.command.first_name == "Ada"
