"""Training examples of every published form, as examples with texts."""

from __future__ import annotations

from collections.abc import Iterator

from lsr.core.errors import ConfigError
from lsr.data import load_dataset
from lsr.data.examples import (
    Example,
    IdExample,
    read_examples,
    read_hard_negatives,
    read_id_triples,
    read_scored_lists,
    read_text_triples,
    split_examples,
)
from lsr.data.lookup import DocumentTexts, resolve_examples
from lsr.training.config import ExamplesConfig

__all__ = ["read_example_source"]


def read_example_source(config: ExamplesConfig) -> Iterator[Example]:
    """Yield the examples of one source; ids are replaced by the texts of its data set.

    Raises
    ------
    ConfigError
        If the form needs a path or a data set that is not given.
    DataError, RecordError
        As the readers of `lsr.data.examples`.
    """
    if config.form in ("texts", "text-triples"):
        if config.path is None:
            raise ConfigError(f"data.examples of the form {config.form!r} need a path.")
        reader = read_examples if config.form == "texts" else read_text_triples
        for example in reader(config.path):
            yield example._replace(source=config.source or example.source)
        return
    if config.dataset is None:
        raise ConfigError(f"data.examples of the form {config.form!r} need a dataset.")
    dataset = load_dataset(config.dataset)
    with DocumentTexts(dataset) as texts:
        for example in resolve_examples(
            _ids(config), dataset, texts, skip_missing=config.skip_missing
        ):
            yield example._replace(source=config.source or example.source)


def _ids(config: ExamplesConfig) -> Iterator[IdExample]:
    if config.form == "split":
        return split_examples(load_dataset(str(config.dataset)), config.split)
    if config.path is None:
        raise ConfigError(f"data.examples of the form {config.form!r} need a path.")
    match config.form:
        case "id-triples":
            return read_id_triples(config.path)
        case "scored-lists":
            return read_scored_lists(config.path)
        case _:
            return read_hard_negatives(config.path, n_negatives=config.n_negatives)
