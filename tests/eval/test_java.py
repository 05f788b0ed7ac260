from __future__ import annotations

import os
from pathlib import Path

import pytest

from eval import java
from eval.java import JavaRuntime, find_java
from lsr.core.errors import ExternalToolError, MissingDependencyError


def _fake_java(home: Path, version: str, *, status: int = 0) -> Path:
    (home / "bin").mkdir(parents=True)
    script = home / "bin" / "java"
    script.write_text(
        f'#!/bin/sh\nif [ "$1" = -version ]; then echo \'openjdk version "{version}"\' >&2; exit 0; fi\n'
        f"echo one; echo two >&2; exit {status}\n"
    )
    script.chmod(0o755)
    return home


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(java, "_find_jar", lambda: tmp_path / "anserini.jar")
    monkeypatch.setattr(java, "_packaged_home", lambda: None)
    return tmp_path / "anserini.jar"


def test_a_java_that_is_too_old_is_passed_over(
    tmp_path: Path, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = _fake_java(tmp_path / "old", "17.0.2"), _fake_java(tmp_path / "new", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PATH", f"{new / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert find_java() == JavaRuntime(new, jar)
    monkeypatch.setenv("PATH", f"{old / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MissingDependencyError, match="Java 21"):
        find_java()


def test_the_packaged_runtime_is_preferred(
    tmp_path: Path, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "_packaged_home", lambda: tmp_path / "packaged")
    monkeypatch.setenv("JAVA_HOME", str(_fake_java(tmp_path / "system", "25.0.1")))
    assert find_java().home == tmp_path / "packaged"


def test_a_failure_ends_with_what_java_said(tmp_path: Path) -> None:
    runtime = JavaRuntime(_fake_java(tmp_path / "java", "25", status=3), tmp_path / "x.jar")
    with pytest.raises(ExternalToolError, match=r"(?s)Main ended with 3:.*one.*two"):
        runtime.run("Main", [])
    JavaRuntime(_fake_java(tmp_path / "good", "25"), tmp_path / "x.jar").run("Main", ["-x"])


def test_without_pyserini_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        find_java()
    assert "lsr-search[lucene]" in caught.value.hint
    with pytest.raises(MissingDependencyError):
        java.load_classes("java.lang.String")
