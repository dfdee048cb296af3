"""One virtual environment a peer, made on demand outside the repository.

    python bench/peers/venvs.py river nannyml evidently [--venvs FOLDER]

Beside the peer stand the pins without which a plain install could not be imported in 2026 (undeclared or broken
dependencies). alibi-detect, deepchecks and whylogs are large and only made when they are named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLD = ("numpy<2", "pandas<3", "pyarrow<22")
PACKAGES = {
    "river": ("river",),
    "nannyml": ("nannyml", "statsmodels", "pandas<3"),
    "evidently": ("evidently", "pandas<3"),
    "pyod": ("pyod",),
    "frouros": ("frouros",),
    "alibi-detect": ("alibi-detect[torch]", "pyarrow<22", "numpy<2"),
    "deepchecks": ("deepchecks", *OLD, "scikit-learn<1.6", "category-encoders<2.7", "scipy<1.15", "setuptools<81", "anywidget"),
    "whylogs": ("whylogs[viz]", *OLD),
}  # fmt: skip
MODULES = {"alibi-detect": "alibi_detect"}
QUIET = {
    "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "OMP_NUM_THREADS": "1",
    "EVIDENTLY_DISABLE_TELEMETRY": "1", "DEEPCHECKS_ANALYTICS_OPTOUT": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg",
}  # fmt: skip
"""No telemetry, and one thread: what is compared is work, not how much of the machine was free."""
INSTALL_SECONDS = 1800
DEFAULT = Path(tempfile.gettempdir()) / "luthier-peers"


class Absent(Exception):
    """A peer that cannot be had here, and why."""


def environment() -> dict[str, str]:
    """What every measured process gets, ours as well; bench/ is where it imports from."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def python(peer: str, folder: Path = DEFAULT) -> Path:
    """The interpreter of the peer's environment, made first where there is none.

    Raises Absent when it cannot be installed or imported; a half-made environment is removed.
    """
    if peer not in PACKAGES:
        raise Absent(f"{peer} is not among {', '.join(PACKAGES)}")
    home = folder / peer
    found, ready = home / "bin" / "python", home / "ready"
    if ready.exists():
        return found
    shutil.rmtree(home, ignore_errors=True)  # what an interrupted run left
    print(f"making {home}", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True, text=True)
        for command in (["-m", "pip", "install", "-q", *PACKAGES[peer]], ["-c", f"import {MODULES.get(peer, peer)}"]):
            done = subprocess.run(
                [str(found), *command], capture_output=True, text=True, timeout=INSTALL_SECONDS, env=os.environ | QUIET
            )
            if done.returncode:
                raise Absent((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200])
    except (Absent, subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(home, ignore_errors=True)
        raise Absent(f"{peer} could not be installed: {error}") from error
    ready.touch()
    return found


def pythons(peers: list[str], folder: Path) -> dict[str, Path]:
    """Peer → interpreter; a peer that is not to be had is said on stderr and left out."""
    found = {}
    for peer in peers:
        try:
            found[peer] = python(peer, folder)
        except Absent as reason:
            print(f"skipped: {reason}", file=sys.stderr, flush=True)
    return found


def arguments(parser: argparse.ArgumentParser, usual: str = "") -> None:
    """Adds --peers and --venvs."""
    parser.add_argument(
        "--peers", nargs="*", default=[], help=f"peers to measure beside ours; {usual or 'see venvs.py'}"
    )
    parser.add_argument(
        "--venvs", type=Path, default=DEFAULT, help="folder of their environments (default: %(default)s)"
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("peers", nargs="+", choices=list(PACKAGES))
    asked.add_argument("--venvs", type=Path, default=DEFAULT)
    given = asked.parse_args()
    for peer, path in pythons(given.peers, given.venvs).items():
        print(peer, path)
