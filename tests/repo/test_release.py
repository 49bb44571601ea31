"""`make release`: what is in it, and that the same source gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from samtranslator.yaml_helper import yaml_parse

from scripts import release
from tests.repo.stack import DEFAULTS, PARAMETERS, SOURCE, transformed

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        ".".join(map(str, sys.version_info[:2])) != (ROOT / ".python-version").read_text().strip(),
        reason="a release has byte code of one version of Python",
    ),
]


@pytest.fixture(scope="module")
def released(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    (directory / "of-an-earlier-release.zip").touch()
    release.main(str(build_dir), str(directory))
    return directory


@pytest.fixture(scope="module")
def archive(released: Path) -> Path:
    (found,) = released.glob("*.zip")
    return found


@pytest.fixture(scope="module")
def template(released: Path) -> Any:
    return yaml_parse((released / f"{NAME}.yaml").read_text("utf-8"))


def test_a_release_has_these_files_and_their_checksums(released: Path, archive: Path) -> None:
    sums = dict(line.split("  ")[::-1] for line in (released / "SHA256SUMS").read_text().splitlines())

    assert set(sums) == {archive.name, f"{NAME}.yaml", f"{NAME}.md", f"{NAME}.cdx.json"}
    assert {path.name for path in released.iterdir()} == {*sums, "SHA256SUMS"}
    assert all(hashlib.sha256((released / name).read_bytes()).hexdigest() == sha256 for name, sha256 in sums.items())


def test_the_zip_is_the_artifact(build_dir: Path, archive: Path) -> None:
    artifact = build_dir / "RedeliverFunction"
    files = {str(path.relative_to(artifact)): path.read_bytes() for path in artifact.rglob("*") if path.is_file()}

    with ZipFile(archive) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == files
        assert {entry.external_attr >> 16 for entry in opened.infolist()} == {0o644}, "Lambda reads it as another user"


@pytest.mark.long
def test_the_same_build_gives_the_same_bytes_whatever_its_times_and_permissions(
    build_dir: Path, released: Path, tmp_path: Path
) -> None:
    shutil.copytree(build_dir, tmp_path / "build")
    for path in (tmp_path / "build").rglob("*"):
        path.chmod(path.stat().st_mode | 0o111)
        os.utime(path, (0, 1_000_000_000))

    release.main(str(tmp_path / "build"), str(tmp_path / "dist"))

    again = {path.name: path.read_bytes() for path in (tmp_path / "dist").iterdir()}
    assert again == {path.name: path.read_bytes() for path in released.iterdir()}


def test_the_template_is_the_one_that_make_deploys_but_for_the_place_of_the_code(template: Any, archive: Path) -> None:
    place = {"Bucket": {"Ref": "CodeBucket"}, "Key": f"voucherify-destination/{archive.name}"}
    assert template["Globals"]["Function"].pop("CodeUri") == place
    assert "Default" not in template["Parameters"].pop("CodeBucket")
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    assert interface["ParameterGroups"].pop(0)["Parameters"] == ["CodeBucket"]
    assert interface["ParameterLabels"].pop("CodeBucket")

    expected = {**SOURCE, "Globals": {"Function": {**SOURCE["Globals"]["Function"]}}}
    assert expected["Globals"]["Function"].pop("CodeUri") == "."
    assert template == expected


def test_both_functions_get_their_code_from_the_bucket(released: Path, archive: Path) -> None:
    template = yaml_parse((released / f"{NAME}.yaml").read_text("utf-8"))

    stack = transformed(template, {**DEFAULTS, "CodeBucket": "my-bucket"})

    for name in ("DeliverFunction", "RedeliverFunction"):
        code = stack["Resources"][name]["Properties"]["Code"]
        assert code["S3Key"] == f"voucherify-destination/{archive.name}"
        assert code["S3Bucket"] in ("my-bucket", {"Ref": "CodeBucket"})


def test_another_release_publishes_versions(released: Path, archive: Path) -> None:
    text = (released / f"{NAME}.yaml").read_text("utf-8")
    parameters = {**DEFAULTS, "CodeBucket": "my-bucket"}

    def versions(template: str) -> set[str]:
        resources = transformed(yaml_parse(template), parameters)["Resources"]
        return {name for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Version"}

    assert not versions(text) & versions(text.replace(archive.name, "another.zip"))


@pytest.mark.long
def test_the_template_is_lint_clean(released: Path) -> None:
    from cfnlint.api import lint  # takes a second, which only this test needs
    from cfnlint.config import ManualArgs

    found = lint((released / f"{NAME}.yaml").read_text("utf-8"), config=ManualArgs(regions=["eu-west-1"]))

    assert [match.message for match in found] == []


def test_the_bill_of_materials_has_the_packages_with_licences_and_dependencies(released: Path) -> None:
    bom = json.loads((released / f"{NAME}.cdx.json").read_text("utf-8"))
    packaged = {(component["purl"], bool(component.get("licenses"))) for component in bom["components"]}
    locked = [
        line.split(" ")[0].replace("==", "@")
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line
    ]

    assert packaged == {(f"pkg:pypi/{package}", True) for package in locked}
    root = bom["metadata"]["component"]
    assert (root["name"], root["version"]) == (PROJECT["name"], PROJECT["version"])
    assert any(one["ref"] == root["bom-ref"] and one["dependsOn"] for one in bom["dependencies"])


def test_the_notes_are_the_section_of_the_version(released: Path) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")

    assert changelog.endswith((released / f"{NAME}.md").read_text("utf-8")), "the first version is the last section"


def test_the_section_ends_where_the_next_begins() -> None:
    changelog = "# Changelog\n\n## 0.1.10\n\n- b\n\n## 0.1.1 (2026-12-01)\n\n- a\n\n## 0.1.0\n\n- first\n"

    assert release.section(changelog, "0.1.1") == "- a\n"
    with pytest.raises(SystemExit, match=r"no section '## 0\.1\.2'"):
        release.section(changelog, "0.1.2")


def test_a_template_that_no_longer_fits_ends_the_release() -> None:
    source = (ROOT / "template.yaml").read_text("utf-8")

    with pytest.raises(SystemExit, match="CodeUri"):
        release.packaged(source.replace("    CodeUri: .\n", "    CodeUri: src\n"), "key.zip")


def test_no_parameter_of_the_template_has_the_name_of_the_bucket() -> None:
    assert "CodeBucket" not in PARAMETERS
