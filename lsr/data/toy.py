"""The shipped collection: 2,067 Wikipedia paragraphs and some hundred questions about them.

Its files stand in ``toy/``, made by ``benchmarks/make_toy.py`` from the SQuAD v1.1 development
set; ``toy/ATTRIBUTION.md`` names its authors and licence (CC BY-SA 4.0).
"""

from __future__ import annotations

from pathlib import Path

from lsr.data.beir import BeirDataset

__all__ = ["TOY_NAME", "load_toy"]

TOY_NAME = "toy"
_FOLDER = Path(__file__).parent / "toy"
_N_DOCUMENTS = 2067


class _Toy(BeirDataset):
    def n_documents(self) -> int:
        return _N_DOCUMENTS


def load_toy() -> BeirDataset:
    """Return the shipped collection; it has the one split ``"test"``."""
    return _Toy(_FOLDER, name=TOY_NAME)
