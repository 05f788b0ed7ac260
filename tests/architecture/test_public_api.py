"""What a package says it exports is what it exports."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

PACKAGES = ["lsr", "indexing", "serving", "eval"]


def modules() -> list[str]:
    names = []
    for package in PACKAGES:
        names.append(package)
        path = importlib.import_module(package).__path__
        names += [
            m.name
            for m in pkgutil.walk_packages(path, f"{package}.")
            if not m.name.rsplit(".", 1)[-1].startswith(("ray_", "__"))
        ]
    return names


@pytest.mark.parametrize("name", modules())
def test_all_is_true(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert not [n for n in vars(module) if n == "__getattr__"], f"{name} has no __all__"
        return
    assert len(set(exported)) == len(exported)  # their order is checked by ruff (RUF022)
    for each in exported:
        assert getattr(module, each) is not None
