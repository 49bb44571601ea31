"""`settings`, as a person calls it, and what lies in Parameter Store afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from cli.output import Output
from cli.settings.file import read_files
from handler.model.deadline import Deadline
from handler.settings.settings import SETTINGS, check_settings
from handler.settings.sources import read_parameters
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.samples import EVENTS
from tests.cli.conftest import SECRET, Run, invoke

MAPPING = {"properties.total": "metadata.total"}
BY_EVENT = {
    "Order Completed": MAPPING,
    "*": {"properties.email": ["customer.email", "metadata.email"], "ref": "metadata"},
}
PRESETS = EVENTS / "presets"


@pytest.fixture
def run(watched_run: Run) -> Run:
    return watched_run


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(
        'trackDisabled = true\ntrackEventsFilter = ["Order *"]\n[trackMapping]\n"properties.total" = "metadata.total"\n'
    )
    return file


def value(aws: LocalAws, name: str) -> str | None:
    try:
        found = aws.ssm.get_parameter(Name=f"{SETTINGS_PATH}/{name}", WithDecryption=True)
    except aws.ssm.exceptions.ParameterNotFound:
        return None
    return found["Parameter"]["Value"]


def in_json(tmp_path: Path, **settings: Any) -> str:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings))
    return str(file)


def in_toml(settings: dict[str, Any]) -> str:
    """Return settings by event as TOML, whose quoted text is that of JSON."""

    def quoted(one: Any) -> str:
        return json.dumps(one, ensure_ascii=False)

    return "".join(
        f"[{quoted(name)}.{quoted(event)}]\n"
        + "".join(f"{quoted(source)} = {quoted(to)}\n" for source, to in rows.items())
        for name, by_event in settings.items()
        for event, rows in by_event.items()
    )


class TestShow:
    def test_secrets_are_masked_and_all_else_is_shown(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackMapping": json.dumps(MAPPING)})
        ended = run("settings", "show")

        rows = dict(line.split("\t", 1) for line in ended.out.splitlines())
        assert ended.code == 0
        assert rows["apiKey"].startswith("set, not shown\tcommon\t20")
        assert rows["accessToken"].startswith("not set\t")
        assert rows["trackMapping"].startswith('{"properties.total": "metadata.total"}\tcommon\t')
        assert rows["identifyMapping"].startswith("12 rows\tdefault")
        assert rows["pageDisabled"].startswith("true\tdefault")

    def test_own_settings_override_common_ones(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"sharedSecretPrevious": "before", "app/sharedSecret": "app's own"})
        settings = run("settings", "show", "--source", "app", "--json").json["settings"]

        assert settings["sharedSecret"]["from"] == "app"
        assert settings["sharedSecretPrevious"]["isSet"] is False
        assert settings["apiKey"]["from"] == "common"
        assert settings["pageDisabled"]["value"] is False
        assert "value" not in settings["apiKey"]

    def test_unknown_setting_is_shown_without_value(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"apiTokn": f"{SECRET}1"})
        ended = run("settings", "show")

        assert f"✗ {SETTINGS_PATH}/apiTokn: unknown setting; did you mean 'apiToken'?" in ended.out

    def test_labelled_parameters_follow_their_setting(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings(
            {
                "trackMapping.orders": json.dumps(BY_EVENT),
                "app/trackMapping.app": json.dumps({"Signed Up": MAPPING}),
                "orderMapping.orders": json.dumps(MAPPING).replace("metadata", "order.metadata"),
            }
        )
        names = [line.split("\t")[0] for line in run("settings", "show").out.splitlines()]
        rows = {line.split("\t")[0]: line.split("\t")[1:3] for line in run("settings", "show").out.splitlines()}
        place = names.index("trackMapping")

        assert names[place : place + 3] == ["trackMapping", "trackMapping.orders", "pageDisabled"]
        assert names[names.index("orderMapping") + 1] == "orderMapping.orders"
        assert rows["trackMapping"] == ["12 rows", "default"]
        assert rows["trackMapping.orders"] == ["Order Completed (1 row), * (2 rows)", "common"]
        of_app = run("settings", "show", "--source", "app", "--json").json
        assert of_app["unknown"] == []
        assert of_app["settings"]["trackMapping.orders"]["value"] == BY_EVENT
        assert (of_app["settings"]["trackMapping.orders"]["from"], of_app["settings"]["trackMapping.app"]["from"]) == (
            "common",
            "app",
        )

    def test_source_without_settings_is_named(self, run: Run) -> None:
        ended = run("settings", "show", "--source", "nope")

        assert (ended.code, ended.out) == (1, "")
        assert ended.err == "✗ source nope has no settings\n  sources with settings: default, app\n"

    @pytest.mark.parametrize("source", ["default", "a/b", ""])
    def test_invalid_source_name_exits_2(self, run: Run, source: str) -> None:
        assert run("settings", "show", "--source", source).code == 2


class TestAsking:
    @pytest.mark.parametrize(
        "command", [["set", "trackDisabled", "true"], ["rollback", "callShare"], ["apply", "{file}"]]
    )
    def test_each_command_that_writes_asks_alike(
        self, run: Run, aws: LocalAws, toml: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
    ) -> None:
        for share in ("70", "60"):
            aws.put_settings({"callShare": share})
        arguments = ("settings", *(part.format(file=toml) for part in command))
        before = run("settings", "show").out

        ended = run(*arguments)
        assert (ended.code, "give --yes to write without asking" in ended.err) == (2, True)
        monkeypatch.setattr(Output, "is_interactive", True)
        assert run(*arguments, stdin="n\n").code == 1
        assert run("settings", "show").out == before
        ended = run(*arguments, stdin="y\n")
        assert (ended.code, ended.err.startswith("Write ")) == (0, True)
        assert run("settings", "show").out != before


class TestSet:
    def test_a_value_is_written_as_a_string(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "trackDisabled", "true")

        assert ended.code == 0
        assert f"✓ {SETTINGS_PATH}/trackDisabled is written" in ended.out
        assert value(aws, "trackDisabled") == "true"
        assert aws.ssm.get_parameter(Name=f"{SETTINGS_PATH}/trackDisabled")["Parameter"]["Type"] == "String"

    @pytest.mark.parametrize("arguments", [["accessToken"], ["accessToken", "-"]])
    def test_secret_from_standard_input_is_encrypted(self, run: Run, aws: LocalAws, arguments: list[str]) -> None:
        ended = run("settings", "set", "--yes", *arguments, stdin=f"{SECRET}token\n")

        assert ended.code == 0
        assert value(aws, "accessToken") == f"{SECRET}token"
        assert aws.ssm.get_parameter(Name=f"{SETTINGS_PATH}/accessToken")["Parameter"]["Type"] == "SecureString"

    def test_secret_on_command_line_warns(self, run: Run) -> None:
        assert (
            "Your shell may record this secret" in run("settings", "set", "--yes", "accessToken", f"{SECRET}token").err
        )

    def test_a_mapping_takes_as_little_room_as_it_can(self, run: Run, aws: LocalAws) -> None:
        run("settings", "set", "--yes", "trackMapping", json.dumps(MAPPING, indent=4))

        assert value(aws, "trackMapping") == '{"properties.total":"metadata.total"}'

    @pytest.mark.parametrize(
        ("name", "given", "fault"),
        [
            ("trackDisabled", "yes", "trackDisabled: must be true or false"),
            ("apiUrl", "ftp://x", "apiUrl: must begin with https://"),
            ("trackMapping", '{"sum(": "metadata.x"}', "trackMapping['sum('], character 5: "),
            ("trackMapping", '{"total": "metdata"}', "did you mean 'metadata'?"),
            ("trackMapping", '{"a": "metadata.a", "a": "metadata.b"}', "trackMapping['a']: "),
            ("sharedSecret", f" {SECRET}", "sharedSecret: begins or ends with white space"),
            ("accessToken", "", "accessToken: is empty, which SSM does not store"),
            ("accessToken", "{{x}}", "accessToken: contains {{ }}"),
        ],
    )
    def test_a_faulty_value_is_not_written(self, run: Run, aws: LocalAws, name: str, given: str, fault: str) -> None:
        before = value(aws, name)
        ended = run("settings", "set", "--yes", name, given)

        assert ended.code == 1
        assert f"✗ {name}" in ended.out
        assert fault in ended.out
        assert value(aws, name) == before

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("trackMaping", "unknown setting 'trackMaping'; did you mean 'trackMapping'?"),
            ("trackMaping.orders", "unknown setting 'trackMaping.orders'; did you mean 'trackMapping.orders'?"),
            (
                "identifyMapping.vip",
                "'identifyMapping.vip'; a label may follow trackMapping, pageMapping, screenMapping, orderMapping",
            ),
            ("trackMapping.", "did you mean 'trackMapping'?"),
            ("trackMapping.a/b", "'trackMapping.a/b': a label has letters, digits, _, . and - only"),
        ],
    )
    @pytest.mark.parametrize("command", [["set"], ["history"], ["rollback"]])
    def test_a_name_that_is_none_is_called_wrongly(self, run: Run, command: list[str], name: str, says: str) -> None:
        ended = run("settings", *command, name, *(["{}"] if command == ["set"] else []))

        assert ended.code == 2
        assert says in ended.err

    def test_a_labelled_parameter_is_written_and_rolled_back(self, run: Run, aws: LocalAws) -> None:
        run("settings", "set", "--yes", "trackMapping.orders", json.dumps(BY_EVENT, indent=2))
        changed = run(
            "settings",
            "set",
            "--yes",
            "trackMapping.orders",
            json.dumps({**BY_EVENT, "Order Completed": {"a": "metadata.a"}}),
        )

        assert changed.out.splitlines()[:3] == [
            "trackMapping.orders",
            '  - "Order Completed": "properties.total": "metadata.total"',
            '  + "Order Completed": "a": "metadata.a"',
        ]
        assert run("settings", "history", "trackMapping.orders", "--json").json[1]["value"] == BY_EVENT
        assert run("settings", "rollback", "--yes", "trackMapping.orders").code == 0
        assert json.loads(value(aws, "trackMapping.orders") or "") == BY_EVENT

    def test_an_event_in_two_parameters_is_refused(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackMapping.orders": json.dumps(BY_EVENT)})
        ended = run("settings", "set", "--yes", "trackMapping.a", json.dumps(BY_EVENT), "--json")

        assert ended.code == 1
        assert {(fault["setting"], fault["event"], fault["problem"]) for fault in ended.json["faults"]} == {
            ("trackMapping.orders", name, "the event is in trackMapping.a too") for name in BY_EVENT
        }
        assert value(aws, "trackMapping.a") is None

    def test_fault_has_setting_event_and_key(self, run: Run) -> None:
        arguments = ("settings", "set", "--yes", "trackMapping.orders", '{"Order Completed": {"total": "metdata"}}')
        (fault,) = run(*arguments, "--json").json["faults"]

        assert (fault["setting"], fault["event"], fault["key"]) == ("trackMapping.orders", "Order Completed", "total")
        assert "✗ trackMapping.orders['Order Completed']['total']: 'metdata' is not" in run(*arguments).out

    def test_set_one_by_one_from_nothing(self, run: Run, aws: LocalAws) -> None:
        aws.delete_settings()
        first = run("settings", "set", "--yes", "apiKey", stdin=f"{SECRET}key")
        run("settings", "set", "--yes", "apiToken", stdin=f"{SECRET}token")
        last = run("settings", "set", "--yes", "sharedSecret", stdin=f"{SECRET}secret")

        assert first.code == last.code == 0
        assert "still wrong: apiToken: is required and not set" in first.err
        assert last.err == ""

    def test_set_despite_other_faults(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackDisabled": "maybe", "identifyDisabled": "maybe"})

        assert run("settings", "set", "--yes", "trackDisabled", "false").code == 0
        assert value(aws, "trackDisabled") == "false"

    def test_common_setting_is_checked_for_every_source(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "trackDisabled", "maybe", "--json")

        assert ended.code == 1
        assert [fault["sources"] for fault in ended.json["faults"]] == [["default", "app"]]

    def test_half_of_the_keys_of_a_source_is_refused(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "apiKey", "--source", "shop", stdin=f"{SECRET}key")

        assert ended.code == 1
        assert "apiToken: is not set for the source shop, which has its own keys" in ended.out
        assert value(aws, "shop/apiKey") is None

    def test_string_list_stays_one(self, run: Run, aws: LocalAws) -> None:
        aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/trackEventsFilter", Type="StringList", Value="A,B")
        ended = run("settings", "set", "--yes", "trackEventsFilter", '["A", "C d"]')
        refused = run("settings", "set", "--yes", "trackEventsFilter", '["A, B"]')

        assert (ended.code, refused.code) == (0, 1)
        assert value(aws, "trackEventsFilter") == "A,C d"
        assert f"delete {SETTINGS_PATH}/trackEventsFilter first" in refused.out

    def test_plain_text_secret_is_refused(self, run: Run, aws: LocalAws) -> None:
        aws.ssm.put_parameter(Name=f"{SETTINGS_PATH}/accessToken", Type="String", Value=f"{SECRET}1")
        ended = run("settings", "set", "--yes", "accessToken", stdin=f"{SECRET}2")

        assert ended.code == 1
        assert "accessToken: is stored as String, and SSM cannot change a type" in ended.out
        assert value(aws, "accessToken") == f"{SECRET}1"


class TestTooLarge:
    @staticmethod
    def mapping(rows: int) -> str:
        return json.dumps({f"properties.é{number:03}": f"metadata.{number:03}" for number in range(rows)})

    def test_it_is_refused_before_anything_is_written(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        file = in_json(tmp_path, trackDisabled=True, trackMapping=json.loads(self.mapping(130)))
        ended = run("settings", "apply", file, "--yes")

        assert ended.code == 1
        assert "SSM stores 4,096 (standard tier); --advanced allows 8 KB" in ended.out
        assert value(aws, "trackDisabled") is None

    def test_events_can_be_spread_over_parameters(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "trackMapping.orders", json.dumps({"A": json.loads(self.mapping(130))}))
        of_identify = run(
            "settings", "set", "--yes", "identifyMapping", self.mapping(130).replace("metadata", "customer.metadata")
        )

        advice = "--advanced allows 8 KB, which AWS charges for, or spread the events over parameters"
        assert f"; {advice} such as trackMapping.<label>\n" in ended.out
        assert "--advanced allows 8 KB, which AWS charges for\n" in of_identify.out

    def test_the_advanced_tier_takes_8_kb_and_stays(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "trackMapping", self.mapping(130), "--advanced")
        again = run("settings", "set", "--yes", "trackMapping", self.mapping(131))

        assert (ended.code, again.code) == (0, 0)
        (described,) = aws.ssm.describe_parameters(
            ParameterFilters=[{"Key": "Name", "Values": [f"{SETTINGS_PATH}/trackMapping"]}]
        )["Parameters"]
        assert described["Tier"] == "Advanced"

    def test_more_is_refused_there_too(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "set", "--yes", "trackMapping", self.mapping(300), "--advanced")

        assert ended.code == 1
        assert (
            "SSM stores 8,192 (advanced tier); spread the events over parameters such as trackMapping.<label>\n"
            in ended.out
        )
        assert value(aws, "trackMapping") is None

    def test_what_fits_stays_on_the_standard_tier(self, run: Run, aws: LocalAws) -> None:
        run("settings", "set", "--yes", "trackDisabled", "true", "--advanced")

        described = aws.ssm.describe_parameters(
            ParameterFilters=[{"Key": "Name", "Values": [f"{SETTINGS_PATH}/trackDisabled"]}]
        )["Parameters"]
        assert [found["Tier"] for found in described] == ["Standard"]


class TestApply:
    def test_what_differs_is_written_and_nothing_else(self, run: Run, aws: LocalAws, toml: Path) -> None:
        aws.put_settings({"trackDisabled": " TRUE ", "trackMapping": '{"properties.x": "metadata.x"}'})
        ended = run("settings", "apply", str(toml), "--yes")

        assert ended.code == 0
        assert '  - "properties.x": "metadata.x"\n  + "properties.total": "metadata.total"\n' in ended.out
        assert "trackDisabled is written" not in ended.out
        assert value(aws, "trackDisabled") == " TRUE "
        assert value(aws, "trackEventsFilter") == '["Order *"]'
        assert value(aws, "trackMapping") == '{"properties.total":"metadata.total"}'

    def test_again_it_changes_nothing(self, run: Run, toml: Path) -> None:
        run("settings", "apply", str(toml), "--yes")
        ended = run("settings", "apply", str(toml), "--yes")

        assert (ended.code, ended.out) == (0, f"✓ no changes to {SETTINGS_PATH}\n")

    def test_json_file_with_schema_and_secrets(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        file = in_json(tmp_path, **{"$schema": "../settings.schema.json", "accessToken": f"{SECRET}token"})
        ended = run("settings", "apply", file, "--yes", "--json")

        assert ended.json["written"] == ["accessToken"]
        assert ended.json["changes"] == [{"setting": "accessToken", "isNew": True, "isSecret": True}]
        assert value(aws, "accessToken") == f"{SECRET}token"

    def test_a_source_gets_what_is_its_own(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        file = in_json(tmp_path, apiKey=f"{SECRET}key", apiToken=f"{SECRET}token", trackDisabled=True)

        assert run("settings", "apply", file, "--source", "shop", "--yes").code == 0
        assert value(aws, "shop/trackDisabled") == "true"
        assert value(aws, "trackDisabled") is None

    def test_every_fault_is_named_and_nothing_written(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        file = in_json(
            tmp_path,
            apiKey=5,
            apiTokn=f"{SECRET}token",
            trackDisabled="true",
            identifyDisabled=True,
            trackMapping={"sum(": "metadata.x", "a": "nowhere"},
        )
        ended = run("settings", "apply", file, "--yes", "--json")

        faults = {(fault["setting"], fault["key"], fault["position"]) for fault in ended.json["faults"]}
        assert ended.code == 1
        assert faults == {
            ("apiKey", "", None),
            ("apiTokn", "", None),
            ("trackDisabled", "", None),
            ("trackMapping", "sum(", 4),
            ("trackMapping", "a", None),
        }
        assert value(aws, "identifyDisabled") is None

    def test_without_terminal_yes_is_required(self, run: Run, aws: LocalAws, toml: Path) -> None:
        ended = run("settings", "apply", str(toml))

        assert ended.code == 2
        assert "give --yes" in ended.err
        assert value(aws, "trackDisabled") is None

    @pytest.mark.parametrize(("answer", "code", "written"), [("y\n", 0, "true"), ("n\n", 1, None)])
    def test_a_person_is_asked(
        self,
        run: Run,
        aws: LocalAws,
        toml: Path,
        person: None,
        answer: str,
        code: int,
        written: str | None,
    ) -> None:
        ended = run("settings", "apply", str(toml), stdin=answer)

        assert ended.code == code
        assert f"Write trackDisabled, trackEventsFilter, trackMapping to {SETTINGS_PATH}?" in ended.err
        assert value(aws, "trackDisabled") == written

    def test_a_dry_run_shows_and_writes_nothing(self, run: Run, aws: LocalAws, toml: Path) -> None:
        ended = run("settings", "apply", str(toml), "--dry-run", "--json")

        assert (ended.code, ended.json["written"]) == (0, [])
        assert [change["after"] for change in ended.json["changes"]] == [True, ["Order *"], MAPPING]
        assert value(aws, "trackDisabled") is None

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("x.toml", '[trackMapping]\nproperties.total = "metadata.total"', "put a source with dots in quotes"),
            ("x.json", '{"trackDisabled": true, "trackDisabled": false}', "is set twice"),
            ("x.json", '{"trackMapping": {"a": "metadata.a", "a": "metadata.b"}}', "x.json['a']: is set twice"),
        ],
    )
    def test_ambiguous_file_is_faulty(self, run: Run, tmp_path: Path, name: str, content: str, says: str) -> None:
        (tmp_path / name).write_text(content)
        ended = run("settings", "apply", str(tmp_path / name), "--yes")

        assert ended.code == 1
        assert says in ended.out

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("x.toml", f'apiKey = "{SECRET}', "is not TOML"),
            ("x.json", f'{{"apiKey": "{SECRET}', "is not JSON"),
            ("x.json", "[]", "is not an object of settings"),
            ("x.yaml", "{}", "is neither .toml nor .json"),
        ],
    )
    def test_a_file_that_cannot_be_read_ends_with_2(
        self, run: Run, tmp_path: Path, name: str, content: str, says: str
    ) -> None:
        (tmp_path / name).write_text(content)
        ended = run("settings", "apply", str(tmp_path / name), "--yes")

        assert ended.code == 2
        assert says in ended.err

    def test_a_file_that_is_not_there_ends_with_2(self, run: Run, tmp_path: Path) -> None:
        assert run("settings", "apply", str(tmp_path / "nothing.toml")).code == 2

    def test_mappings_by_event_in_both_formats(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        in_toml = tmp_path / "settings.toml"
        in_toml.write_text(
            """["trackMapping.orders"."Order Completed"]
