from pathlib import Path

import pytest

from tests.helpers.tiny_model import tiny_masked_lm


@pytest.fixture(scope="session")
def masked_lm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT masked-LM folder with random weights."""
    return tiny_masked_lm(tmp_path_factory.mktemp("masked-lm") / "tiny-bert")


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
