from __future__ import annotations

import inspect
import itertools
import pickle

from lsr.core import errors
from lsr.core.errors import LsrError, MissingDependencyError, RecordError, near_names

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, LsrError)]


def test_codes_are_unique_public_and_drawn_in_the_tree() -> None:
    for one, other in itertools.combinations(CLASSES, 2):
        # Two classes may share a code only where one is the other with more detail.
        related = issubclass(one, other) or issubclass(other, one)
        assert one.code != other.code or related, (one, other)
    assert all(c.exit_status in (1, 2, 3) for c in CLASSES)
    assert sorted(c.__name__ for c in CLASSES) == [n for n in errors.__all__ if n[0].isupper()]
    assert errors.__doc__ is not None
    for c in CLASSES:
        assert c.__name__ in errors.__doc__ and c.code in errors.__doc__


def test_leaves_are_builtins_too() -> None:
    assert all(len(c.__mro__) > 3 for c in CLASSES if c is not LsrError)


def test_message_and_hint() -> None:
    error = RecordError("no _id", path="corpus.jsonl", line=7, hint="Add it.")
    assert str(error) == "corpus.jsonl, line 7: no _id Add it."
    missing = MissingDependencyError("torch", extra="models", purpose="SPLADE")
    assert "pip install 'lsr-search[models]'" in str(missing)
    assert isinstance(missing, ImportError)


def test_errors_cross_processes() -> None:
    error = RecordError("no _id", path="corpus.jsonl", line=7, hint="Add it.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RecordError
    assert (str(again), again.path, again.line) == (str(error), "corpus.jsonl", 7)


def test_errors_that_are_os_errors_cross_processes() -> None:
    # RuntimeError and OSError lay their objects out differently in memory.
    for cls in (errors.ArtifactNotFoundError, errors.StorageError, errors.PortInUseError):
        again = pickle.loads(pickle.dumps(cls("gone", hint="Look.")))
        assert type(again) is cls
        assert (again.message, again.hint, str(again)) == ("gone", "Look.", "gone Look.")


def test_near_names() -> None:
    assert near_names("n_posting", ["n_postings", "seed"]) == " Did you mean 'n_postings'?"
    assert near_names("knd", ["kind", "kind"]) == " Did you mean 'kind'?"
    assert near_names("xyz", ["n_postings"]) == ""
