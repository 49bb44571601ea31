"""End the build when the artifact lacks a dependency.

    python scripts/check_artifact.py DIRECTORY PYTHON_VERSION

DIRECTORY must contain the dependencies of pyproject.toml and all that they require, at accepted versions, except for
the packages of Lambda's runtime. Conditions such as `python_version < "3.12"` are evaluated for Lambda.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
LAMBDAS_OWN = frozenset({"boto3"})


def main(directory: str, python_version: str) -> None:
    built = {canonicalize_name(found.name): found for found in distributions(path=[directory])}
    on_lambda = {
        "platform_system": "Linux",
        "python_full_version": f"{python_version}.0",
        "python_version": python_version,
        "sys_platform": "linux",
    }

    def missing(requirements: Iterable[str], extras: Iterable[str] = ()) -> Iterator[str]:
        for requirement in map(Requirement, requirements):
            marker = requirement.marker
            if marker and not any(marker.evaluate({**on_lambda, "extra": extra}) for extra in ("", *extras)):
                continue
            if requirement.name in LAMBDAS_OWN:
                continue
            found = built.get(canonicalize_name(requirement.name))
            if found and requirement.specifier.contains(found.version, prereleases=True):
                yield from missing(found.requires or (), requirement.extras)
            else:
                yield f"{requirement.name}{requirement.specifier}"

    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    if faults := sorted(set(missing(declared))):
        sys.exit(f"The artifact lacks {', '.join(faults)}. Update requirements.txt from pyproject.toml: make lock")


if __name__ == "__main__":
    main(*sys.argv[1:])
