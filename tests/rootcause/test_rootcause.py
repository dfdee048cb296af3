"""Why the loss rose: a planted slice is found, nothing is claimed without one, and the effects add up."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.evidence.intervals import binomial_tail, chernoff
from luthier.rootcause import RootCause, ScanOptions, explain, slicing


def rows(
    seed: int, n: int, base: float = 0.1, planted: float = 0.0, *, german: float = 0.2, fraction: bool = False
) -> dict[str, Any]:
    """Loss `base`, in rows of lang=de with kind=b higher by `planted`, and in rows of lang=de alone by .1."""
    rng = np.random.default_rng(seed)
    lang = np.where(rng.random(n) < german, "de", rng.choice(["en", "fr"], n))
    columns: dict[str, Any] = {"tag:lang": lang, "tag:kind": rng.choice(list("abc"), n)}
    columns |= {"tag:shop": rng.choice(list("qrstuvw"), n), "length": rng.integers(3, 60, n)}
    columns |= {"confidence": rng.beta(8, 2, n), "margin": rng.random(n), "predicted": rng.integers(0, 3, n)}
    risk = base + 0.1 * (lang == "de") + planted * ((lang == "de") & (columns["tag:kind"] == "b"))
    loss = (rng.random(n) < risk).astype(float)
    return columns | {"loss": loss * rng.uniform(0.5, 1, n) if fraction else loss}


@pytest.mark.parametrize("fraction", [False, True])
def test_a_planted_slice_is_found_and_named_first(fraction: bool) -> None:
    found = 0
    for seed in range(40):
        cause = explain(rows(seed, 4000, fraction=fraction), rows(1000 + seed, 2500, planted=0.6, fraction=fraction))
        first = cause.slices[0]
        found += set(first.name.split(" and ")) == {"lang=de", "kind=b"} and first.kind == "worse"
        assert first.name in cause.why
        assert len(cause.slices) <= 3
    assert found >= 36


@pytest.mark.parametrize(("before", "after", "rise"), [(2000, 400, 0.0), (500, 3000, 0.0), (2000, 2000, 0.15)])
def test_without_a_planted_slice_nothing_is_claimed(before: int, after: int, rise: float) -> None:
    """No change, or an equal rise everywhere: slices are named in at most 5 % of runs."""
    causes = [explain(rows(seed, before), rows(5000 + seed, after, base=0.1 + rise)) for seed in range(150)]
    assert sum(bool(cause.slices) for cause in causes) <= 12  # 150 at 5 %: binomial upper bound at 95 %
    assert all(cause.looked > 10 for cause in causes)


def test_more_of_a_harder_slice_is_told_from_a_slice_that_got_worse() -> None:
    cause = explain(rows(1, 4000, base=0.02), rows(2, 4000, base=0.02, german=0.8))
    assert [(one.name, one.kind) for one in cause.slices] == [("lang=de", "more")]
    assert cause.slices[0].share_before < 0.25 < 0.75 < cause.slices[0].share_after
    mix = cause.features[0]
    assert (mix.name, mix.moved) == ("lang", "lang=de")
    assert 0.02 < mix.mix.low < mix.mix.value < 0.09
    assert cause.slices[0].effect == pytest.approx(mix.mix.value, abs=0.01)


def test_a_value_never_seen_before_is_named_when_it_is_hard() -> None:
    before, after = rows(1, 2000), rows(2, 2000)
    after["tag:shop"] = np.where(np.arange(2000) < 300, "new", after["tag:shop"])
    after["loss"][:200] = 1.0
    assert [(one.name, one.kind, one.before.n) for one in explain(before, after).slices] == [("shop=new", "more", 0)]


def test_two_causes_are_both_named_and_their_shadows_are_not() -> None:
    before, after = rows(1, 6000), rows(2, 6000)
    rng = np.random.default_rng(3)
    for chosen in (after["tag:shop"] == "q", after["length"] > 54):
        after["loss"] = np.maximum(after["loss"], chosen & (rng.random(6000) < 0.5))
    assert {one.name for one in explain(before, after).slices} == {"shop=q", "length > 54"}


def test_a_range_of_a_number_is_found_whole_and_named_in_words() -> None:
    """The rise lies in ages 34 to 57, which are several of ten bins; with a second predicate, in one shop of them."""
    near = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        before, after = (
            rows(seed + side, 12_000) | {"age": rng.integers(10, 90, 12_000), "weight": rng.normal(70, 10, 12_000)}
            for side in (0, 500)
        )
        inside = (after["age"] >= 34) & (after["age"] <= 57) & (after["tag:shop"] == "q")
        after["loss"] = np.maximum(after["loss"], inside & (rng.random(12_000) < 0.9))
        cause = explain(before, after)
        assert "shop=q" in cause.slices[0].name
        found = re.search(r"age (\d+) to (\d+)", cause.slices[0].name)
        near += found is not None and abs(int(found[1]) - 34) <= 8 and abs(int(found[2]) - 57) <= 8
        assert cause.slices[0].name in cause.why
    assert near >= 5


def test_every_run_of_bins_is_counted_exactly() -> None:
    rng = np.random.default_rng(0)
    old, new = ({"x": rng.normal(size=n), "y": rng.integers(0, 90, n), "loss": rng.random(n)} for n in (3000, 2000))
    columns = slicing.features(old, new, ScanOptions())
    loss, both = np.concatenate([old["loss"], new["loss"]]), np.arange(5000) >= 3000
    table = slicing.Table.of(list(slicing.scan(columns, loss, (3000, 2000), 30)))
    assert 2900 < len(table.parts) <= 54 + 54 + 54 * 54, "those of 30 rows at least"
    for i in rng.choice(len(table.parts), 60):
        inside = np.ones(5000, bool)
        for f, span in table.parts[i].reshape(2, 2).tolist():
            low, high = columns[f].spans[span] if f >= 0 else (0, 0)
            inside &= ((columns[f].codes >= low) & (columns[f].codes <= high)) if f >= 0 else True
        for side in (0, 1):
            assert table.rows[side, i] == (inside & (both == side)).sum()
            assert table.losses[side, i] == pytest.approx(loss[inside & (both == side)].sum(), abs=1e-9)
    named = [name for one in columns for name in one.named]
    assert len(set(named)) == len(named)


def test_mix_and_concept_add_up_to_the_rise_and_follow_their_definitions() -> None:
    before, after = rows(1, 3000), rows(2, 2000, planted=0.3, german=0.4)
    cause = explain(before, after)
    effect = next(one for one in cause.features if one.name == "lang")
    mix = concept = 0.0
    for value in ("de", "en", "fr"):
        old, new = before["tag:lang"] == value, after["tag:lang"] == value
        mix += (new.mean() - old.mean()) * before["loss"][old].mean()
        concept += new.mean() * (after["loss"][new].mean() - before["loss"][old].mean())
    assert effect.mix.value == pytest.approx(mix, abs=1e-12)
    assert effect.concept == pytest.approx(concept, abs=1e-12)
    assert all(one.mix.value + one.concept == pytest.approx(cause.rise, abs=1e-12) for one in cause.features)


def test_the_interval_of_the_mix_holds_when_nothing_moved() -> None:
    wrong = sum(
        one.mix.low > 0 or one.mix.high < 0
        for seed in range(100)
        for one in explain(rows(seed, 800), rows(900 + seed, 500)).features
    )
    assert wrong <= 12  # 100 runs, 5 % for all features of a run together


def test_slices_are_counted_exactly() -> None:
    before, after = rows(1, 4000), rows(2, 40_000, planted=0.6)
    one = explain(before, after).slices[0]
    inside = (after["tag:lang"] == "de") & (after["tag:kind"] == "b")
    assert one.after.n == inside.sum()
    assert one.after.value == after["loss"][inside].mean()
    assert one.elsewhere_after == pytest.approx(after["loss"][~inside].mean(), abs=1e-12)
    old = (before["tag:lang"] == "de") & (before["tag:kind"] == "b")
    rise = one.after.value - before["loss"][old].mean() - (after["loss"][~inside].mean() - before["loss"][~old].mean())
    assert one.effect == pytest.approx(inside.mean() * rise, abs=1e-12)


def test_examples_are_failures_and_their_nearest_row_before() -> None:
    rng = np.random.default_rng(0)
    before = {"embedding": rng.standard_normal((500, 8)), "loss": (rng.random(500) < 0.1).astype(float)}
    after = {"embedding": rng.standard_normal((300, 8)).astype(np.float32), "loss": np.zeros(300)}
    after["embedding"][40:60] += 9
    after["loss"][40:60] = 1.0
    examples = explain(before, after).examples
    assert len(examples) == 3
    for one in examples:
        assert 40 <= one.after < 60
        distance = np.linalg.norm(before["embedding"] - after["embedding"][one.after], axis=1)
        assert (one.before, one.before_loss) == (distance.argmin(), before["loss"][distance.argmin()])
        assert one.distance == pytest.approx(distance.min())
        assert one.distance > 3 * one.usual


def test_bad_input_is_an_error_or_claims_nothing() -> None:
    good = rows(1, 500)
    assert explain({}, {}).why.startswith("no cause looked for: 0 rows before and 0 after have a loss; 30 are needed")
    assert math.isnan(explain({}, good).before.value)
    assert not explain({"loss": good["loss"]}, {"loss": good["loss"]}).slices
    with pytest.raises(StateError, match="a loss after the change lies outside"):
        explain(good, good | {"loss": good["loss"] + 1})
    with pytest.raises(StateError, match=r"one length, one row a record; lengths are \{.*'length': 3"):
        explain(good | {"length": np.arange(3)}, good)
    with pytest.raises(ValueError, match="alpha is 0"):
        ScanOptions(alpha=0)
    hostile = dict.fromkeys(("a", "b"), np.full(500, np.nan)) | {
        "c": np.zeros(500), "d": np.array([None, float("nan"), {"x": 1}, [1], "e"] * 100, object),
        "e": np.array(["x" * 500] * 500), "f": np.full(500, np.inf), "g": np.arange(500) * 10**15,
        "embedding": np.full((500, 4), np.nan), "loss": good["loss"],
    }  # fmt: skip
    cause = explain(hostile, hostile)
    assert isinstance(cause, RootCause)
    assert not cause.slices
    missing = good | {"loss": np.where(np.arange(500) < 400, good["loss"], np.nan)}
    assert explain(missing, good).before.n == 400


def test_a_missing_number_is_a_slice_of_its_own() -> None:
    before, after = rows(1, 3000), rows(2, 3000)
    for side in (before, after):
        side["length"] = side["length"].astype(float)
        side["length"][:500] = np.nan
    after["loss"][:300] = 1.0
    assert explain(before, after).slices[0].name == "length missing"


def test_chernoff_bounds_hold_as_often_as_they_say() -> None:
    for n, p in ((20, 0.1), (200, 0.5), (1000, 0.02)):
        k = np.arange(n + 1)
        low, high = chernoff(k, np.full(n + 1, n), 0.01)
        chance = np.array([binomial_tail(int(i), n, p) for i in k])  # P(K <= k)
        exact = np.diff(chance, prepend=0)
        assert exact[low > p].sum() <= 0.01
        assert exact[high < p].sum() <= 0.01
        assert (low <= k / n).all()
        assert (k / n <= high).all()
    low, high = chernoff(np.zeros(1), np.zeros(1), 0.05)
    assert (low[0], high[0]) == (0, 1)
