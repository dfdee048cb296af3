"""The command line: every verb of a project, with help, `--json`, progress and exit codes. No logic of its own.

Exit codes: 0 fine, 1 a requirement or gate was not met, 2 usage or configuration, 3 environment, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

from luthier.cli import labelling, making, running, seeing
from luthier.cli.base import app, emit
from luthier.errors import LuthierError
from luthier.models.hardware import tune_process

__all__ = ["app", "labelling", "main", "making", "running", "seeing"]


def main() -> None:
    """Run a verb; errors become one message and an exit code."""
    tune_process()
    try:
        code = app(standalone_mode=False)
    except LuthierError as error:
        code = error.exit_code
        if "--json" in sys.argv:
            emit({"error": str(error), "kind": type(error).__name__, "exit_code": code})
        print(f"luthier: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("luthier: interrupted; nothing acknowledged is lost. Call the same verb again to go on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        error.show()  # the command line itself was wrong
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)
