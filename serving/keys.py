"""API keys with roles, kept as hashes in one JSON file.

A key is 256 random bits, so a plain SHA-256 keeps it as safe as a slow password hash would: there
is no dictionary to try. Keys are shown once, when they are made, and written nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lsr.core.artifact import write_text_atomic
from lsr.core.errors import AuthenticationError, ConfigError, ForbiddenError, near_names

__all__ = ["ROLES", "ApiKey", "KeyFile", "KeyRing", "Role", "bearer_token"]

Role: TypeAlias = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")
"""Each role may do what those before it may."""

_PREFIX = "lsr_"

logger = logging.getLogger(__name__)


class ApiKey(BaseModel):
    """One key, without the secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    role: Role
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: str


class KeyRing:
    """The keys of a service.

    Parameters
    ----------
    keys : tuple of ApiKey
        Without two of one name.
    """

    def __init__(self, keys: tuple[ApiKey, ...] = ()) -> None:
        self.keys = keys

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Return the keys in the file `path`.

        Raises
        ------
        ConfigError
            If it is not there, or not a file of keys.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            keys = tuple(ApiKey.model_validate(key) for key in raw["keys"])
        except FileNotFoundError:
            raise ConfigError(
                f"No file of keys at {path}.", hint=f"Make one: lsr keys add NAME --file {path}"
            ) from None
        except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
            # Never the content: it may be a key pasted into the wrong file.
            raise ConfigError(
                f"{path} is not a file of keys ({type(error).__name__}).",
                hint="Make one with: lsr keys add NAME",
            ) from None
        return cls(keys)

    def save(self, path: Path) -> None:
        """Write the keys, readable by their owner only."""
        body = {"keys": [key.model_dump() for key in self.keys]}
        write_text_atomic(path, json.dumps(body, indent=1) + "\n")
        path.chmod(0o600)

    def with_new(self, name: str, role: Role) -> tuple[KeyRing, str]:
        """Return the ring with a new key, and the key itself.

        Raises
        ------
        ConfigError
            If the name is taken.
        """
        if any(key.name == name for key in self.keys):
            raise ConfigError(
                f"There is a key called {name!r} already.",
                hint="Remove it first, or choose another.",
            )
        token = _PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        key = ApiKey(name=name, role=role, sha256=_hash(token), created=created)
        return KeyRing((*self.keys, key)), token

    def without(self, name: str) -> KeyRing:
        """Return the ring without the key called `name`.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if all(key.name != name for key in self.keys):
            near = near_names(name, [key.name for key in self.keys])
            raise ConfigError(f"No key is called {name!r}.{near}")
        return KeyRing(tuple(key for key in self.keys if key.name != name))

    def find(self, token: str) -> ApiKey | None:
        """Return the key that `token` is, or None."""
        given = _hash(token)
        # Every key is compared, each in constant time: the answer's delay tells nothing.
        found = [key for key in self.keys if hmac.compare_digest(key.sha256, given)]
        return found[0] if found else None

    def require(self, token: str | None, role: Role) -> ApiKey:
        """Return the key that `token` is, if it may do what `role` may.

        Raises
        ------
        AuthenticationError
            If there is no token, or it is no key.
        ForbiddenError
            If the key's role does not reach.
        """
        if not token:
            raise AuthenticationError(
                "This service needs an API key.", hint="Send the header: Authorization: Bearer KEY"
            )
        key = self.find(token)
        if key is None:
            raise AuthenticationError(
                "The API key is not known.", hint="It may have been removed; ask for a new one."
            )
        if ROLES.index(key.role) < ROLES.index(role):
            raise ForbiddenError(
                f"The key {key.name!r} has the role {key.role}, this needs {role}.",
                hint="Use a key with that role.",
            )
        return key


class KeyFile:
    """The keys in a file, which may change while the service runs.

    The file is looked at before each use (one system call) and read again when it has changed. While
    it is missing or cannot be read, the keys stay as they were: an editor's half-written file must
    neither open the service nor shut everybody out.

    Parameters
    ----------
    path : Path
        What ``lsr keys`` wrote.

    Raises
    ------
    ConfigError
        If it is not there, or not a file of keys.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._look()
        self._ring = KeyRing.load(path)

    @property
    def ring(self) -> KeyRing:
        """The keys as they are now."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._ring = KeyRing.load(self.path)
            except ConfigError as error:
                logger.error("The API keys stay as they were: %s", error)
            else:
                logger.info("Read %d API keys from %s", len(self._ring.keys), self.path)
        return self._ring

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def require(self, token: str | None, role: Role) -> ApiKey:
        """Return the key that `token` is; raises as `KeyRing.require` does."""
        return self.ring.require(token, role)


def bearer_token(authorization: str) -> str | None:
    """Return the token of an ``Authorization`` header, None where there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
