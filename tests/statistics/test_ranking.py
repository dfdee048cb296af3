from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as theirs

from luthier.errors import StateError
from luthier.statistics.laws import check_statistic
from luthier.statistics.ranking import Ranking, from_lists, metrics

NAMES = ("ndcg", "precision", "recall", "hit_rate", "mrr", "map")


def drawn(rng, n, items=20, levels=0):
    gains = (rng.random((n, items)) < rng.beta(1, 6, (n, 1))) * rng.integers(1, 4, (n, items))
    gains[:, 0] = np.maximum(gains[:, 0], 1)  # something is always relevant
    scores = gains + rng.normal(size=(n, items)) * 2
    return gains.astype(float), np.round(scores * levels) / levels if levels else scores


@pytest.mark.parametrize("levels", [0, 1, 0.3])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_metrics_are_scikit_learns_ties_included(levels: float, k: int) -> None:
    gains, scores = drawn(np.random.default_rng(1), 200, levels=levels)
    found = metrics(gains, scores, k=k)
    assert found["ndcg"].mean() == pytest.approx(theirs.ndcg_score(gains, scores, k=k), abs=1e-9)
    expected = theirs.label_ranking_average_precision_score(gains > 0, scores)
    assert found["average_precision"].mean() == pytest.approx(expected, abs=1e-9)
    each = [theirs.average_precision_score(gain > 0, score) for gain, score in zip(gains, scores, strict=True)]
    np.testing.assert_allclose(found["average_precision"], each, atol=1e-9)
    one = np.where(np.arange(20) == gains.argmax(axis=1)[:, None], 1.0, 0.0)
    if not levels and k < 20:
        expected = theirs.top_k_accuracy_score(one.argmax(axis=1), scores, k=k, labels=np.arange(20))
        assert metrics(one, scores, k=k)["hit"].mean() == pytest.approx(expected, abs=1e-12)


def test_lists_by_hand() -> None:
    columns = from_lists(
        [["a", "b", "c"], ["b", "a", "b", "a"], [], ["x"]], [{"a": 3.0, "c": 1.0, "z": 2.0}, {"a"}, ["q"], ()]
    )
    found = metrics(**columns, k=2)
    assert found["recall"].tolist()[:3] == [1 / 3, 1.0, 0.0]
    assert found["precision"].tolist()[:3] == [0.5, 0.5, 0.0]
    assert found["reciprocal_rank"].tolist()[:3] == [1.0, 0.5, 0.0]
    assert found["average_precision"][:3] == pytest.approx([(1 + 2 / 3) / 3, 0.5, 0.0])
    assert found["ndcg"][:3] == pytest.approx([3 / (3 + 2 / math.log2(3)), 1 / math.log2(3), 0.0])
    assert all(math.isnan(values[3]) for values in found.values())  # nothing is relevant: nothing to measure
    statistic = Ranking(ideal="ideal", k=2)
    read = statistic.read(statistic.observe(columns))
    assert (read["mrr"].value, read["mrr"].n, read["missing"].value) == (0.5, 3, 0.25)


def test_tied_items_share_their_last_rank_whatever_the_order() -> None:
    gains, scores = np.array([[1.0, 0, 0, 1]]), np.array([[0.5, 0.5, 0.5, 0.1]])
    found = metrics(gains, scores, k=2)
    assert (found["reciprocal_rank"][0], found["recall"][0]) == (1 / 3, 0.0)
    for order in ([3, 2, 1, 0], [1, 0, 3, 2]):
        again = metrics(gains[:, order], scores[:, order], k=2)
        assert {name: values.tolist() for name, values in again.items()} == {
            name: values.tolist() for name, values in found.items()
        }


def test_items_that_are_not_there_rank_last() -> None:
    plain = metrics(np.array([[0.0, 1, 1]]), np.array([[0.2, 0.1, -math.inf]]))
    padded = metrics(np.array([[math.nan, 0, 1, 1]]), np.array([[9.0, 0.2, 0.1, -math.inf]]))
    assert plain == padded


@pytest.mark.parametrize("options", [{}, {"scores": "scores"}, {"ideal": "ideal", "k": 3}])
def test_the_law(options: dict[str, object]) -> None:
    rng = np.random.default_rng(2)
    gains, scores = drawn(rng, 6000, 12, 1)
    gains[::7, 3] = rng.choice([math.nan, math.inf, -1, 0], len(gains[::7]))
    scores[::11, 2] = rng.choice([math.nan, math.inf], len(scores[::11]))
    columns = {"gains": gains, "scores": scores, "ideal": np.concatenate((gains, gains[:, ::4]), axis=1)}
    check_statistic(Ranking(**options), columns, 1)
    check_statistic(Ranking(**options), {name: values[:5] * math.nan for name, values in columns.items()}, 1)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(3)
    statistic = Ranking(scores="scores", k=5)

    def read(n):
        gains, scores = drawn(rng, n)
        return statistic.read(statistic.observe({"gains": gains, "scores": scores}))

    true, covered = read(100_000), dict.fromkeys(NAMES, 0)
    for _ in range(400):
        found = read(200)
        for name in NAMES:
            covered[name] += found[name].low <= true[name].value <= found[name].high
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.985 * 400, covered


