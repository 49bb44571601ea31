"""Sources: one read of SSM for all, kept while it cannot be read again; a source's own settings over common ones."""

from __future__ import annotations

import json
import socket

import pytest

from handler.model.deadline import Deadline
from handler.model.errors import FaultySettings, SettingsUnavailable, UnknownSource
from handler.observability import Telemetry
from handler.settings.setting_types import Parameter
from handler.settings.settings import Settings
from handler.settings.sources import (
    DEFAULT_SOURCE,
    THROTTLED_SECONDS,
    UNUSABLE_SOURCE_SECONDS,
    Sources,
    read_parameters,
)
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.http_server import HttpRequest, HttpServer, Reply
from tests.function import aws_client_at

SOON = Deadline.after(3600.0)

GOOD = {"apiKey": "key", "apiToken": "token", "sharedSecret": "secret"}


def test_ssm_gives_every_page_decrypted_with_its_type_and_by_source(aws: LocalAws) -> None:
    names = [f"setting{number}" for number in range(23)]
    aws.delete_settings()
    aws.put_settings({"apiKey": "decrypted", **dict.fromkeys(names, "x")})
    aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/trackEventsFilter", Value="a,b", Type="StringList")
    aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/shop/apiKey", Value="another source's", Type="String")
    parameters = read_parameters(aws.ssm, SETTINGS_PATH, SOON)

    assert parameters.keys() == {"default", "shop"}
    assert parameters["default"].keys() >= {"apiKey", "trackEventsFilter", *names}
    assert parameters["default"]["apiKey"] == Parameter("decrypted")
    assert parameters["default"]["trackEventsFilter"] == Parameter("a,b", is_list=True)
    assert parameters["shop"] == {"apiKey": Parameter("another source's")}


def test_ssm_that_cannot_be_reached_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(SettingsUnavailable, match="SSM could not be reached: EndpointConnectionError"):
            read_parameters(aws_client_at("ssm", free.getsockname()[1]), "/x", SOON)


def test_ssm_that_refuses_is_unavailable_and_says_why() -> None:
    server = HttpServer(0, lambda request: Reply(400, body=b'{"__type": "AccessDeniedException", "message": "canary"}'))
    with pytest.raises(SettingsUnavailable) as raised:
        read_parameters(aws_client_at("ssm", server.port), "/x", SOON)
    server.close()
    assert str(raised.value) == "SSM refused to read /x: AccessDeniedException"


