"""Settings: checked all at once, every fault named, never a value; kept while they cannot be read again."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest
from aws_lambda_powertools.logging import Logger

from handler.authentication import Secrets
from handler.delivery import Policy
from handler.errors import FaultySettings, SettingsUnavailable
from handler.outcome import AmbiguousTrack
from handler.settings import Parameter, Settings, SettingsCache, check_settings, read_parameters
from handler.telemetry import Telemetry
from local.aws import SETTINGS_PATH, LocalAws
from local.http_server import HttpServer, Reply
from mapping import EventMapping, Fault, compile_identify_mapping, compile_track_mapping
from tests.handler.conftest import aws_client_at

GOOD = {"apiKey": "key", "apiToken": "token", "sharedSecret": "secret"}


def checked(settings: Mapping[str, str]) -> Settings:
    return check_settings({name: Parameter(value) for name, value in settings.items()})


def faults_of(settings: Mapping[str, str]) -> list[Fault]:
    with pytest.raises(FaultySettings) as raised:
        checked(settings)
    return list(raised.value.faults)


def test_the_required_ones_are_enough_and_the_rest_has_defaults() -> None:
    assert checked(GOOD) == Settings(
        api_url="https://api.voucherify.io",
        api_key="key",
        api_token="token",
        secrets=Secrets(("secret",), ()),
        policy=Policy(EventMapping(), AmbiguousTrack.RETRY),
        unknown=(),
    )


def test_every_setting_is_read() -> None:
    settings = checked(
        {
            **GOOD,
            "apiUrl": " https://us1.api.voucherify.io/ ",
            "sharedSecretPrevious": "old-secret",
            "accessToken": "access",
            "accessTokenPrevious": "old-access",
            "identifyDisabled": "TRUE",
            "identifyMapping": '{"traits.mail": "customer.email"}',
            "trackDisabled": "false",
            "trackEventsFilter": '["Order Completed", "Signed Up"]',
            "trackMapping": '{"properties.mail": "customer.email"}',
            "ambiguousTrack": "deadLetter",
            "identifyMaping": "{}",
        }
    )
    assert settings.api_url == "https://us1.api.voucherify.io"
    assert settings.secrets == Secrets(("secret", "old-secret"), ("access", "old-access"))
    assert settings.policy.mapping == EventMapping(
        identify_disabled=True,
        identify_rules=compile_identify_mapping({"traits.mail": "customer.email"}),
        track_events_filter=frozenset({"Order Completed", "Signed Up"}),
        track_rules=compile_track_mapping({"properties.mail": "customer.email"}),
    )
    assert settings.policy.ambiguous_track is AmbiguousTrack.DEAD_LETTER
    assert settings.unknown == ("identifyMaping",)


def test_an_access_token_alone_is_enough() -> None:
    assert checked({"apiKey": "k", "apiToken": "t", "accessToken": "a"}).secrets == Secrets((), ("a",))


@pytest.mark.parametrize(
    ("parameter", "names"),
    [
        (Parameter("Order Completed, Signed Up", is_list=True), {"Order Completed", "Signed Up"}),
        (Parameter("[1]", is_list=True), {"[1]"}),
        (Parameter('["a, b"]'), {"a, b"}),
        (Parameter("[]"), set()),
        (Parameter(""), set()),
    ],
)
def test_the_filter_is_a_json_array_or_a_string_list(parameter: Parameter, names: set[str]) -> None:
    good = {name: Parameter(value) for name, value in GOOD.items()}
    mapping = check_settings({**good, "trackEventsFilter": parameter}).policy.mapping
    assert mapping.track_events_filter == names


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("apiKey", "", "apiKey: is required and not set"),
        ("apiToken", "", "apiToken: is required and not set"),
        ("apiToken", "canary\n", "apiToken: begins or ends with white space; store it without"),
        ("apiKey", "can\x00ary", "apiKey: has characters that an HTTP header cannot hold"),
        ("apiKey", "canäry", "apiKey: has characters that an HTTP header cannot hold"),
        ("sharedSecret", "", "sharedSecret: set it or accessToken, or both: without one nobody can be let in"),
        ("sharedSecret", " canary", "sharedSecret: begins or ends with white space; store it without"),
        (
            "accessTokenPrevious",
            "canary",
            "accessTokenPrevious: is accepted beside accessToken, which is not set",
        ),
        ("apiUrl", "canary", "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io"),
        (
            "apiUrl",
            "https://",
            "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io",
        ),
        (
            "apiUrl",
            "https://[canary",
            "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io",
        ),
        (
            "apiUrl",
            "https://canary:99999",
            "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io",
        ),
        ("apiUrl", "http://canary.example", "apiUrl: must begin with https:// (http:// is for loopback)"),
        ("apiUrl", "ftp://127.0.0.1", "apiUrl: must begin with https:// (http:// is for loopback)"),
        ("apiUrl", "https://canary.example/v1", "apiUrl: must have a host only: no user, path, query or fragment"),
        ("apiUrl", "https://canary@x.example", "apiUrl: must have a host only: no user, path, query or fragment"),
        ("apiUrl", "https://x.example?canary=1", "apiUrl: must have a host only: no user, path, query or fragment"),
        ("identifyDisabled", "canary", "identifyDisabled: must be true or false"),
        ("trackDisabled", "1", "trackDisabled: must be true or false"),
        ("ambiguousTrack", "canary", "ambiguousTrack: must be retry or deadLetter"),
        ("identifyMapping", '{"canary": ', "identifyMapping: is not JSON: Expecting value at line 1 column 11"),
        (
            "identifyMapping",
            '["canary"]',
            "identifyMapping: must be a JSON object of source to destination, not an array",
        ),
        (
            "trackMapping",
            '{"a": "customer.email", "a": "customer.name"}',
            "trackMapping['a']: stands there twice; one of the two would be ignored",
        ),
        (
            "trackMapping",
            '{"a": "customer.emial"}',
            "trackMapping['a']: 'customer.emial' is no field of Voucherify; did you mean 'customer.email'?",
        ),
        ("trackMapping", "[" * 100_000, "trackMapping: is not JSON: it is nested too deeply"),
        (
            "trackEventsFilter",
            "canary",
            "trackEventsFilter: is not JSON: Expecting value at line 1 column 1",
        ),
        (
            "trackEventsFilter",
            '["Order Completed", 1]',
            'trackEventsFilter: must be a JSON array of event names, such as ["Order Completed"], or a StringList',
        ),
    ],
)
def test_a_fault_names_its_setting_and_what_would_be_right_and_no_value(setting: str, value: str, fault: str) -> None:
    faults = faults_of({**GOOD, setting: value})
    assert [str(fault) for fault in faults] == [fault]
    assert "canary" not in str(faults)


def test_all_faults_are_named_at_once() -> None:
    faults = faults_of(
        {
            "apiUrl": "x",
            "identifyDisabled": "yes",
            "identifyMapping": '{"a": "b", "c": "d"}',
            "trackMapping": "{",
        }
    )
    assert [(fault.setting, fault.key) for fault in faults] == [
        ("apiUrl", ""),
        ("apiKey", ""),
        ("apiToken", ""),
        ("identifyDisabled", ""),
        ("identifyMapping", "a"),
        ("identifyMapping", "c"),
        ("trackMapping", ""),
    ]


def test_secrets_stay_out_of_the_settings_text() -> None:
    text = repr(checked({"apiKey": "canary", "apiToken": "canary", "sharedSecret": "canary"}))
    assert "canary" not in text


def test_http_is_for_loopback() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"):
        assert checked({**GOOD, "apiUrl": url}).api_url == url


def test_ssm_gives_every_page_decrypted_and_with_its_type(aws: LocalAws) -> None:
    names = [f"setting{number}" for number in range(23)]
    aws.put_settings({"apiKey": "decrypted", **dict.fromkeys(names, "x")})
    aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/trackEventsFilter", Value="a,b", Type="StringList")
    aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/shop/apiKey", Value="another source's", Type="String")
    parameters = read_parameters(aws.ssm, SETTINGS_PATH)

    assert parameters.keys() >= {"apiKey", "trackEventsFilter", *names}
    assert "shop" not in parameters
    assert parameters["apiKey"] == Parameter("decrypted")
    assert parameters["trackEventsFilter"] == Parameter("a,b", is_list=True)


def test_ssm_that_cannot_be_reached_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(SettingsUnavailable, match="SSM could not be reached: EndpointConnectionError"):
            read_parameters(aws_client_at("ssm", free.getsockname()[1]), "/x")


def test_ssm_that_refuses_is_unavailable_and_says_why() -> None:
    server = HttpServer(0, lambda request: Reply(400, body=b'{"__type": "AccessDeniedException", "message": "canary"}'))
    with pytest.raises(SettingsUnavailable) as raised:
        read_parameters(aws_client_at("ssm", server.port), "/x")
    server.close()
    assert str(raised.value) == "SSM refused to read /x: AccessDeniedException"


class Source:
    """What SSM holds, when it answers; a fake clock beside it."""

    def __init__(self) -> None:
        self.settings: dict[str, str] | None = dict(GOOD)
        self.reads = 0
        self.now = 1000.0
        self.cache = SettingsCache(
            self.read, 60.0, lambda: self.now, Telemetry(Logger(service="test", level="CRITICAL"), "n", "s", "default")
        )

    def read(self) -> dict[str, Parameter]:
        self.reads += 1
        if self.settings is None:
            raise SettingsUnavailable("SSM is down")
        return {name: Parameter(value) for name, value in self.settings.items()}


def test_settings_are_read_once_for_their_time_to_live() -> None:
    source = Source()
    source.cache.get()
    source.now += 59.9
    source.settings = {**GOOD, "apiKey": "new"}
    assert source.cache.get().api_key == "key"
    source.now += 0.1
    assert source.cache.get().api_key == "new"
    assert source.reads == 2


@pytest.mark.parametrize("broken", [None, {**GOOD, "trackMapping": "{"}], ids=["unreadable", "faulty"])
def test_the_last_good_settings_stay_in_force_and_the_next_ones_are_tried_for(broken: dict[str, str] | None) -> None:
    source = Source()
    source.cache.get()
    source.settings = broken
    source.now += 60
    assert source.cache.get().api_key == "key"
    assert source.cache.get().api_key == "key"
    assert source.reads == 2, "one try for each time to live, while there are settings to go on with"
    source.settings = {**GOOD, "apiKey": "mended"}
    source.now += 60
    assert source.cache.get().api_key == "mended"


def test_without_any_settings_every_request_tries_again() -> None:
    source = Source()
    source.settings = None
    for _ in range(3):
        with pytest.raises(SettingsUnavailable):
            source.cache.get()
    source.settings = dict(GOOD)
    assert source.cache.get().api_key == "key"
    assert source.reads == 4