def test_all_right_is_not_certainty() -> None:
    statistic = Ranking(k=1)
    found = statistic.read(statistic.observe({"gains": np.array([[1.0, 0.0]] * 10)}))
    assert {found[name].value for name in NAMES} == {1.0}
    assert max(found[name].low for name in NAMES) < 0.8


def test_a_list_with_more_than_its_ideal_is_missing() -> None:
    found = metrics([[1.0, 1.0], [3.0, 0.0]], ideal=[[1.0], [1.0]])
    assert np.isnan(found["ndcg"]).all()


def read(columns, **options):
    statistic = Ranking(**options)
    return statistic.read(statistic.observe(columns))


@pytest.mark.parametrize("levels", [0, 1, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_weighted_means_are_scikit_learns_ties_and_zeros_included(levels: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gains, scores = drawn(rng, 100, levels=levels)
    cost = rng.choice([0.0, 1.0, 3.0, 1e-6, 1e6], 100) * rng.random(100)
    found = read({"gains": gains, "scores": scores, "cost": cost}, scores="scores", weight="cost", k=5)
    expected = theirs.ndcg_score(gains, scores, k=5, sample_weight=cost)
    assert found["ndcg"].value == pytest.approx(expected, abs=1e-9)
    expected = theirs.label_ranking_average_precision_score(gains > 0, scores, sample_weight=cost)
    assert found["map"].value == pytest.approx(expected, abs=1e-9)
    each = metrics(gains, scores, k=5)
    for name, of in (("precision",) * 2, ("recall",) * 2, ("hit_rate", "hit"), ("mrr", "reciprocal_rank")):
        assert found[name].value == pytest.approx(np.average(each[of], weights=cost), abs=1e-9), name


def test_the_law_with_weights() -> None:
    rng = np.random.default_rng(2)
    gains, scores = drawn(rng, 3000, 12, 1)
    gains[::7, 3] = rng.choice([math.nan, math.inf, -1, 0], len(gains[::7]))
    cost = rng.choice([0.0, 1 / 3, 2.0**-30, 2.0**31, -1, math.nan, math.inf, 1e-300, 1e300], len(gains))
    columns = {"gains": gains, "scores": scores, "cost": cost}
    statistic = Ranking(scores="scores", weight="cost")
    check_statistic(statistic, columns, 1)
    check_statistic(statistic, columns | {"cost": rng.gamma(0.3, size=len(cost)).clip(1e-9)}, 2)
    check_statistic(statistic, {name: values[:9] for name, values in columns.items()} | {"cost": np.zeros(9)}, 3)


@pytest.mark.parametrize("size", [1.0, 0.1, 2.0**-30, 3e8])
def test_equal_weights_change_nothing(size: float) -> None:
    gains, scores = drawn(np.random.default_rng(3), 200)
    columns = {"gains": gains, "scores": scores, "cost": np.full(200, size)}
    found = read(columns, scores="scores", weight="cost")
    for name, plain in read(columns, scores="scores").items():
        ours, expected = ((e.value, e.n, e.low, e.high) for e in (found[name], plain))
        assert ours == pytest.approx(expected, abs=1e-9), name


def test_intervals_with_weights_cover() -> None:
    rng = np.random.default_rng(3)

    def found(n):
        gains, scores = drawn(rng, n)
        cost = rng.gamma(1, size=n) * (1 + (gains > 0).sum(axis=1))  # rich queries weigh more
        return read({"gains": gains, "scores": scores, "cost": cost}, scores="scores", weight="cost", k=5)

    true, covered = found(100_000), dict.fromkeys(NAMES, 0)
    for _ in range(300):
        one = found(400)
        for name in NAMES:
            covered[name] += one[name].low <= true[name].value <= one[name].high
    assert min(covered.values()) >= 0.9 * 300, covered
    assert max(covered.values()) <= 0.99 * 300, covered


def test_queries_without_a_usable_weight_are_missing() -> None:
    columns = {"gains": np.eye(6), "cost": np.array([2.0, -1.0, math.nan, math.inf, 1e-300, 0.0])}
    found = read(columns, weight="cost")
    assert (found["missing"].value, found["missing"].n) == (pytest.approx(4 / 6), 6)
    assert (found["mrr"].value, found["mrr"].n) == (1.0, 1)
    none = read(columns | {"cost": np.zeros(6)}, weight="cost")
    assert (none["missing"].value, {none[name].n for name in NAMES}) == (0.0, {0})


def test_misuse_is_named() -> None:
    with pytest.raises(StateError, match="column 'cost' has 2 rows for 3 queries"):
        Ranking(weight="cost").observe({"gains": np.eye(3), "cost": np.ones(2)})
    with pytest.raises(StateError, match="weight '' and 'cost' cannot be merged"):
        Ranking().merge(Ranking().observe({}), Ranking(weight="cost").observe({}))
    with pytest.raises(ValueError, match="k is 0"):
        Ranking(k=0)
    with pytest.raises(StateError, match=r"gains are int64 of shape \(3,\)"):
        metrics([1, 0, 1])
    with pytest.raises(StateError, match="one score for each gain"):
        metrics([[1, 0]], [[0.5]])
    with pytest.raises(StateError, match="2 ranked lists and 1 sets"):
        from_lists([[1], [2]], [{1}])
