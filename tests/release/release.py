# SPDX-License-Identifier: Apache-2.0
"""Build what a release uploads, an sdist and a wheel for each Python, in build/release/dist, and try it.

    make release            # every Python from 3.9 that is on this machine
    python tests/release/release.py --pythons 3.11,3.12

1. pyproject.toml, CITATION.cff and the first heading of CHANGELOG.md agree; a tag here is v<version>.
2. The sdist is built, and unpacked in build/release/source: wheels are built from there, as from PyPI.
3. auditwheel makes each wheel a manylinux one; it is installed in a fresh environment and runs smoke.py.
4. twine checks the metadata of all files.

Compiled objects are kept by ccache where it is installed. Nothing is uploaded.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = REPOSITORY / "build" / "release"
OLDEST = (3, 9)
# Major and minor version, and 1 where threads run freely.
WHICH = """
import sys, sysconfig
print(*sys.version_info[:2], sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
"""


def versions(root: Path = REPOSITORY) -> dict[str, str]:
    """Return the version that each file names."""
    patterns = {
        "pyproject.toml": r'^version = "(.+)"$',
        "CITATION.cff": r"^version: (.+)$",
        "CHANGELOG.md": r"^## (\S+)",
    }
    found = {}
    for name, pattern in patterns.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if match is None:
            raise SystemExit(f"release: {name} has no line that matches {pattern}")
        found[name] = match[1]
    return found


def check_versions(root: Path = REPOSITORY, tags: tuple[str, ...] = ()) -> str:
    """Return the version.

    Files that disagree, a tag of another version and a tagged release without a date end the program.
    """
    found = versions(root)
    if len(set(found.values())) != 1:
        raise SystemExit("release: versions disagree: " + ", ".join(f"{k} has {v}" for k, v in found.items()))
    version = found["pyproject.toml"]
    released = [tag for tag in tags if re.fullmatch(r"v\d.*", tag)]
    if released and released != [f"v{version}"]:
        raise SystemExit(
            f"release: this commit is tagged {', '.join(released)}, and the version is {version}"
        )
    heading = re.search(r"^## .*$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if released and heading is not None and "unreleased" in heading[0]:
        raise SystemExit(
            f"release: the tag is {released[0]}, and CHANGELOG.md says {heading[0]!r}: give it the date"
        )
    return version


def pythons() -> Iterator[tuple[str, str]]:
    """Yield version and path of each Python from 3.9 on, of pyenv and of PATH, one for each minor version."""
    places = [Path(sys.executable), *Path.home().glob(".pyenv/versions/*/bin/python")]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        places += [
            path for path in Path(folder).glob("python3.*") if re.fullmatch(r"python3\.\d+t?", path.name)
        ]
    seen = set()
    for path in places:
        done = subprocess.run([path, "-c", WHICH], capture_output=True, text=True, check=False)
        if done.returncode or tuple(map(int, done.stdout.split()[:2])) < OLDEST:
            continue
        major, minor, free = done.stdout.split()
        name = f"{major}.{minor}{'t' if free == '1' else ''}"
        if name not in seen:
            seen.add(name)
            yield name, str(path)


def run(*command: object, **env: str) -> None:
    """Run a command and show it; end the program where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run([str(part) for part in command], env={**os.environ, **env}, cwd=WORK, check=False)
    if done.returncode:
        raise SystemExit(
            f"release: this command failed with {done.returncode}: {' '.join(map(str, command))}"
        )


def build_source(dist: Path) -> Path:
    """Build the sdist into `dist`, unpack it and return the folder."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", dist, REPOSITORY)
    (archive,) = dist.glob("*.tar.gz")
    source = WORK / "source"
    with tarfile.open(archive) as file:
        file.extractall(WORK / "unpacked")  # our own, made a moment ago
    (folder,) = (WORK / "unpacked").iterdir()
    folder.rename(source)
    return source


def try_python(name: str, python: str, source: Path, dist: Path) -> None:
    """Build, repair, install and run a wheel of `source` for one Python."""
    launcher = {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache"} if shutil.which("ccache") else {}
    venv, raw = WORK / f"venv-{name}", WORK / f"raw-{name}"
    run(python, "-m", "venv", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "-q", "--upgrade", "pip>=23")
    run(*pip, "wheel", "-q", source, "--no-deps", "-w", raw, **launcher)
    (wheel,) = raw.glob("*.whl")
    before = set(dist.iterdir())
    if sys.platform == "linux":
        run(sys.executable, "-m", "auditwheel", "repair", wheel, "-w", dist)
    else:
        shutil.copy(wheel, dist)
    (repaired,) = set(dist.iterdir()) - before
    run(*pip, "install", "-q", repaired)
    run(venv / "bin" / "python", "-I", REPOSITORY / "tests" / "release" / "smoke.py")


def main() -> None:
    """Make and try the files of a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", help="versions, as in 3.11,3.12; all that are here by default")
    wanted = parser.parse_args().pythons
    tags = subprocess.run(
        ["git", "tag", "--points-at", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    version = check_versions(tags=tuple(tags))
    found = {name: path for name, path in pythons() if not wanted or name in wanted.split(",")}
    missing = set(wanted.split(",")) - set(found) if wanted else set()
    if missing or not found:
        raise SystemExit(
            f"release: these Pythons are not here: {', '.join(sorted(missing)) or 'any from 3.9 on'}"
        )
    print(f"qslim {version}, Python {', '.join(found)}", flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    dist = WORK / "dist"
    dist.mkdir(parents=True)
    source = build_source(dist)
    for name, path in found.items():
        try_python(name, path, source, dist)
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()))
    for path in sorted(dist.iterdir()):
        print(f"{path.stat().st_size:>12,} bytes  {path.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