TOO_MANY = Reply(400, body=b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def page(name: str, **more: str) -> Reply:
    parameter = {"Name": f"/x/{name}", "Value": "v", "Type": "String"}
    return Reply(body=json.dumps({"Parameters": [parameter], **more}).encode())


def test_a_page_that_is_refused_as_one_read_too_many_is_read_again_after_a_random_wait() -> None:
    clock = Clock()
    answers = [TOO_MANY, TOO_MANY, page("apiKey", NextToken="2"), TOO_MANY, page("apiToken")]
    asked: list[str | None] = []

    def respond(request: HttpRequest) -> Reply:
        asked.append(json.loads(request.body).get("NextToken"))
        return answers.pop(0)

    server = HttpServer(0, respond)
    found = read_parameters(aws_client_at("ssm", server.port), "/x", Deadline(60.0, lambda: clock.now), clock.wait)
    server.close()

    assert found == {"default": {"apiKey": Parameter("v"), "apiToken": Parameter("v")}}
    assert asked == [None, None, None, "2", "2"], "a page that was read is not read again"
    assert len(set(clock.waits)) == 3
    assert all(0 <= seconds <= THROTTLED_SECONDS for seconds in clock.waits)


def test_reads_that_are_too_many_until_the_deadline_are_unavailable() -> None:
    clock = Clock()
    server = HttpServer(0, lambda request: TOO_MANY)
    with pytest.raises(SettingsUnavailable, match="SSM refused to read /x: ThrottlingException"):
        read_parameters(aws_client_at("ssm", server.port), "/x", Deadline(3.0, lambda: clock.now), clock.wait)
    server.close()

    assert len(clock.waits) >= 2
    assert clock.now <= 3.0, "no wait goes beyond the deadline"


def test_what_is_called_default_or_lies_deeper_is_no_source(aws: LocalAws) -> None:
    aws.delete_settings()
    aws.put_settings({"default/apiKey": "x", "shop/old/apiKey": "x"})
    assert read_parameters(aws.ssm, SETTINGS_PATH, SOON) == {"default": {}}


class Ssm:
    """What SSM holds, by source, when it answers; a fake clock beside it."""

    def __init__(self, **sources: dict[str, str]) -> None:
        self.held: dict[str, dict[str, str]] | None = {"default": dict(GOOD), **sources}
        self.reads = 0
        self.now = 1000.0
        telemetry = Telemetry("test", "CRITICAL", "n")
        self.sources = Sources(self.read, 60.0, lambda: self.now, telemetry)

    def read(self, deadline: Deadline) -> dict[str, dict[str, Parameter]]:
        self.reads += 1
        if self.held is None:
            raise SettingsUnavailable("SSM is down")
        return {source: {name: Parameter(value) for name, value in held.items()} for source, held in self.held.items()}

    def settings(self, source: str) -> Settings:
        return self.sources.settings(source, SOON)

    def api_key(self, source: str = DEFAULT_SOURCE) -> str:
        return self.sources.settings(source, SOON).api_key


def test_settings_are_read_once_for_their_time_to_live() -> None:
    ssm = Ssm()
    ssm.api_key()
    ssm.now += 59.9
    ssm.held = {"default": {**GOOD, "apiKey": "new"}}
    assert ssm.api_key() == "key"
    ssm.now += 0.1
    assert ssm.api_key() == "new"
    assert ssm.reads == 2


@pytest.mark.parametrize("broken", [None, {"default": {**GOOD, "trackMapping": "{"}}], ids=["unreadable", "faulty"])
def test_the_last_good_settings_stay_in_force_and_the_next_ones_are_tried_for(
    broken: dict[str, dict[str, str]] | None,
) -> None:
    ssm = Ssm()
    ssm.api_key()
    ssm.held = broken
    ssm.now += 60
    assert ssm.api_key() == "key"
    assert ssm.api_key() == "key"
    assert ssm.reads == 2, "one try for each time to live, while there are settings to go on with"
    ssm.held = {"default": {**GOOD, "apiKey": "fixed"}}
    ssm.now += 60
    assert ssm.api_key() == "fixed"


@pytest.mark.parametrize(
    ("broken", "error"),
    [(None, SettingsUnavailable), ({"default": {**GOOD, "trackMapping": "{"}}, FaultySettings)],
    ids=["unreadable", "faulty"],
)
def test_without_any_settings_ssm_is_tried_again_but_not_for_each_request_of_a_stranger(
    broken: dict[str, dict[str, str]] | None, error: type[Exception]
) -> None:
    ssm = Ssm()
    ssm.held = broken
    for _ in range(20):
        with pytest.raises(error):
            ssm.api_key()
    assert ssm.reads == (20 if broken is None else 1)
    ssm.held = {"default": dict(GOOD)}
    ssm.now += UNUSABLE_SOURCE_SECONDS
    assert ssm.api_key() == "key"


def test_a_source_that_is_not_known_yet_may_be_new_while_ssm_cannot_be_read() -> None:
    """A 404 or a 401 would lose its events: Segment tries neither again."""
    ssm = Ssm()
    ssm.api_key()
    ssm.held = None
    ssm.now += 60.0
    with pytest.raises(SettingsUnavailable):
        ssm.settings("new")
    with pytest.raises(SettingsUnavailable):
        ssm.sources.of_access_token(b"new", SOON)
    assert ssm.api_key() == "key", "the last good settings keep their effect"
    ssm.held = {"default": dict(GOOD)}
    ssm.now += 60.0
    with pytest.raises(UnknownSource):
        ssm.settings("new")


def test_one_read_serves_all_sources_each_with_its_own_over_the_common_settings() -> None:
    ssm = Ssm(shop={"apiKey": "shop's", "apiToken": "shop's", "trackDisabled": "true"}, app={"trackDisabled": "false"})
    shop, app, default = map(ssm.settings, ("shop", "app", "default"))

    assert ssm.reads == 1
    assert (shop.source, shop.api_key, shop.api_token) == ("shop", "shop's", "shop's")
    assert (app.source, app.api_key) == ("app", "key")
    assert (default.source, default.api_key) == ("default", "key")
    assert [settings.policy.mapping.disabled >= {"track"} for settings in (shop, app, default)] == [True, False, False]
    assert shop.secrets.shared_secrets == ("secret",)


def test_a_source_with_its_own_secret_does_not_accept_the_common_one_that_was_before() -> None:
    ssm = Ssm(shop={"sharedSecret": "shop's"})
    assert ssm.held
    ssm.held["default"]["sharedSecretPrevious"] = "before"
    assert ssm.sources.settings("shop", SOON).secrets.shared_secrets == ("shop's",)
    assert ssm.sources.settings("default", SOON).secrets.shared_secrets == ("secret", "before")


@pytest.mark.parametrize(("own", "missing"), [("apiKey", "apiToken"), ("apiToken", "apiKey")])
def test_half_of_a_sources_own_keys_never_goes_with_half_of_anothers(own: str, missing: str) -> None:
    ssm = Ssm(shop={own: "shop's"})
    with pytest.raises(FaultySettings) as raised:
        ssm.sources.settings("shop", SOON)
    assert str(raised.value) == f"{missing}: is not set for the source shop, which has its own keys"


def test_the_faults_of_one_source_leave_the_others_alone() -> None:
    ssm = Ssm(shop={"trackMapping": "{"})
    with pytest.raises(FaultySettings) as raised:
        ssm.sources.settings("shop", SOON)
    assert raised.value.source == "shop"
    assert ssm.api_key() == "key"


def test_an_unknown_source_has_no_settings_and_is_looked_for_only_now_and_then() -> None:
    ssm = Ssm()
    ssm.api_key()
    for _ in range(3):
        with pytest.raises(UnknownSource):
            ssm.sources.settings("shop", SOON)
    assert ssm.reads == 1
    ssm.held = {"default": dict(GOOD), "shop": {"apiKey": "shop's", "apiToken": "t"}}
    ssm.now += 5
    assert ssm.api_key("shop") == "shop's"
    assert ssm.reads == 2


def test_a_source_that_is_gone_is_unknown_again() -> None:
    ssm = Ssm(shop={"apiKey": "shop's", "apiToken": "t"})
    ssm.api_key("shop")
    ssm.held = {"default": dict(GOOD)}
    ssm.now += 60
    with pytest.raises(UnknownSource):
        ssm.api_key("shop")


def test_an_access_token_finds_its_source() -> None:
    ssm = Ssm(shop={"accessToken": "shop's", "accessTokenPrevious": "before"}, app={"trackDisabled": "true"})
    assert ssm.held
    ssm.held["default"]["accessToken"] = "common"

    def source_of(token: str) -> str | None:
        settings = ssm.sources.of_access_token(token.encode(), SOON)
        return settings.source if settings else None

    tokens = ("common", "shop's", "before", "", "nobody's", "shop")
    assert [source_of(token) for token in tokens] == ["default", "shop", "shop", None, None, None]
    assert ssm.reads == 1


def test_a_token_that_was_just_made_is_found_within_seconds() -> None:
    ssm = Ssm()
    assert ssm.sources.of_access_token(b"new", SOON) is None
    ssm.held = {"default": {**GOOD, "accessToken": "new"}}
    assert ssm.sources.of_access_token(b"new", SOON) is None
    ssm.now += 5
    assert ssm.sources.of_access_token(b"new", SOON)


def test_a_token_that_may_be_a_faulty_sources_is_not_refused_for_good() -> None:
    """Segment's libraries drop what is answered 401."""
    ssm = Ssm(shop={"trackMapping": "{"})
    with pytest.raises(FaultySettings):
        ssm.sources.of_access_token(b"shop's, perhaps", SOON)


def test_common_settings_without_keys_are_no_source_beside_others_that_have_them() -> None:
    ssm = Ssm(shop={"apiKey": "shop's", "apiToken": "t", "accessToken": "shop's"})
    assert ssm.held
    ssm.held["default"] = {"sharedSecret": "common"}
    assert ssm.sources.settings("shop", SOON).secrets.shared_secrets == ("common",)
    assert ssm.sources.of_access_token(b"nobody's", SOON) is None
    with pytest.raises(UnknownSource):
        ssm.api_key()
