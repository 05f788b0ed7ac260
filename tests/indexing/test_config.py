"""Which layout a collection gets, where none is named."""

from __future__ import annotations

import pytest

from indexing.collection_config import CollectionConfig
from indexing.config import EXACT_BELOW, ExactLayout, IndexConfig
from indexing.config_clustered import WIDE_FROM, ClusteredLayout
from lsr.core.config import load_config
from lsr.core.errors import ConfigError


@pytest.mark.parametrize(
    ("n_documents", "kind"), [(0, "exact"), (EXACT_BELOW - 1, "exact"), (EXACT_BELOW, "clustered")]
)
def test_the_size_chooses_the_layout(n_documents: int, kind: str) -> None:
    assert IndexConfig(seed=7).for_size(n_documents).layout.kind == kind
    assert IndexConfig(seed=7).for_size(n_documents).seed == 7


def test_a_named_layout_stays() -> None:
    config = IndexConfig(layout=ExactLayout())
    assert config.for_size(10 * EXACT_BELOW) is config
    assert load_config(IndexConfig, None, ["layout.kind=seismic"]).for_size(3).layout.kind == (
        "seismic"
    )


def test_large_collections_get_wide_blocks() -> None:
    layout = ClusteredLayout()
    assert layout.wide_rows_for(WIDE_FROM - 1) == 0
    assert layout.wide_rows_for(WIDE_FROM) == 16
    assert ClusteredLayout(wide_rows=0).wide_rows_for(WIDE_FROM) == 0
    assert ClusteredLayout(wide_rows=64).wide_rows_for(5) == 64


def test_a_live_collection_names_its_layout() -> None:
    assert CollectionConfig().index.layout.kind == "exact"
    with pytest.raises(ConfigError, match="names its layout"):
        load_config(CollectionConfig, None, ["index.layout.kind=auto"])
