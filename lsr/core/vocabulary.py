"""The vocabulary: which token stands at which term, and a fingerprint of the whole.

Models, encoded collections and indexes store the fingerprint; mixing two is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactNotFoundError,
    DataError,
    VocabularyMismatchError,
)

__all__ = ["Vocabulary"]


class Vocabulary:
    """Tokens by vocabulary position.

    Parameters
    ----------
    tokens : sequence of str
        The token of term 0, of term 1, …; no two alike.

    Raises
    ------
    DataError
        If a token stands twice.
    """

    __slots__ = ("_fingerprint", "_terms", "tokens")

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens: Sequence[str] = tuple(tokens)
        self._terms = {token: term for term, token in enumerate(self.tokens)}
        if len(self._terms) != len(self.tokens):
            (twice, _), *_ = Counter(self.tokens).most_common(1)
            raise DataError(f"The token {twice!r} stands twice in the vocabulary.")
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the tokens with their lengths, as 64 hexadecimal digits."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for token in self.tokens:
                raw = token.encode("utf-8", "surrogatepass")
                digest.update(len(raw).to_bytes(4, "little"))
                digest.update(raw)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def term(self, token: str) -> int | None:
        """Return the term of `token`, or None if the vocabulary lacks it."""
        return self._terms.get(token)

    def token(self, term: int) -> str:
        """Return the token of `term`."""
        return self.tokens[term]

    def require_same(self, other_fingerprint: str, *, mine: str, theirs: str) -> None:
        """Check that another artefact was made with this vocabulary.

        Parameters
        ----------
        other_fingerprint : str
            What the other artefact stores.
        mine, theirs : str
            How to call the two in the message.

        Raises
        ------
        VocabularyMismatchError
            If the fingerprints differ.
        """
        if self.fingerprint != other_fingerprint:
            raise VocabularyMismatchError(
                f"{mine} has vocabulary {self.fingerprint[:12]} ({len(self)} terms) but {theirs} "
                f"was made with vocabulary {other_fingerprint[:12]}.",
                hint="Use the encoder that made the collection, or encode and build it again.",
            )

    def save(self, path: Path) -> None:
        """Write the tokens as a JSON array."""
        path.write_text(json.dumps(list(self.tokens), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Return the vocabulary that `save` wrote.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such file.
        ArtifactCorruptedError
            If it is no JSON array of strings.
        """
        try:
            tokens = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactNotFoundError(f"No vocabulary at {path}.") from None
        except ValueError as error:
            raise ArtifactCorruptedError(f"The vocabulary {path} is not JSON: {error}.") from error
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise ArtifactCorruptedError(f"The vocabulary {path} is not an array of strings.")
        return cls(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._terms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)
