"""Whether the sdist and the wheels hold what they should: check_dist.py SOURCE SDIST WHEEL...

Every file below pn_gpu/ and kernels/, and pn_gpu_command.py, belongs in every wheel, and nothing else does but the
metadata. The sdist must hold the tests too.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path


def expected_in_wheel(source: Path) -> dict[str, bytes]:
    """Content of every file of the package, by its path after installation."""
    command = "pn_gpu_command.py"
    files = {command: (source / command).read_bytes()}
    for folder, installed in (("pn_gpu", "pn_gpu"), ("kernels", "pn_gpu/kernels")):
        for path in (source / folder).rglob("*"):
            if path.is_file():
                files[f"{installed}/{path.relative_to(source / folder).as_posix()}"] = path.read_bytes()
    return files


def read_wheel(path: Path) -> dict[str, bytes]:
    """Content of every file of a wheel except its metadata."""
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}


def read_sdist_names(path: Path) -> set[str]:
    """The files of an sdist, relative to its one folder."""
    with tarfile.open(path) as sdist:
        return {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}


def main(source: Path, sdist: Path, *wheels: Path) -> None:
    expected = expected_in_wheel(source)
    for wheel in wheels:
        got = read_wheel(wheel)
        missing, foreign = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
        changed = sorted(name for name in expected.keys() & got.keys() if expected[name] != got[name])
        if missing or foreign or changed:
            sys.exit(f"{wheel}: missing {missing}, foreign {foreign}, changed {changed}")
        print(f"{wheel.parent.name}/{wheel.name}: {len(got)} files, {wheel.stat().st_size / 1024:.0f} KiB")
    tests = {path.relative_to(source).as_posix() for path in (source / "tests").rglob("*") if path.is_file()}
    lacking = sorted(tests - read_sdist_names(sdist))
    if lacking:
        sys.exit(f"{sdist}: missing {lacking}")
    print(f"{sdist.parent.name}/{sdist.name}: {sdist.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
