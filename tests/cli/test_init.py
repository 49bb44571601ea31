"""`init`: from nothing to what is to be done in Segment; again, it changes nothing."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from cli.target import Target
from handler.model.deadline import Deadline
from handler.settings.sources import read_parameters
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.samples import SHARED_SECRET
from local.stack.system import API_KEY, API_TOKEN, LocalSystem
from local.voucherify_stub.stub import Fault, VoucherifyStub
from tests.cli.conftest import SECRET, Run, invoke, use_target


@pytest.fixture
def run(watched_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("VOUCHERIFY_API_KEY", "VOUCHERIFY_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return watched_run


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOUCHERIFY_API_KEY", API_KEY)
    monkeypatch.setenv("VOUCHERIFY_API_TOKEN", API_TOKEN)


def parameters(aws: LocalAws, source: str = "default") -> dict[str, str]:
    found = read_parameters(aws.ssm, SETTINGS_PATH, Deadline.after(3600.0)).get(source, {})
    return {name: parameter.value for name, parameter in found.items()}


def test_person_answers_and_sees_the_steps(run: Run, system: LocalSystem, person: None) -> None:
    system.aws.delete_settings()
    typed = "\n".join((system.voucherify.url, API_KEY, API_TOKEN, "y", ""))
    ended = run("init", stdin=typed)

    stored = parameters(system.aws)
    assert ended.code == 0
    assert stored.keys() == {"apiKey", "apiToken", "apiUrl", "sharedSecret", "accessToken"}
    assert (stored["apiKey"], stored["apiToken"], stored["apiUrl"]) == (API_KEY, API_TOKEN, system.voucherify.url)
    assert len(stored["sharedSecret"]) == len(stored["accessToken"]) == 64
    assert stored["sharedSecret"] != stored["accessToken"]
    assert f"URL: {system.url}/events" in ended.out
    assert f"--name {SETTINGS_PATH}/sharedSecret" in ended.out
    assert f"--name {SETTINGS_PATH}/accessToken" in ended.out
    assert [(call.method, call.path) for call in system.voucherify.calls] == [("GET", "/v1/customers?limit=1")]


def test_default_cluster_is_europe(run: Run, aws: LocalAws, person: None) -> None:
    aws.delete_settings()
    ended = run("init", "--skip-check", stdin=f"\n{SECRET}key\n{SECRET}token\ny\n")

    assert ended.code == 0
    assert parameters(aws)["apiUrl"] == "https://api.voucherify.io"


def test_a_person_may_say_no(run: Run, aws: LocalAws, person: None) -> None:
    aws.delete_settings()
    ended = run("init", "--skip-check", stdin=f"us1\n{SECRET}key\n{SECRET}token\nn\n")

    assert ended.code == 1
    assert f"Write sharedSecret, accessToken, apiUrl, apiKey, apiToken to {SETTINGS_PATH}?" in ended.err
    assert parameters(aws) == {}


def test_a_script_gives_variables(run: Run, system: LocalSystem, keys: None) -> None:
    system.aws.delete_settings()
    ended = run("init", "--yes", "--cluster", system.voucherify.url, "--json")

    assert ended.code == 0
    assert ended.json["written"] == ["sharedSecret", "accessToken", "apiUrl", "apiKey", "apiToken"]
    assert ended.json["eventsUrl"] == f"{system.url}/events"
    assert ended.json["copy"].keys() == {"sharedSecret", "accessToken"}
    types = {
        name: system.aws.ssm.get_parameter(Name=f"{SETTINGS_PATH}/{name}")["Parameter"]["Type"]
        for name in ended.json["written"]
    }
    assert types == {**dict.fromkeys(types, "SecureString"), "apiUrl": "String"}


def test_credentials_from_files(run: Run, aws: LocalAws, tmp_path: Path) -> None:
    aws.delete_settings()
    for name in ("key", "token"):
        (tmp_path / name).write_text(f"{SECRET}{name}\n")
    ended = run(
        *("init", "--yes", "--cluster", "as1", "--skip-check"),
        *("--api-key-file", str(tmp_path / "key"), "--api-token-file", str(tmp_path / "token")),
    )

    assert ended.code == 0
    stored = parameters(aws)
    assert (stored["apiKey"], stored["apiToken"]) == (f"{SECRET}key", f"{SECRET}token")
    assert stored["apiUrl"] == "https://as1.api.voucherify.io"


def test_second_run_changes_nothing(run: Run, system: LocalSystem, keys: None) -> None:
    system.aws.delete_settings()
    run("init", "--yes", "--cluster", system.voucherify.url)
    before = parameters(system.aws)
    ended = run("init")

    assert ended.code == 0
    assert "✓ apiKey is unchanged" in ended.out
    assert f"URL: {system.url}/events" in ended.out
    assert parameters(system.aws) == before


def test_it_asks_only_for_what_is_missing(run: Run, system: LocalSystem, person: None) -> None:
    system.aws.ssm.delete_parameter(Name=f"{SETTINGS_PATH}/apiToken")
    ended = run("init", stdin=f"{API_TOKEN}\ny\n")

    assert ended.code == 0
    assert "Secret Key" in ended.err
    assert "Application ID" not in ended.err
    stored = parameters(system.aws)
    assert (stored["apiKey"], stored["apiToken"], stored["sharedSecret"]) == (API_KEY, API_TOKEN, SHARED_SECRET)


def test_existing_secret_stays_the_only_one(run: Run, aws: LocalAws) -> None:
    """Another one would shut out a Segment that does not send it."""
    ended = run("init", "--yes", "--json")

    assert ended.json["written"] == []
    assert "accessToken" not in parameters(aws)
    assert not any("Authorization" in step for step in ended.json["steps"])


def test_new_source_gets_own_credentials(run: Run, system: LocalSystem, keys: None) -> None:
    ended = run("init", "--source", "shop", "--yes", "--cluster", system.voucherify.url)

    own = parameters(system.aws, "shop")
    assert ended.code == 0
    assert own.keys() == {"apiKey", "apiToken", "apiUrl", "sharedSecret", "accessToken"}
    assert own["sharedSecret"] != SHARED_SECRET
    assert f"URL: {system.url}/events/shop" in ended.out
    assert f"--name {SETTINGS_PATH}/shop/sharedSecret" in ended.out


def test_what_a_source_inherits_is_not_asked_for(run: Run, aws: LocalAws) -> None:
    before = parameters(aws, "app")
    ended = run("init", "--source", "app", "--yes")

    assert ended.code == 0
    assert parameters(aws, "app") == before
    assert f"--name {SETTINGS_PATH}/sharedSecret" in ended.out
    assert f"--name {SETTINGS_PATH}/app/accessToken" in ended.out


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(401), "refused the credentials (401)"),
        (Fault(403), "lack the permission to read customers (403"),
        (Fault(404), "check that this is the address of Voucherify's API"),
        (Fault(429), "the calls of this window are used up (429)"),
        (Fault(503), "is failing (503)"),
        (Fault(drop="before"), "the connection ended"),
    ],
)
def test_invalid_credentials_are_not_written(
    run: Run, system: LocalSystem, voucherify: VoucherifyStub, keys: None, fault: Fault, says: str
) -> None:
    system.aws.delete_settings()
    voucherify.rule = lambda call: fault
    ended = run("init", "--yes", "--cluster", voucherify.url)

    assert ended.code == 1
    assert says in ended.err
    assert "--skip-check" in ended.err
    assert parameters(system.aws) == {}


def test_credential_unfit_for_a_header_is_not_sent(
    run: Run, system: LocalSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.aws.delete_settings()
    monkeypatch.setenv("VOUCHERIFY_API_KEY", f"{SECRET}é")
    monkeypatch.setenv("VOUCHERIFY_API_TOKEN", f"{SECRET}token")
    ended = run("init", "--yes", "--cluster", system.voucherify.url)

    assert ended.code == 1
    assert "apiKey: has characters that an HTTP header cannot hold" in ended.out
    assert (parameters(system.aws), system.voucherify.calls) == ({}, [])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "--yes"], "set VOUCHERIFY_API_KEY, or give --api-key-file"),
        (["init", "--yes", "--cluster", "us2"], "did you mean 'us1'?"),
    ],
)
def test_script_without_credentials_exits_2(run: Run, aws: LocalAws, arguments: list[str], says: str) -> None:
    aws.delete_settings()
    ended = run(*arguments)

    assert ended.code == 2
    assert says in ended.err


def test_other_cluster_is_refused(run: Run) -> None:
    ended = run("init", "--yes", "--cluster", "us1")

    assert ended.code == 2
    assert "settings set apiUrl https://us1.api.voucherify.io" in ended.err


def test_without_yes_and_terminal_exits_2(run: Run, system: LocalSystem, keys: None) -> None:
    system.aws.delete_settings()
    ended = run("init", "--cluster", system.voucherify.url)

    assert ended.code == 2
    assert "give --yes" in ended.err
    assert parameters(system.aws) == {}


def test_missing_region_is_asked_for(
    run: Run, system: LocalSystem, person: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    known = {"EventsUrl": f"{system.url}/events", "SettingsPath": SETTINGS_PATH}
    target = Target("local", boto3.Session(), system.aws.url, known)
    use_target(monkeypatch, target)
    ended = run("init", stdin="eu-west-1\n")

    assert ended.code == 0
    assert "AWS region" in ended.err
    assert "--region eu-west-1" in ended.out


def test_the_help_has_examples() -> None:
    assert "voucherify-destination init --yes" in " ".join(invoke("init", "--help").out.split())
