"""What `sam build` makes, and when it must refuse. Like `make setup`, this needs the package registry."""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

import handler
from local.stack.emulator import AWS_SDK, SITE_PACKAGES

ROOT = Path(__file__).parents[2]

IS_LAMBDAS_PYTHON = ".".join(map(str, sys.version_info[:2])) == (ROOT / ".python-version").read_text().strip()

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
for package in map(importlib.import_module, ("handler", "mapping")):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories that `sam build` makes of this checkout, by the function that each is for."""
    build_dir = tmp_path_factory.mktemp("build")
    sam = [sys.executable, "-m", "samcli", "build", "--build-dir", str(build_dir)]
    subprocess.run(sam, cwd=ROOT, check=True, capture_output=True)
    return {path.name: path for path in build_dir.iterdir() if path.is_dir()}


@pytest.fixture
def artifact(artifacts: dict[str, Path]) -> Path:
    return artifacts["DeliverFunction"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the build reads, to be broken."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("Makefile", ".python-version", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, copy)
    for name in ("handler", "mapping", "scripts"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def build(checkout: Path) -> "subprocess.CompletedProcess[str]":
    target = checkout / "artifact"
    make = ["make", "--old-file=.venv/installed", "build-DeliverFunction", f"ARTIFACTS_DIR={target}"]
    return subprocess.run(make, cwd=checkout, check=False, capture_output=True, text=True)


def without(package: str, requirements: str) -> str:
    left, removed = re.subn(rf"^{package}==.*\n(?: +--hash.*\n)+", "", requirements, flags=re.MULTILINE)
    assert removed == 1
    return left


def locked(requirements: str) -> set[tuple[str, str]]:
    """The packages of a lock file, with their versions."""
    return set(re.findall(r"^(\S+)==(\S+)", (ROOT / requirements).read_text(), re.MULTILINE))


def content(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_function_is_deployed_with_the_same_files(artifacts: dict[str, Path], artifact: Path) -> None:
    assert set(artifacts) == {"DeliverFunction", "RedeliverFunction"}
    assert content(artifacts["RedeliverFunction"]) == content(artifact)


def test_the_artifact_holds_the_two_packages_and_the_functions_dependencies_alone(artifact: Path) -> None:
    top_level = {path.name for path in artifact.iterdir() if path.suffix != ".dist-info"} - {"__pycache__"}

    assert top_level == {
        "handler",
        "mapping",
        "aws_lambda_powertools",
        "jmespath",
        "typing_extensions.py",
        "urllib3",
    }


def test_the_artifact_holds_the_locked_versions(artifact: Path) -> None:
    built = {(found.name.replace("_", "-"), found.version) for found in distributions(path=[str(artifact)])}

    assert built == locked("requirements.txt")


def test_the_artifact_holds_all_of_the_source(artifact: Path) -> None:
    source = {str(path.relative_to(ROOT)) for room in ("handler", "mapping") for path in (ROOT / room).rglob("*.py")}
    built = {
        str(path.relative_to(artifact)) for room in ("handler", "mapping") for path in (artifact / room).rglob("*.py")
    }

    assert built == source


@pytest.mark.skipif(not IS_LAMBDAS_PYTHON, reason="byte code is of one version of Python")
def test_what_a_function_imports_is_compiled_and_taken_as_it_is(artifact: Path) -> None:
    """Lambda's code is read-only, and files get other times on their way there."""
    compiled = {path.relative_to(artifact) for path in artifact.rglob("*.pyc")}
    for imported in ("handler/app", "handler/redelivery", "mapping/rules", "jmespath/visitor", "urllib3/connection"):
        path = Path(imported)
        assert path.parent / "__pycache__" / f"{path.name}.cpython-313.pyc" in compiled
    for path in compiled:
        code = (artifact / path).read_bytes()
        assert int.from_bytes(code[4:8], "little") == 0b01, "by hash, unchecked"
        assert b"/var/task/" in code
        assert str(artifact).encode() not in code


@pytest.mark.skipif(IS_LAMBDAS_PYTHON, reason="there is byte code")
def test_without_lambdas_own_python_there_is_no_byte_code(artifact: Path) -> None:
    assert not list(artifact.rglob("*.pyc"))


def test_the_artifact_is_small(artifact: Path) -> None:
    assert sum(path.stat().st_size for path in artifact.rglob("*")) < 6_000_000


def test_what_is_deployed_imports_with_nothing_but_itself_and_lambdas_own_packages(
    artifact: Path, tmp_path: Path
) -> None:
    """An import that only the tests' packages satisfy would pass every other test and fail on Lambda."""
    for name in AWS_SDK:
        (tmp_path / name).symlink_to(SITE_PACKAGES / name)

    isolated = [sys.executable, "-I", "-S", "-B", "-c", IMPORT_EVERYTHING, str(artifact), str(tmp_path)]
    imported = subprocess.run(isolated, check=False, capture_output=True, text=True)

    assert imported.returncode == 0, imported.stderr


def test_the_same_source_gives_the_same_artifact(artifact: Path, checkout: Path) -> None:
    built = build(checkout)

    assert built.returncode == 0, built.stderr
    assert content(checkout / "artifact") == content(artifact)


@pytest.mark.parametrize(
    "package",
    [
        "aws-lambda-powertools",
        "jmespath",
        "typing-extensions",  # required by powertools alone
        "urllib3",
    ],
)
def test_the_build_fails_without_a_dependency(checkout: Path, package: str) -> None:
    requirements = checkout / "requirements.txt"
    requirements.write_text(without(package, requirements.read_text()))

    built = build(checkout)

    assert built.returncode != 0
    assert f"The artifact lacks {package}" in built.stderr


def test_the_build_fails_when_a_dependency_is_declared_but_not_locked(checkout: Path) -> None:
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"jmespath>=1.0.1,<2"', '"jmespath>=99"'))

    built = build(checkout)

    assert built.returncode != 0
    assert "The artifact lacks jmespath>=99." in built.stderr


def test_the_build_fails_without_requirements(checkout: Path) -> None:
    (checkout / "requirements.txt").unlink()

    assert build(checkout).returncode != 0


def test_the_functions_dependencies_are_tested_in_the_versions_that_are_deployed() -> None:
    deployed = locked("requirements.txt")

    assert deployed
    assert deployed <= locked("requirements/dev.txt") & locked("requirements/run.txt")


def test_the_code_and_the_project_name_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == handler.__version__
