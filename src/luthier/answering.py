"""The verbs by which a champion answers, over files and over HTTP, and by which labels come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.errors import DataError, need
from luthier.reading import files
from luthier.stages import data, record
from luthier.types import Version
from luthier.workshop import Progress, Workshop

__all__ = ["Answering"]


class Answering(Workshop):
    """A workshop whose champion answers."""

    def answer(
        self, file: str | Path, out: Path, *, number: int | None = None, progress: Progress | None = None
    ) -> int:
        """Answer every record of a file with a version (default: the champion) into JSON Lines; how many were."""
        made = self._chosen(number)
        adapter = self._task_of(made).adapter(self.registry.folder(made))
        loaded = data.read(Path(file).resolve(), self.config.data.columns, labelled=False)
        done = 0
        fresh = out.with_name(out.name + ".part")
        with fresh.open("w", encoding="utf-8") as lines:
            for start in range(0, len(loaded.records), 256):
                batch = loaded.records[start : start + 256]
                for one, output in zip(batch, adapter.answer(batch), strict=True):
                    kept = {key: value for key, value in output.items() if key != "embedding"}
                    lines.write(json.dumps({"id": one.id, "model": made.name, **kept}, ensure_ascii=False) + "\n")
                done += len(batch)
                if progress:
                    progress("answering", done / len(loaded.records), {})
        fresh.replace(out)
        return done

    def feedback(self, labels: str | Path | Sequence[Mapping[str, Any]]) -> Any:
        """Late labels, from a file with id and target or as mappings {id, target, at?, correct?}."""
        rows = _label_rows(Path(labels)) if isinstance(labels, str | Path) else list(labels)
        champion = self.registry.champion()
        known = None
        if champion is not None:
            task = self._task_of(champion)
            known = lambda label: task.check(replace(label, input="a text that is not checked here"))  # noqa: E731
        return record.feedback(self.store, rows, known=known)

    def server(self) -> tuple[Any, Any]:
        """The engine that answers, and its recorder; `rest.create_app` puts them behind HTTP.

        Raises UsageError when there is no champion.
        """
        from luthier.stages import serve

        champion = self._chosen(None)
        recorder = record.Recorder(self.store)

        def load() -> tuple[Version, Any]:
            newest = self.registry.champion() or champion
            return newest, self._task_of(newest).adapter(self.registry.folder(newest))

        def newest() -> int:
            now = self.registry.champion()
            return now.number if now else 0

        engine = serve.Server(
            self._task_of(champion), load=load, record=recorder.submit, newest=newest, options=self.config.serve
        )
        return engine, recorder

    def serve(
        self, *, host: str | None = None, port: int | None = None, announce: Callable[[str], object] = lambda url: None
    ) -> None:
        """Answer over HTTP until SIGINT or SIGTERM; see docs/serve.md.

        Raises UsageError for an address other than loopback without API keys, SetupError when the port is taken.
        """
        rest = need("luthier.rest", extra="serve")
        options = replace(
            self.config.serve,
            host=host or self.config.serve.host,
            port=self.config.serve.port if port is None else port,
        )
        engine, recorder = self.server()
        keys = self.key_file if self.key_file.exists() else None
        app = rest.create_app(
            engine, feedback=self.feedback, model_name=self.config.name, keys=keys, on_close=recorder.close
        )
        rest.run(app, options, announce=announce)

    @property
    def key_file(self) -> Path:
        """Where the hashes of the server's API keys are."""
        return self.home / self.config.store / "keys.json"


def _label_rows(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a file with the columns id and target (or label), and perhaps at and correct.

    Raises DataError naming the columns found when one is missing.
    """
    found = files.table(path)
    target = next((name for name in ("target", "label") if name in found.columns), None)
    if "id" not in found.columns or target is None:
        raise DataError(
            f"{path}: feedback needs the columns id and target; columns are {', '.join(found.columns)}. Rename them"
        )
    rows: list[Mapping[str, Any]] = []
    for number, values in found.rows:
        if isinstance(values, files.BadRow):
            rows.append({"id": f"{path.name}:{number}", "target": None})
        else:
            rows.append({**values, "target": files.label_text(values.get(target)), "at": values.get("at") or None})
    return rows
