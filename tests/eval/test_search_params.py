from __future__ import annotations

import pytest

from eval.search_params import parse_params
from lsr.core.errors import ArgumentError, ArtifactFormatError, ConfigError


def test_values_become_the_layouts_own_parameters() -> None:
    params = parse_params("clustered", {"max_blocks": 7})
    assert params is not None
    assert params.model_dump()["max_blocks"] == 7
    assert parse_params("clustered", {}) is None
    assert parse_params("exact", {}) is None


def test_what_a_layout_does_not_have_is_an_error() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'max_blocks'"):
        parse_params("clustered", {"max_block": 7})
    with pytest.raises(ArgumentError, match="no search parameters"):
        parse_params("exact", {"max_blocks": 7})
    with pytest.raises(ArtifactFormatError):
        parse_params("other", {"max_blocks": 7})
