"""A name that is misspelt is refused, with those there are; nothing is silently not watched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import luthier
from luthier.checks.fairness import Fairness
from luthier.errors import StateError, UsageError
from luthier.options import MonitorOptions
from luthier.stages import labelfiles


def answers(n: int = 300) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    lang, plan = rng.choice(["de", "en"], n), rng.choice(["free", "pro"], n)
    return {"predicted": rng.integers(0, 2, n), "target": rng.integers(0, 2, n), "lang": lang, "plan": plan}


def monitor(**options: Any) -> luthier.Monitor:
    return luthier.Monitor(answers(), options=MonitorOptions(**options), checks=("risk.v1",))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slices": ("langg",)}, "no column 'langg'; did you mean 'lang'"),
        ({"slices": ("lang&plann",)}, "no column 'plann'; did you mean 'plan'"),
        ({"slices": ("lang&lang",)}, "'lang&lang' must name one column, or two different ones"),
        ({"slices": ("lang&plan&target",)}, "must name one column, or two"),
        ({"group": "sex"}, "group is 'sex', and the reference has no such column: there are lang"),
    ],
)
def test_what_can_never_be_watched_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(StateError, match=said):
        monitor(**options)


def test_a_tag_that_may_still_come_is_said_until_it_does() -> None:
    watched = monitor(slices=("region",))
    assert "slices 'region' not watched yet" in watched.said
    watched.observe("label", {**answers(), "region": np.repeat(["north", "south"], 150)}, at="2026-01-01")
    assert "not watched yet" not in watched.said
    assert watched.metrics(slice="region=north")["accuracy"].n == 150


def test_a_slice_or_metric_that_there_is_not_is_refused() -> None:
    watched = monitor(slices=("lang", "lang&plan"))
    assert np.isnan(watched.metrics(slice="lang=de")["accuracy"].value)  # of the reference, no row yet
    watched.observe("label", answers(), at="2026-01-01")
    assert watched.metrics(slice="lang=de&plan=pro")["accuracy"].n > 0
    for name in ("typo", "lang=fr", "lang=de&plan=gold", "plan=free"):
        with pytest.raises(StateError, match=f"there is no slice '{name}'.*lang=de"):
            watched.metrics(slice=name)
        with pytest.raises(StateError, match=f"there is no slice '{name}'"):
            watched.timeline("loss", slice=name)
    with pytest.raises(StateError, match="there is no metric 'acuracy': did you mean 'accuracy'"):
        watched.timeline("acuracy")
    assert [row["f1[1]"].n > 0 for row in watched.timeline("f1[1]", slice="lang=de")] == [True]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alhpa": 0.1}, "no setting 'alhpa'; did you mean 'alpha'"),
        ({"alpha": 5}, r"alpha is 5; it must lie in \[1e-12, 0.5\]"),
        ({"alpha": "x"}, "alpha is 'x'; it must lie in"),
        ({"alpha": None}, "alpha is None; it must lie in"),
        ({"slices": "lang"}, r"slices is 'lang'; it must be a tuple of names, such as \('lang',\)"),
        ({"checks": 5}, "checks is 5; it must be a tuple of names"),
        ({"group": 5}, "group is 5; it must be the name of a column"),
        (5, "options is a int; give MonitorOptions"),
    ],
)
def test_settings_are_refused_in_words(options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        luthier.Monitor(answers(), options=options)


def test_settings_may_be_a_mapping() -> None:
    assert luthier.Monitor(answers(), options={"alpha": 0.01}).options == MonitorOptions(alpha=0.01)


def test_amounts_as_text_are_no_labels() -> None:
    rng = np.random.default_rng(0)
    price = rng.normal(50, 9, 400)
    texts = {"target": [f"{x:.1f}" for x in price], "predicted": [f"{x + 1:.1f}" for x in price]}
    with pytest.raises(StateError, match=r"different numbers as text, such as .* say task='regression'"):
        luthier.Monitor(texts)
    for spelling in ("{:.0f}", "{:,.0f}"):
        whole = {name: [spelling.format(9000 * float(one)) for one in values] for name, values in texts.items()}
        with pytest.raises(StateError, match="different numbers as text"):
            luthier.Monitor(whole)
    watched = luthier.Monitor(texts, task="regression")
    assert "target is text, read as numbers" in watched.said
    watched.observe("label", texts, at="2026-01-01")
    assert abs(watched.metrics()["mae"].value - 1) < 0.1
    digits = {"target": ["3", "8"] * 50, "predicted": ["3", "3"] * 50}
    assert luthier.Monitor(digits).scoring.labels == ("3", "8")


def test_a_group_that_the_reference_lacks_is_named_and_counted() -> None:
    check = Fairness()
    memory = check.start({"loss": np.zeros(100), "group": np.repeat(["a", "b"], 50)})
    _, finding = check.step(memory, {"loss": np.zeros(40), "group": np.repeat(["a", "b", "new", "a"], 10)})
    assert "not compared on their own, only as part of the rest: 'new' (10 rows; the reference has none)" in finding.why
    _, finding = check.step(memory, {"loss": np.zeros(20), "group": np.repeat(["a", "b"], 10)})
    assert "not compared" not in finding.why


def test_tasks_that_nobody_looked_at_are_open(tmp_path: Any) -> None:
    path = tmp_path / "back.json"
    path.write_text(
        '[{"data": {"luthier_id": "a"}}, {"data": {"luthier_id": "b"}, "annotations": []},'
        ' {"data": {"luthier_id": "c"}, "annotations": null}]',
        encoding="utf-8",
    )
    back = labelfiles.read(path)
    assert (back.open, back.rejected) == (3, ())
