# SPDX-License-Identifier: Apache-2.0
"""make release: versions that disagree end it, and its smoke test runs on the installed package."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "release" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_versions_of_this_checkout_agree() -> None:
    release = script("release")
    assert release.check_versions() == release.versions()["CITATION.cff"]


def test_a_version_that_differs_ends_it(project: Path) -> None:
    citation = project / "CITATION.cff"
    text = citation.read_text(encoding="utf-8")
    citation.write_text(text.replace("\nversion: ", "\nversion: 9."), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"versions disagree: .*CITATION.cff has 9\."):
        script("release").check_versions(project)


def test_a_tag_needs_its_version_and_a_dated_heading(project: Path) -> None:
    release = script("release")
    version = release.check_versions(project)
    assert release.check_versions(project, tags=("a-note",)) == version
    with pytest.raises(SystemExit, match=rf"tagged v0\.0\.1, and the version is {version}"):
        release.check_versions(project, tags=("v0.0.1",))
    changelog = project / "CHANGELOG.md"
    heading = next(line for line in changelog.read_text().splitlines() if line.startswith("## "))
    changelog.write_text(changelog.read_text().replace(heading, f"## {version} (unreleased)"))
    with pytest.raises(SystemExit, match="give it the date"):
        release.check_versions(project, tags=(f"v{version}",))
    changelog.write_text(changelog.read_text().replace("(unreleased)", "(2026-11-30)"))
    assert release.check_versions(project, tags=(f"v{version}",)) == version


def test_this_python_is_among_those_that_are_tried() -> None:
    found = dict(script("release").pythons())
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in {name.rstrip("t") for name in found}


def test_the_smoke_test_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "release" / "smoke.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "are good" in done.stdout
