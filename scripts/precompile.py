"""Compile the modules that the functions import, so that no cold start has to.

    python -B scripts/precompile.py DIRECTORY PYTHON_VERSION

Lambda's code is read-only, so a module without byte code is compiled again in every execution environment. The byte
code is not compared with its source, since the times of files change on the way to Lambda.
https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation
"""

import importlib
import pkgutil
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path


def main(directory: str, python_version: str) -> None:
    own = ".".join(map(str, sys.version_info[:2]))
    if own != python_version:
        print(f"No byte code: this is Python {own}, Lambda's is {python_version}. Cold starts will take longer.")
        return
    root = Path(directory).resolve()
    for source in sources(root):
        py_compile.compile(
            str(source),
            dfile=f"/var/task/{source.relative_to(root)}",  # its path on Lambda
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def sources(directory: Path) -> Iterator[Path]:
    """Yield the files in `directory` that the functions import.

    Also those whose import fails because of an optional package: Lambda tries them as well, and whether this Python has
    the package must not matter.
    """
    asked_for = NamesAskedFor()
    sys.meta_path.insert(0, asked_for)
    sys.path.insert(0, str(directory))
    for package in map(importlib.import_module, ("handler", "mapping")):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in asked_for.names:
        path = directory.joinpath(*name.split("."))
        yield from filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py"))


class NamesAskedFor:
    """A finder that finds nothing, but remembers the names of all modules that are imported."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        self.names.append(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
