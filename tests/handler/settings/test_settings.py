"""Settings: checked all at once, every fault named, never a value."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from handler.model.errors import FaultySettings
from handler.model.policy import AmbiguousTrack, DeliveryPolicy, StaleAttributesAction, UnguardedTrack
from handler.settings.setting_types import Parameter
from handler.settings.settings import Secrets, Settings, check_settings
from handler.settings.sources import DEFAULT_SOURCE
from mapping import EventMapping, Fault

GOOD = {"apiKey": "key", "apiToken": "token", "sharedSecret": "secret"}


def checked(settings: Mapping[str, str]) -> Settings:
    return check_settings(DEFAULT_SOURCE, {name: Parameter(value) for name, value in settings.items()})


def faults_of(settings: Mapping[str, str]) -> list[Fault]:
    with pytest.raises(FaultySettings) as raised:
        checked(settings)
    return list(raised.value.faults)


def test_the_required_ones_are_enough_and_the_rest_has_defaults() -> None:
    assert checked(GOOD) == Settings(
        source="default",
        api_url="https://api.voucherify.io",
        api_key="key",
        api_token="token",
        secrets=Secrets(("secret",), ()),
        is_tracking_api_open=True,
        call_share=80,
        calls_per_day=0,
        policy=DeliveryPolicy(EventMapping.compile({}), AmbiguousTrack.RETRY, UnguardedTrack.QUEUE),
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
            "callShare": " 50 ",
            "staleAttributes": "send",
            "orderEvents": '{"Order *": "PAID"}',
            "trackMapping.orders": '{"Order Completed": {"total": "metadata.total"}}',
            "trackMaping.orders": "{}",
            "identifyMapping.more": "{}",
            "identifyMaping": "{}",
        }
    )
    assert settings.api_url == "https://us1.api.voucherify.io"
    assert settings.call_share == 50
    assert settings.secrets == Secrets(("secret", "old-secret"), ("access", "old-access"))
    assert settings.policy.mapping == EventMapping.compile(
        {
            "identifyDisabled": True,
            "identifyMapping": {"traits.mail": "customer.email"},
            "trackEventsFilter": ["Order Completed", "Signed Up"],
            "trackMapping": {"properties.mail": "customer.email"},
            "trackMapping.orders": {"Order Completed": {"total": "metadata.total"}},
            "orderEvents": {"Order *": "PAID"},
        }
    )
    assert settings.policy.ambiguous_track is AmbiguousTrack.DEAD_LETTER
    assert settings.policy.stale_attributes is StaleAttributesAction.SEND
    assert settings.unknown == ("identifyMaping", "identifyMapping.more", "trackMaping.orders")


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
    mapping = check_settings(DEFAULT_SOURCE, {**good, "trackEventsFilter": parameter}).policy.mapping
    assert set(mapping.track_events_filter.names.exact) == names


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("apiKey", "", "apiKey: is required and not set"),
        ("apiToken", "", "apiToken: is required and not set"),
        ("apiToken", "canary\n", "apiToken: begins or ends with white space; remove it"),
        ("apiKey", "can\x00ary", "apiKey: has characters that an HTTP header cannot hold"),
        ("apiKey", "canäry", "apiKey: has characters that an HTTP header cannot hold"),
        (
            "sharedSecret",
            "",
            "sharedSecret: is not set, nor is accessToken: set one of them, or both, so that requests can be checked",
        ),
        ("sharedSecret", " canary", "sharedSecret: begins or ends with white space; remove it"),
        (
            "accessTokenPrevious",
            "canary",
            "accessTokenPrevious: is accepted beside accessToken, which is not set",
        ),
        ("apiUrl", "canary", "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io"),
        *(
            ("apiUrl", url, "apiUrl: must be the address of the project's cluster, such as https://api.voucherify.io")
            for url in (
                "https://c\u0430nary.example",
                "https://canary\0.example",
                "https://canary\n.example",
                "https://canary .example",
                "https://-canary.example",
                "https://[::g]",
                "https://",
            )
        ),
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
        *(
            ("callShare", value, "callShare: must be a whole number from 1 to 100")
            for value in ("0", "101", "-5", "80%", "8.5", "٨٠", "9" * 30)
        ),
        ("ambiguousTrack", "canary", "ambiguousTrack: must be retry or deadLetter"),
        ("identifyMapping", '{"canary": ', "identifyMapping: is not JSON: Expecting value at line 1 column 12"),
        (
            "identifyMapping",
            '["canary"]',
            "identifyMapping: must be a JSON object of source to destination, not an array",
        ),
        (
            "trackMapping",
            '{"a": "customer.email", "a": "customer.name"}',
            "trackMapping['a']: is there twice; remove one of them",
        ),
        (
            "trackMapping",
            '{"a": "customer.emial"}',
            "trackMapping['a']: 'customer.emial' is not a Voucherify field; did you mean 'customer.email'?",
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
            "trackEventsFilter: must be an array of event names, "
            'such as ["Order Completed", "Viewed *"], or a StringList',
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
        ("apiKey", ""),
        ("apiToken", ""),
        ("apiUrl", ""),
        ("identifyDisabled", ""),
        ("trackMapping", ""),
        ("sharedSecret", ""),
        ("identifyMapping", "a"),
        ("identifyMapping", "c"),
    ]


def test_secrets_stay_out_of_the_settings_text() -> None:
    text = repr(checked({"apiKey": "canary", "apiToken": "canary", "sharedSecret": "canary"}))
    assert "canary" not in text


def test_http_is_for_loopback() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"):
        assert checked({**GOOD, "apiUrl": url}).api_url == url
