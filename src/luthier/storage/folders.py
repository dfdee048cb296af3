"""Content-addressed folders: a folder is kept under the digest of what is in it, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luthier.errors import StateError, StoreError, StoreFull, Tampered

__all__ = ["Folders", "durable", "refusals", "sha256"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20  # bytes
_ORPHAN = 86_400.0  # seconds after which an unfinished copy is rubbish: no put takes that long
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """An OSError becomes a StoreError that names `folder` and the way out; no space left becomes StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(
                f"no space is left for {folder}: {error}. Nothing acknowledged is lost; free some space and try again"
            ) from error
        raise StoreError(
            f"{folder} cannot be used: {error}. Give a folder that this user may write, as `store:` in luthier.yaml"
        ) from error


def durable(path: Path) -> None:
    """What is at `path`, a file or the names in a folder, survives a power cut from here on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Folders:
    """Folders under `home`, each as `<digest>/` with `<digest>.files` beside it: lines `<sha256>  <relative path>`.

    The digest is the SHA-256 of those lines, sorted by path: the same files give the same digest everywhere.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def put(self, folder: Path) -> str:
        """Copy `folder` in and return its digest; durable on return, and harmless to repeat.

        Raises StateError for links, special files, odd names or no files at all; StoreFull; StoreError.
        """
        folder = Path(folder)
        names = _files(folder)
        if not names:
            raise StateError(f"{folder} holds no files; there is nothing to keep")
        with refusals(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            self._sweep()
            fresh = Path(tempfile.mkdtemp(prefix=".fresh-", dir=self.home))
            try:
                lines = "".join(f"{_copy(folder / name, fresh / name)}  {name}\n" for name in names)
                digest = hashlib.sha256(lines.encode()).hexdigest()
                for inner in {parent for name in names for parent in (fresh / name).parents if fresh in parent.parents}:
                    durable(inner)
                durable(fresh)
                fresh.chmod(0o755)  # mkdtemp makes it private
                self._place(fresh, digest, lines)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return digest

    def _sweep(self) -> None:
        """Remove what a killed `put` left behind."""
        for left in self.home.glob(".fresh-*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ORPHAN:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _place(self, fresh: Path, digest: str, lines: str) -> None:
        home = self.home / digest
        listing = fresh.with_name(f"{fresh.name}.files")
        listing.write_text(lines, encoding="utf-8", newline="")
        durable(listing)
        listing.replace(self.home / f"{digest}.files")
        if home.is_dir():
            with suppress(Tampered):
                return self.verify(digest)  # kept before, and still whole
            home.rename(
                fresh.with_name(f"{fresh.name}-old")
            )  # what was kept has changed: the good copy takes its place
        try:
            fresh.rename(home)
        except OSError:
            if not home.is_dir():
                raise  # else another process kept the same content in between
        durable(self.home)
        shutil.rmtree(fresh.with_name(f"{fresh.name}-old"), ignore_errors=True)

    def get(self, digest: str, *, verify: bool = False) -> Path:
        """The folder kept under `digest`; never write into it.

        Raises StateError for what is no digest, StoreError when nothing is kept under it, Tampered with `verify`.
        """
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise StateError(f"{str(digest)[:80]!r} is not a digest: 64 characters of 0-9 a-f")
        home = self.home / digest
        if not home.is_dir() or home.is_symlink():
            raise StoreError(f"no folder with digest {digest} is kept in {self.home}; `luthier versions` lists what is")
        if verify:
            self.verify(digest)
        return home

    def verify(self, digest: str) -> None:
        """Read everything under `digest` again.

        Raises Tampered naming the first file that is changed, missing or too much.
        """
        home = self.get(digest)
        try:
            lines = (self.home / f"{digest}.files").read_bytes()
        except OSError:
            lines = b""
        if hashlib.sha256(lines).hexdigest() != digest:
            raise Tampered(f"{self.home / digest}.files: the list of files does not match the digest in its name")
        listed = {line[66:]: line[:64] for line in lines.decode().splitlines()}
        try:
            present = set(_files(home))
        except StateError as error:
            raise Tampered(f"{home}: {error}") from error
        for name in sorted(listed.keys() | present):
            if name not in listed:
                raise Tampered(f"{home / name}: this file was added after the folder was kept")
            if name not in present:
                raise Tampered(f"{home / name}: this file is missing")
            if sha256(home / name) != listed[name]:
                raise Tampered(f"{home / name}: its content does not match its SHA-256; it was changed")


def _files(folder: Path) -> list[str]:
    """Relative paths with `/`, sorted; anything but plain files and folders is refused."""
    if not folder.is_dir():
        raise StateError(f"{folder} is not a folder")
    names = []
    for inside, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inside, name)
            kind = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise StateError(
                    f"{path} is a link or a special file; only plain files are kept: copy its content there"
                )
            if "\\" in relative or not relative.isprintable() or ".." in relative.split("/"):
                raise StateError(
                    f"{relative!r}: a file name may not hold backslashes or unprintable characters; rename it"
                )
            if stat.S_ISREG(kind):
                names.append(relative)
    return sorted(names)


def _copy(source: Path, target: Path) -> str:
    """Copy durably; the SHA-256 of the bytes that were written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)  # a link put there since the check is refused
    with os.fdopen(os.open(source, flags), "rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
