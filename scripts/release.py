"""Write a release, with which the stack is deployed without make and Python.

    python -m scripts.release BUILD_DIRECTORY RELEASE_DIRECTORY

BUILD_DIRECTORY is that of `sam build`. RELEASE_DIRECTORY is emptied. It then has the code of both functions as a zip,
template.yaml with a bucket as the place of that zip, a CycloneDX bill of materials, this version's section of
CHANGELOG.md, and the checksums of all. The same source gives the same bytes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT = Path(__file__).parents[1]

# The folder in the bucket is fixed, so that a deployment asks for one value and not for two.
BUCKET_PARAMETER = """\
  CodeBucket:
    Description: Bucket with this release, in the region of the stack. The zip is in its folder voucherify-destination.
    Type: String
    AllowedPattern: ^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$
"""


def main(build: str, release: str) -> None:
    """Raise SystemExit where the build has no byte code, or CHANGELOG.md no section for the version."""
    if ".".join(map(str, sys.version_info[:2])) != (ROOT / ".python-version").read_text().strip():
        sys.exit("A release has byte code for the Python in .python-version: make setup release PYTHON=python3.13")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    name = f"{project['name']}-{project['version']}"
    notes = section((ROOT / "CHANGELOG.md").read_text("utf-8"), project["version"])
    code, directory = Path(build) / "DeliverFunction", Path(release)  # the other function has the same files
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)

    archive = write_zip(code, directory / "code.zip")
    # CloudFormation updates a function only where the key is another one, also while a version is being worked on.
    archive = archive.rename(directory / f"{name}-{sha256(archive)[:12]}.zip")
    template = packaged((ROOT / "template.yaml").read_text("utf-8"), f"{project['name']}/{archive.name}")
    (directory / f"{name}.yaml").write_text(template, "utf-8", newline="\n")
    (directory / f"{name}.md").write_text(notes, "utf-8", newline="\n")
    write_bill_of_materials(code, directory / f"{name}.cdx.json")
    sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(directory.iterdir()))
    (directory / "SHA256SUMS").write_text(sums, newline="\n")
    print(*sorted(directory.iterdir()), sep="\n")


def section(changelog: str, version: str) -> str:
    """Return the text below the heading of a version. Raises SystemExit where there is none."""
    found = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit(f"CHANGELOG.md has no section '## {version}', the version in pyproject.toml: name it there")
    return found[1].strip() + "\n"


def write_zip(directory: Path, archive: Path) -> Path:
    """Write the files of `directory`, without their times and owners."""
    with ZipFile(archive, "w") as opened:
        for path in sorted(filter(Path.is_file, directory.rglob("*")), key=Path.as_posix):
            entry = ZipInfo(path.relative_to(directory).as_posix())
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, readable for all
            opened.writestr(entry, path.read_bytes(), ZIP_DEFLATED, 9)
    return archive


def packaged(template: str, key: str) -> str:
    """Return the template with the code in the bucket that its parameter CodeBucket names."""
    for found, replacement in (
        ("    CodeUri: .\n", f"    CodeUri: {{Bucket: !Ref CodeBucket, Key: {key}}}\n"),
        ("\nParameters:\n", f"\nParameters:\n{BUCKET_PARAMETER}"),
        (
            "    ParameterGroups:\n",
            "    ParameterGroups:\n      - Label: {default: Release}\n        Parameters: [CodeBucket]\n",
        ),
        ("    ParameterLabels:\n", "    ParameterLabels:\n      CodeBucket: {default: Bucket with this release}\n"),
    ):
        if template.count(found) != 1:
            sys.exit(f"template.yaml has {found!r} {template.count(found)} times, not once: see {__file__}")
        template = template.replace(found, replacement)
    return template


def write_bill_of_materials(code: Path, file: Path) -> None:
    """Write the packages in `code`, with licences and dependencies. Without site (-S), Python sees no others."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "-S", sys.executable, "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(file)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(code.resolve())}, check=True)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
