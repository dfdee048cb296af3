"""Versions and who is champion: rows only. The champion is the last promotion row; nothing is updated in place."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from luthier.errors import UsageError
from luthier.rows import plain
from luthier.stores.base import Row, Store
from luthier.types import Finding, Promise, Version, utc_now

__all__ = ["Promotion", "Registry", "finding_of", "plain_finding"]


class _Verifying(Protocol):
    def get(self, digest: str, verify: bool = False) -> Path: ...


@dataclass(frozen=True, slots=True)
class Promotion:
    """One row of the champion's history: which version took over from which, when, and why."""

    number: int
    previous: int | None
    action: str
    why: str
    at: datetime
    seq: int


def plain_finding(finding: Finding) -> dict[str, Any]:
    """A finding as JSON-able data: NaN becomes None, times are ISO 8601."""
    found: dict[str, Any] = plain(asdict(finding) | {"at": finding.at.isoformat() if finding.at else None})
    return found


def finding_of(found: Mapping[str, Any]) -> Finding:
    """The finding that `plain_finding` was given."""
    numbers = {name: math.nan if found[name] is None else found[name] for name in ("value", "limit", "evidence")}
    level = found["promise"]["level"]
    promise = Promise(found["promise"]["kind"], math.nan if level is None else level)
    at = datetime.fromisoformat(found["at"]) if found["at"] else None
    parts = found.get("parts")
    parts = None if parts is None else tuple((name, evidence) for name, evidence in parts)
    return Finding(**{**found, **numbers, "promise": promise, "at": at, "parts": parts})


class Registry:
    """The versions and promotions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def register(self, folder: Path, *, parent: int | None, about: Mapping[str, Any]) -> Version:
        """Put `folder` into the store and give it the next number; the same content again is the same version."""
        digest = self._store.put(folder)
        while True:
            versions = self.versions()
            for version in versions:
                if version.digest == digest:
                    return version
            number = max((version.number for version in versions), default=0) + 1
            moment = utc_now()
            body = {"number": number, "digest": digest, "parent": parent, "about": dict(about)}
            if self._store.append("version", [Row(f"v{number}", moment, body)]).stored:
                return Version(number, digest, moment, parent, dict(about))

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        return [
            Version(row.body["number"], row.body["digest"], row.at, row.body["parent"], row.body["about"])
            for row in self._store.scan("version")
        ]

    def version(self, number: int) -> Version:
        """Version `number`.

        Raises UsageError naming the known ones when there is none.
        """
        versions = {version.number: version for version in self.versions()}
        if number not in versions:
            known = ", ".join(f"v{n}" for n in versions) or "none yet: make one with `luthier fit`"
            raise UsageError(f"there is no version v{number}; versions are {known}")
        return versions[number]

    def champion(self) -> Version | None:
        """The version that the last promotion row names."""
        last = next(iter(self._store.scan("promotion", newest_first=True, limit=1)), None)
        return None if last is None else self.version(last.body["number"])

    def champion_since(self) -> int:
        """The seq of the last promotion row, 0 before the first: rises with every change of champion."""
        return self._store.last("promotion")

    def history(self) -> list[Promotion]:
        """Every promotion and rollback, oldest first."""
        return [
            Promotion(row.body["number"], row.body["from"], row.body["action"], row.body["why"], row.at, row.seq)
            for row in self._store.scan("promotion")
        ]

    def promote(self, number: int, *, why: str, because: Sequence[Finding] = (), action: str = "promote") -> Promotion:
        """Make version `number` the champion. Its content is verified first, so that a changed file never serves."""
        version = self.version(number)
        self.folder(version)
        champion = self.champion()
        previous = champion.number if champion else None
        body = {
            "number": number, "from": previous, "action": action, "why": why,
            "because": [plain_finding(finding) for finding in because],
        }  # fmt: skip
        moment = utc_now()
        self._store.append("promotion", [Row(uuid.uuid4().hex, moment, body)])
        return Promotion(number, previous, action, why, moment, self.champion_since())

    def rollback(self, *, why: str) -> Promotion:
        """Make the champion before the present one champion again.

        Raises UsageError when there was none.
        """
        champion = self.champion()
        previous = next(
            (p.previous for p in reversed(self.history()) if champion and p.number == champion.number), None
        )
        if previous is None:
            raise UsageError("there is no earlier champion to roll back to; `luthier history` shows the promotions")
        return self.promote(previous, why=why, action="rollback")

    def folder(self, version: Version, *, verify: bool = True) -> Path:
        """The folder of a version.

        Raises Tampered when `verify` and its content is not what its digest says.
        """
        store: _Verifying = self._store  # type: ignore[assignment]
        return store.get(version.digest, verify=verify)
