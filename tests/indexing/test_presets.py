from __future__ import annotations

from pathlib import Path

import pytest

from indexing.build import build_index
from indexing.config import IndexConfig
from indexing.config_clustered import ClusteredParams
from indexing.config_seismic import SeismicLayout, SeismicParams
from indexing.presets import load_preset, preset_names
from lsr.core.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_for_both_layouts(name: str) -> None:
    assert isinstance(load_preset(name, "seismic"), SeismicParams)
    assert isinstance(load_preset(name, "clustered"), ClusteredParams)


def test_what_is_not_there() -> None:
    assert preset_names() == ("recall-90", "recall-95", "recall-99")
    with pytest.raises(ConfigError, match="Did you mean 'recall-95'"):
        load_preset("recall95", "seismic")
    with pytest.raises(ConfigError, match="nothing for layout 'exact'"):
        load_preset("recall-90", "exact")


def test_an_index_folder_gives_the_preset_of_its_layout(vectors: Path, tmp_path: Path) -> None:
    config = IndexConfig(layout=SeismicLayout())
    with build_index(vectors, tmp_path / "index", config) as folder:
        params = folder.preset("recall-95")
        assert params == load_preset("recall-95", "seismic")
        query = folder.index.document(0)
        found = folder.search(query, 3, params=params)
        assert found.rows.tolist() == folder.index.search(query, 3, params=params).rows.tolist()
