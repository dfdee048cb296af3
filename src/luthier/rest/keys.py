"""API keys: random 256-bit tokens, of which only the SHA-256 is kept, with scopes, in one file of mode 0600."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.errors import SetupError, UsageError
from luthier.rest.base import SCOPES, Key
from luthier.types import utc_now

__all__ = ["Keys", "new_key", "read_keys", "remove_key"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def new_key(path: str | Path, scopes: Sequence[str], *, name: str = "") -> str:
    """Make a key, add its hash to the file at `path` (made with mode 0600 when absent) and return the token, once.

    Raises UsageError for an unknown scope or a name that is taken, SetupError when the file cannot be used.
    """
    path = Path(path)
    if not scopes or set(scopes) - set(SCOPES):
        raise UsageError(f"scopes are {list(scopes)}; give at least one of {', '.join(SCOPES)}")
    keys = read_keys(path) if path.exists() else ()
    name = name or f"key-{len(keys) + 1}-{secrets.token_hex(2)}"
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"key name {name!r}: it starts with a lower-case letter or digit; then a-z 0-9 . _ -, 64 at most"
        )
    if any(key.name == name for key in keys):
        raise UsageError(f"there is a key {name!r} already in {path}; take another name or remove that one")
    token = "lut_" + secrets.token_urlsafe(32)
    _write(path, (*keys, Key(name, _hash(token), tuple(sorted(set(scopes))), utc_now().isoformat())))
    return token


def remove_key(path: str | Path, name: str) -> None:
    """Take the key `name` out of the file; a running server notices within a second.

    Raises UsageError when there is none of that name.
    """
    keys = read_keys(path)
    if name not in {key.name for key in keys}:
        raise UsageError(
            f"there is no key {name!r} in {path}; keys are {', '.join(key.name for key in keys) or 'none'}"
        )
    _write(Path(path), [key for key in keys if key.name != name])


def read_keys(path: str | Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises SetupError when it is absent, malformed, or can be read by others than its owner.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise SetupError(
                f"{path}: mode {mode & 0o777:o} lets others read the key hashes. Set it with: chmod 600 {path}"
            )
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())["keys"]
        keys = tuple(Key(row["name"], row["hash"], tuple(row["scopes"]), row.get("created", "")) for row in rows)
    except OSError as error:
        raise SetupError(f"{path}: the key file cannot be read: {error.strerror}. Make one with `new_key`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{path}: not a key file: {type(error).__name__} {error}. Make a new one with `new_key`"
        ) from error
    if bad := [
        key.name for key in keys if not re.fullmatch("[0-9a-f]{64}", str(key.hash)) or set(key.scopes) - set(SCOPES)
    ]:
        raise SetupError(f"{path}: key {bad[0]!r} has no SHA-256 or an unknown scope. Remove it and make a new one")
    return keys


class Keys:
    """The keys of one file, read again when it changes. A file that has gone or broken lets nobody in."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._keys = read_keys(self._path)
        self._seen = self._stamp()

    def find(self, token: str) -> Key | None:
        """The key of `token`; every hash is compared, each in constant time."""
        if (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._keys = read_keys(self._path)
            except SetupError:
                self._keys = ()
        digest = _hash(token)
        found = [key for key in self._keys if hmac.compare_digest(key.hash, digest)]
        return found[0] if found else None

    def _stamp(self) -> tuple[int, ...]:
        try:
            about = self._path.stat()
        except OSError:
            return ()
        return (about.st_mtime_ns, about.st_size, about.st_ino, about.st_mode)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _write(path: Path, keys: Sequence[Key]) -> None:
    rows = [{"name": key.name, "hash": key.hash, "scopes": list(key.scopes), "created": key.created} for key in keys]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=path.parent)  # mode 0600 from the first byte
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"keys": rows}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise SetupError(f"{path}: the key file cannot be written: {error.strerror}") from error