"properties.total" = "metadata.total"
["trackMapping.orders"."*"]
"properties.email" = ["customer.email", "metadata.email"]
ref = "metadata"
[orderEvents]
"Order Completed" = "PAID"
"""
        )
        events = {"Order Completed": "PAID"}
        in_json_too = in_json(tmp_path, **{"trackMapping.orders": BY_EVENT}, orderEvents=events)

        assert run("settings", "apply", str(in_toml), "--yes").code == 0
        assert json.loads(value(aws, "trackMapping.orders") or "") == BY_EVENT
        assert run("settings", "diff", in_json_too).code == 0

    def test_the_order_of_event_names_makes_no_difference(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        aws.put_settings({"trackMapping": json.dumps(dict(reversed(BY_EVENT.items())))})

        assert run("settings", "diff", in_json(tmp_path, trackMapping=BY_EVENT)).code == 0

    def test_several_files(self, run: Run, aws: LocalAws, tmp_path: Path, toml: Path) -> None:
        ended = run("settings", "apply", str(toml), in_json(tmp_path, requireUserId=True), "--yes", "--json")

        assert ended.json["written"] == ["trackDisabled", "trackEventsFilter", "trackMapping", "requireUserId"]
        assert value(aws, "requireUserId") == "true"

    def test_a_setting_in_two_files_is_refused(self, run: Run, aws: LocalAws, tmp_path: Path, toml: Path) -> None:
        other = in_json(tmp_path, trackDisabled=True, requireUserId=True)
        for command in (["apply", "--yes"], ["diff"]):
            ended = run("settings", *command, str(toml), other)

            assert ended.code == 1
            assert f"✗ trackDisabled: is in {toml} and in {other}; remove it from one of them\n" in ended.out
        assert value(aws, "requireUserId") is None

    def test_a_file_given_twice_counts_once(self, run: Run, toml: Path) -> None:
        assert run("settings", "apply", str(toml), str(toml), "--dry-run").code == 0

    def test_a_preset_is_a_file(self, run: Run, aws: LocalAws) -> None:
        preset = PRESETS / "referral.json"
        ended = run("settings", "apply", str(preset), "--yes")

        assert ended.code == 0
        settings = json.loads(preset.read_text())["settings"]
        assert json.loads(value(aws, "trackMapping.referral") or "") == settings["trackMapping.referral"]
        assert run("settings", "diff", str(preset)).code == 0

    @pytest.mark.parametrize(
        ("content", "place", "says"),
        [
            (
                "[trackMapping]\nproperties.total = 'metadata.total'",
                "['properties']",
                "put a source with dots in quotes",
            ),
            ("[trackMapping]\n'a' = 'metadata'\ncontext.ip = 'metadata.ip'", "['context']", "put a source with dots"),
            (
                "[trackMapping.Viewed]\nproperties.a = 'metadata.a'",
                "['Viewed']['properties']",
                "put a source with dots",
            ),
            (
                "[trackMapping.orders.Viewed]\na = 'metadata.a'",
                "['orders']['Viewed']",
                'is an object; a label belongs to the name of the parameter, in quotes: "trackMapping.orders"',
            ),
            ("[identifyMapping.Viewed]\na = 'customer.metadata.a'", "['Viewed']", "put a source with dots"),
            ("['trackMapping.a b']\na = 'metadata.a'", ".a b", "a label has letters, digits"),
            ("[trackMapping]\na = 'metadata.a'\nViewed.b = 'metadata'", "['Viewed']", "an object among rows"),
        ],
    )
    def test_tables_that_are_no_mapping_of_an_event(
        self, run: Run, tmp_path: Path, content: str, place: str, says: str
    ) -> None:
        (tmp_path / "x.toml").write_text(content)
        ended = run("settings", "apply", str(tmp_path / "x.toml"), "--yes")

        assert ended.code == 1
        assert f"Mapping{place}: {says}" in ended.out.replace("is a table; ", "")
        assert ended.out.count("✗") == 1


class TestRoundTrip:
    def test_from_a_file_over_parameter_store_to_the_function_and_back(
        self, run: Run, aws: LocalAws, tmp_path: Path
    ) -> None:
        settings = {
            "trackMapping": {"*": {"properties.email": "customer.email"}},
            "trackMapping.orders": {"Order Completed": {"a": ["metadata.a", "metadata.b"], 'a."ü.q"': "metadata.ü"}},
            "trackMapping.more": {"Subscription *": {}, "Viewed 'it'": {"sum(products[*].price)": "metadata.sum"}},
            "orderMapping.x": {"Order Completed": {"id": "order.source_id"}},
            "pageMapping.y": {"Home": {"a": "metadata.a"}},
            "orderEvents": {"Order Completed": "PAID"},
        }
        file = in_json(tmp_path, **settings)
        assert run("settings", "apply", file, "--yes").code == 0

        read = check_settings("default", read_parameters(aws.ssm, SETTINGS_PATH, Deadline.after(3600.0))["default"])
        assert read.unknown == ()
        rules = {
            str(named): {(rule.source.text, rule.destination) for rule in named.rules}
            for setting in ("trackMapping", "orderMapping", "pageMapping")
            for named in read.policy.mapping.rules[setting]
            if named.parameter
        }
        assert rules == {
            "trackMapping['*']": {("properties.email", "customer.email")},
            "trackMapping.orders['Order Completed']": {
                ("a", "metadata.a"),
                ("a", "metadata.b"),
                ('a."ü.q"', "metadata.ü"),
            },
            "trackMapping.more['Subscription *']": set(),
            "trackMapping.more[\"Viewed 'it'\"]": {("sum(products[*].price)", "metadata.sum")},
            "orderMapping.x['Order Completed']": {("id", "order.source_id")},
            "pageMapping.y['Home']": {("a", "metadata.a")},
        }
        shown = run("settings", "show", "--json").json["settings"]
        assert {name: shown[name]["value"] for name in settings} == settings
        assert run("settings", "diff", file).out == f"✓ no differences from {SETTINGS_PATH}\n"

    @given(
        st.dictionaries(
            st.from_regex(r"trackMapping(\.[A-Za-z0-9_.-]{1,8})?", fullmatch=True).filter(lambda name: name[-1] != "."),
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
                    lambda name: name not in ("traits", "properties", "context")
                ),
                st.dictionaries(
                    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
                    st.sampled_from(["metadata.a", "customer.email", ["metadata.a", "metadata.b"]]),
                    max_size=2,
                ),
                min_size=1,
                max_size=3,
            ),
            max_size=3,
        )
    )
    def test_files_of_both_formats_have_what_was_written(
        self, tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]
    ) -> None:
        folder = tmp_path_factory.mktemp("files")
        (folder / "a.json").write_text(json.dumps(settings), "utf-8")
        (folder / "a.toml").write_text(in_toml(settings), "utf-8")
        for name in ("a.json", "a.toml"):
            parameters, faults = read_files([folder / name])
            assert faults == []
            assert {
                name: SETTINGS["trackMapping"].type.read(name, parameter) for name, parameter in parameters.items()
            } == settings


class TestDiff:
    def test_it_shows_what_apply_would_change(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        aws.put_settings({"trackDisabled": "false"})
        file = in_json(tmp_path, trackDisabled=True, apiKey=f"{SECRET}key", sharedSecret="local-shared-secret")
        ended = run("settings", "diff", file)

        assert ended.code == 1
        assert ended.out == "trackDisabled\n  - false\n  + true\napiKey\n  ~ different secret\n"
        assert value(aws, "trackDisabled") == "false"

    def test_nothing_differs(self, run: Run, toml: Path) -> None:
        run("settings", "apply", str(toml), "--yes")

        assert run("settings", "diff", str(toml)).code == 0


class TestHistory:
    def test_versions_show_changes(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackMapping": '{"a": "metadata.a"}'})
        aws.put_settings({"trackMapping": '{"a": "metadata.a", "b": "metadata.b"}'})
        lines = run("settings", "history", "trackMapping").out.splitlines()

        assert [line.split("  ")[0] for line in lines] == ["version 2", "", "version 1", ""]
        assert lines[1::2] == ['  + "b": "metadata.b"', '  + "a": "metadata.a"']

    def test_of_a_secret_there_is_when_and_who_only(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"apiKey": f"{SECRET}key"})
        versions = run("settings", "history", "apiKey", "--json").json

        assert [version["version"] for version in versions][-1] == 1
        assert all(version.keys() == {"version", "changedAt", "by"} for version in versions)

    def test_unset_setting_has_no_history(self, run: Run) -> None:
        ended = run("settings", "history", "trackMapping")

        assert ended.code == 1
        assert "is not set" in ended.err


class TestRollback:
    def test_previous_version_is_restored(self, run: Run, aws: LocalAws) -> None:
        for flag in ("true", "false"):
            aws.put_settings({"trackDisabled": flag})

        assert run("settings", "rollback", "--yes", "trackDisabled").code == 0
        assert value(aws, "trackDisabled") == "true"

    def test_any_version_is_restored(self, run: Run, aws: LocalAws) -> None:
        for url in ("https://a.example", "https://b.example", "https://c.example"):
            aws.put_settings({"apiUrl": url})
        newest = run("settings", "history", "apiUrl", "--json").json[0]["version"]

        assert run("settings", "rollback", "--yes", "apiUrl", "--to", str(newest - 2)).code == 0
        assert value(aws, "apiUrl") == "https://a.example"
        assert run("settings", "rollback", "--yes", "apiUrl", "--to", "999").code == 2

    def test_secret_is_restored(self, run: Run, aws: LocalAws) -> None:
        before = value(aws, "apiToken")
        run("settings", "set", "--yes", "apiToken", stdin=f"{SECRET}token")

        assert run("settings", "rollback", "--yes", "apiToken").code == 0
        assert value(aws, "apiToken") == before

    def test_faulty_version_is_not_restored(self, run: Run, aws: LocalAws) -> None:
        for flag in ("maybe", "false"):
            aws.put_settings({"trackDisabled": flag})
        ended = run("settings", "rollback", "--yes", "trackDisabled")

        assert ended.code == 1
        assert "must be true or false" in ended.out
        assert value(aws, "trackDisabled") == "false"

    def test_the_first_version_has_none_before_it(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackDisabled": "true"})

        assert run("settings", "rollback", "--yes", "trackDisabled").code == 1


def test_a_refusal_of_ssm_does_not_tell_the_value(run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    call = vars(BaseClient)["_make_api_call"]

    def refusing(self: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        if operation != "PutParameter":
            return call(self, operation, arguments)
        message = f"Value {arguments['Value']!r} at 'value' is not to my liking"
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", refusing)
    ended = run("settings", "set", "--yes", "apiKey", stdin=f"{SECRET}key")

    assert ended.code == 3
    assert f"SSM refused {SETTINGS_PATH}/apiKey: ValidationException: Value '***' at 'value'" in ended.err


def test_stack_gives_settings_path_and_kms_key(aws: LocalAws) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/settings"
    template = {
        "Parameters": {"SettingsPath": {"Type": "String"}, "SettingsKmsKeyArn": {"Type": "String"}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {"EventsUrl": {"Value": "https://events.example/events"}},
    }
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName="of-settings",
        TemplateBody=json.dumps(template),
        Parameters=[
            {"ParameterKey": "SettingsPath", "ParameterValue": "/of-a-stack"},
            {"ParameterKey": "SettingsKmsKeyArn", "ParameterValue": key},
        ],
    )
    try:
        for name in ("apiKey", "trackDisabled"):
            arguments = ["settings", "set", "--yes", name, "-", "--stack", "of-settings"]
            assert invoke(*arguments, stdin="true").code == 0
        described = aws.ssm.describe_parameters(
            ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/of-a-stack"]}]
        )["Parameters"]
    finally:
        client.delete_stack(StackName="of-settings")
        aws.ssm.delete_parameters(Names=["/of-a-stack/apiKey", "/of-a-stack/trackDisabled"])

    assert {found["Name"]: (found["Type"], found.get("KeyId")) for found in described} == {
        "/of-a-stack/apiKey": ("SecureString", key),
        "/of-a-stack/trackDisabled": ("String", None),
    }


@pytest.mark.parametrize("command", ["show", "set", "apply", "diff", "history", "rollback"])
def test_the_help_has_an_example(command: str) -> None:
    ended = invoke("settings", command, "--help")

    assert f"voucherify-destination settings {command}" in " ".join(ended.out.split()).split("Example", 1)[1]


class TestOneSetting:
    def test_get_prints_the_value_in_force(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackMapping": json.dumps(MAPPING), "app/callShare": "50"})

        assert run("settings", "get", "trackMapping").out == f"{json.dumps(MAPPING)}\n"
        assert run("settings", "get", "callShare").out == "80\n"
        assert run("settings", "get", "callShare", "--source", "app").out == "50\n"
        assert run("settings", "get", "apiKey").out == "set, not shown\n"
        assert run("settings", "get", "callShare", "--source", "app", "--json").json["from"] == "app"
        assert run("settings", "get", "callShare", "--source", "nope").code == 1
        assert run("settings", "get", "callShar").code == 2

    def test_unset_deletes_and_the_default_is_in_force(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"callShare": "50"})
        assert run("settings", "unset", "callShare").code == 2, "nobody was asked"
        assert value(aws, "callShare") == "50"
        ended = run("settings", "unset", "callShare", "--yes")

        assert (ended.code, value(aws, "callShare")) == (0, None)
        assert run("settings", "get", "callShare").out == "80\n"
        assert run("settings", "unset", "callShare", "--yes").err == f"✗ {SETTINGS_PATH}/callShare is not set\n"

    def test_unset_refuses_what_would_break_a_source(self, run: Run, aws: LocalAws) -> None:
        ended = run("settings", "unset", "apiToken", "--yes")

        assert ended.code == 1
        assert "apiToken: is required and not set" in ended.out
        assert value(aws, "apiToken")

    def test_rotate_keeps_the_old_secret_accepted(self, run: Run, aws: LocalAws) -> None:
        old = value(aws, "sharedSecret")
        ended = run("settings", "rotate", "sharedSecret", "--yes")

        assert ended.code == 0
        assert value(aws, "sharedSecretPrevious") == old
        assert len(value(aws, "sharedSecret") or "") == 64
        assert "voucherify-destination settings unset sharedSecretPrevious" in ended.out
        assert run("settings", "unset", "sharedSecretPrevious", "--yes").code == 0
        assert run("settings", "rotate", "apiKey", "--yes").code == 2
        assert run("settings", "rotate", "accessToken", "--yes").code == 1

    def test_what_is_pulled_can_be_applied(self, run: Run, aws: LocalAws, tmp_path: Path) -> None:
        aws.put_settings(
            {
                "trackMapping.orders": json.dumps(BY_EVENT),
                "callShare": "50",
                "trackDisabled": "true",
                "trackEventsFilter": '["Order *"]',
            }
        )
        file = tmp_path / "settings.json"
        ended = run("settings", "pull", str(file))

        assert ended.code == 0
        pulled = json.loads(file.read_text())
        assert pulled.keys() == {
            "$schema", "apiUrl", "trackMapping.orders", "callShare", "trackDisabled", "trackEventsFilter"
        }  # fmt: skip
        assert run("settings", "diff", str(file)).out == f"✓ no differences from {SETTINGS_PATH}\n"
        assert run("settings", "pull", str(file)).code == 2, "it is not overwritten"


class TestSources:
    def test_each_source_with_its_url_and_faults(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"shop/callShare": "500"})
        ended = run("sources", "list")
        header, *lines = [line.split("\t") for line in ended.out.splitlines()]

        assert header == ["source", "url", "own settings", "faults"]
        assert [(line[0], line[1].partition("/events")[2], line[3]) for line in lines] == [
            ("default", "", ""),
            ("app", "/app", ""),
            ("shop", "/shop", "callShare: must be a whole number from 1 to 100"),
        ]
        assert run("sources", "list", "--json").json["sources"][2]["ownSettings"] == ["callShare"]
