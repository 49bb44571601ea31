"""The result of `sam build`, and when it must fail. Like `make setup`, this needs the package registry."""

import hashlib
import os
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
from scripts import check_artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

LAMBDAS_PYTHON = (ROOT / ".python-version").read_text().strip()
IS_LAMBDAS_PYTHON = ".".join(map(str, sys.version_info[:2])) == LAMBDAS_PYTHON

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
for package in map(importlib.import_module, ("handler", "mapping")):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="session")
def artifact(build_dir: Path) -> Path:
    return build_dir / "DeliverFunction"


@pytest.fixture
def installed(artifact: Path, tmp_path: Path) -> Path:
    """Return a directory with the metadata of the packages in the artifact."""
    copy = tmp_path / "installed"
    for found in artifact.glob("*.dist-info"):
        shutil.copytree(found, copy / found.name)
    return copy


def locked(requirements: str) -> set[tuple[str, str]]:
    """Return the packages of a lock file, with their versions."""
    return set(re.findall(r"^(\S+)==(\S+)", (ROOT / requirements).read_text(), re.MULTILINE))


def content(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_both_functions_have_the_same_files(build_dir: Path) -> None:
    """Each is built on its own, so the same source also gives the same artifact again."""
    built = {path.name: content(path) for path in build_dir.iterdir() if path.is_dir()}

    assert set(built) == {"DeliverFunction", "RedeliverFunction"}
    assert built["RedeliverFunction"] == built["DeliverFunction"]


def test_no_file_names_the_machine_that_built_it(artifact: Path) -> None:
    here = [str(path).encode() for path in (ROOT, artifact.parents[1], Path(sys.prefix))]

    assert [path for path in artifact.rglob("*") if path.is_file() and any(map(path.read_bytes().count, here))] == []


def test_artifact_holds_the_two_packages_and_their_dependencies_only(artifact: Path) -> None:
    top_level = {path.name for path in artifact.iterdir() if path.suffix != ".dist-info"} - {"__pycache__"}

    assert top_level == {
        "handler",
        "mapping",
        "aws_lambda_powertools",
        "jmespath",
        "typing_extensions.py",
        "urllib3",
    }


def test_artifact_holds_the_locked_versions(artifact: Path) -> None:
    built = {(found.name.replace("_", "-"), found.version) for found in distributions(path=[str(artifact)])}

    assert built == locked("requirements.txt")


def test_artifact_holds_all_of_the_source(artifact: Path) -> None:
    source = {str(path.relative_to(ROOT)) for room in ("handler", "mapping") for path in (ROOT / room).rglob("*.py")}
    built = {
        str(path.relative_to(artifact)) for room in ("handler", "mapping") for path in (artifact / room).rglob("*.py")
    }

    assert built == source


@pytest.mark.skipif(not IS_LAMBDAS_PYTHON, reason="byte code is of one version of Python")
def test_imported_modules_are_compiled_and_not_checked_against_their_source(artifact: Path) -> None:
    """Lambda's code is read-only, and files get other times on their way there."""
    compiled = {path.relative_to(artifact) for path in artifact.rglob("*.pyc")}
    for imported in (
        "handler/app",
        "handler/redelivery",
        "mapping/rules/rule",
        "jmespath/visitor",
        "urllib3/connection",
    ):
        path = Path(imported)
        assert path.parent / "__pycache__" / f"{path.name}.cpython-313.pyc" in compiled
    for path in compiled:
        code = (artifact / path).read_bytes()
        assert int.from_bytes(code[4:8], "little") == 0b01, "by hash, unchecked"
        assert b"/var/task/" in code


COMPILED_WITHOUT_PYOPENSSL = """
import sys
from pathlib import Path
sys.modules["OpenSSL"] = None
from scripts.precompile import sources
print(*sources(Path(sys.argv[1])), sep="\\n")
"""


@pytest.mark.skipif(not IS_LAMBDAS_PYTHON, reason="byte code is of one version of Python")
def test_byte_code_does_not_depend_on_optional_packages_of_the_build(artifact: Path) -> None:
    """boto3 imports a module of urllib3 that needs pyOpenSSL. Lambda has none, and tries it all the same."""
    command = [sys.executable, "-B", "-c", COMPILED_WITHOUT_PYOPENSSL, str(artifact)]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()

    compiled = {f"{path.parents[1] / path.name.split('.')[0]}.py" for path in artifact.rglob("*.pyc")}
    assert set(listed) == compiled
    assert str(artifact / "urllib3/contrib/pyopenssl.py") in compiled


@pytest.mark.skipif(IS_LAMBDAS_PYTHON, reason="there is byte code")
def test_another_python_leaves_no_byte_code(artifact: Path) -> None:
    assert not list(artifact.rglob("*.pyc"))


def test_artifact_is_small(artifact: Path) -> None:
    assert sum(path.stat().st_size for path in artifact.rglob("*")) < 6_000_000


def test_artifact_imports_itself_and_lambdas_own_packages_only(artifact: Path, tmp_path: Path) -> None:
    """An import that only the tests' packages satisfy would pass every other test and fail on Lambda."""
    for name in AWS_SDK:
        (tmp_path / name).symlink_to(SITE_PACKAGES / name)

    isolated = [sys.executable, "-I", "-S", "-B", "-c", IMPORT_EVERYTHING, str(artifact), str(tmp_path)]
    imported = subprocess.run(isolated, check=False, capture_output=True, text=True)

    assert imported.returncode == 0, imported.stderr


@pytest.mark.parametrize(
    "package",
    [
        "aws-lambda-powertools",
        "jmespath",
        "typing-extensions",  # required by powertools alone
        "urllib3",
    ],
)
def test_check_names_a_missing_dependency(installed: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_artifact.main(str(installed), LAMBDAS_PYTHON)
    (metadata,) = installed.glob(f"{package.replace('-', '_')}-*.dist-info")
    shutil.rmtree(metadata)

    with pytest.raises(SystemExit, match=f"The artifact lacks {package}"):
        check_artifact.main(str(installed), LAMBDAS_PYTHON)


def test_check_names_a_dependency_that_is_declared_but_not_locked(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = (ROOT / "pyproject.toml").read_text().replace('"jmespath>=1.0.1,<2"', '"jmespath>=99"')
    (tmp_path / "pyproject.toml").write_text(declared)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit, match=r"The artifact lacks jmespath>=99\."):
        check_artifact.main(str(installed), LAMBDAS_PYTHON)


def test_build_fails_where_the_check_does(tmp_path: Path) -> None:
    for name in ("Makefile", ".python-version", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("handler", "mapping", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "requirements.txt").touch()
    make = ["make", "--old-file=.venv/installed", "RUN_ENVIRONMENT=.venv", "build-DeliverFunction"]

    environment = {**os.environ, "ARTIFACTS_DIR": str(tmp_path / "artifact")}
    built = subprocess.run(make, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)

    assert built.returncode != 0
    assert "The artifact lacks aws-lambda-powertools" in built.stderr


def test_tests_run_with_the_versions_that_are_deployed() -> None:
    deployed = locked("requirements.txt")

    assert deployed
    assert deployed <= locked("requirements/dev.txt") & locked("requirements/run.txt")


def test_code_and_project_have_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == handler.__version__
