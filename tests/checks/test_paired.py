"""Candidate against champion: how often "not worse" is said of a worse one, and how many labels the truth costs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from luthier import evidence
from luthier.checks.paired import Better, Flips, NotWorse
from luthier.errors import StateError


def losses(rng: np.random.Generator, n: int, discordance: float, worse: float) -> dict[str, np.ndarray]:
    """Paired 0/1 losses: `discordance` of rows differ, mean difference `worse`."""
    u = rng.random(n)
    up, down = (discordance + worse) / 2, (discordance - worse) / 2
    difference = np.where(u < up, 1.0, np.where(u < up + down, -1.0, 0.0))
    champion = np.where(difference == 0, (rng.random(n) < 0.05).astype(float), (difference < 0).astype(float))
    return {"loss": champion + difference, "champion_loss": champion}


@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.10])
def test_a_candidate_worse_by_the_margin_is_rarely_called_not_worse_at_any_look(discordance: float) -> None:
    rng = np.random.default_rng(1)
    runs, wrong = 400, 0
    for _ in range(runs):
        pair = losses(rng, 3000, discordance, 0.01)
        factors = evidence.paired_factors(pair["loss"] - pair["champion_loss"], 0.01)
        path = np.exp(np.cumsum(np.log(factors), axis=1)).mean(axis=0)  # every single look
        wrong += bool((path >= 20).any())
    print(f"\nnot_worse.v1 at the margin, discordance {discordance}: {wrong / runs:.3f} (table .03-.05, promised .05)")
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)


def test_looks_after_every_window_keep_the_promise_through_the_check_itself() -> None:
    rng = np.random.default_rng(2)
    check, runs, wrong, harmed = NotWorse(margin=0.02), 150, 0, 0
    for _ in range(runs):
        memory, pair = check.start({}), losses(rng, 1500, 0.06, 0.02)
        said = set()
        for start in range(0, 1500, 50):
            memory, finding = check.step(memory, {name: x[start : start + 50] for name, x in pair.items()})
            said.add(finding.evidence >= 20)
            harmed += finding.alarm
        wrong += True in said
    assert wrong <= stats.binom.ppf(0.999, runs, 0.05)
    assert harmed  # and its harm is seen in some


@pytest.mark.parametrize(("worse", "table"), [(-0.01, 777), (-0.02, 334)])
def test_what_a_better_candidate_costs(worse: float, table: int) -> None:
    rng = np.random.default_rng(3)
    taken = []
    for _ in range(100):
        pair = losses(rng, 4000, 0.05, worse)
        factors = evidence.paired_factors(pair["loss"] - pair["champion_loss"], 0.01)
        path = np.exp(np.cumsum(np.log(factors), axis=1)).mean(axis=0)
        taken.append(np.argmax(path >= 20) + 1 if (path >= 20).any() else np.inf)
    print(
        f"\nnot_worse.v1, {-worse:+.2f} better, discordance 5 %: median {np.median(taken):,.0f} labels (table {table})"
    )
    assert np.median(taken) <= 1.3 * table


def test_better_is_said_of_a_better_one_and_rarely_of_an_equal_one() -> None:
    rng = np.random.default_rng(4)
    check = Better()

    def shown(pair: dict[str, np.ndarray]) -> bool:
        return check.step(check.start({}), pair)[1].evidence >= 20

    assert np.mean([shown(losses(rng, 400, 0.2, -0.1)) for _ in range(50)]) > 0.8
    assert sum(shown(losses(rng, 1000, 0.2, 0.0)) for _ in range(200)) <= stats.binom.ppf(0.999, 200, 0.05)
    worse = check.step(check.start({}), losses(rng, 500, 0.2, 0.12))[1]
    assert worse.alarm
    assert "harm shown" in worse.why


def test_inconclusive_says_how_many_more_labels_and_they_suffice_in_the_median() -> None:
    rng = np.random.default_rng(5)
    check, enough = NotWorse(margin=0.02), []
    for _ in range(40):
        memory, finding = check.step(check.start({}), losses(rng, 150, 0.05, -0.01))
        if finding.evidence >= 20:
            continue
        more = check.more(memory)
        assert f"label {more} more" in finding.why
        enough.append(check.step(memory, losses(rng, 2 * more, 0.05, -0.01))[1].evidence >= 20)
    assert np.mean(enough) > 0.6


def test_rows_on_which_both_agree_need_no_label() -> None:
    n = 600
    pair = {
        "loss": np.full(n, np.nan), "champion_loss": np.full(n, np.nan),
        "predicted": np.zeros(n, np.int64), "champion_predicted": np.zeros(n, np.int64),
    }  # fmt: skip
    pair["champion_predicted"][:20] = 1
    pair["loss"][:20], pair["champion_loss"][:20] = 0.0, 1.0
    check = NotWorse(agreements=True)
    finding = check.step(check.start({}), pair)[1]
    assert (finding.n, finding.evidence >= 20) == (600, True)
    pair["loss"][:20] = np.nan  # disagreements without a label count as the worst
    unlabelled = check.step(check.start({}), pair)[1]
    assert unlabelled.alarm
    plain = NotWorse().step(NotWorse().start({}), pair)[1]
    assert (plain.n, plain.evidence) == (0, 1.0)


def test_flips_are_shown_by_the_exact_bound() -> None:
    for flips, n in [(0, 40), (10, 200), (3, 100), (30, 200)]:
        pair = {"loss": np.zeros(n), "champion_loss": np.zeros(n)}
        pair["loss"][:flips] = 1
        finding = Flips(limit=0.1).step(Flips().start({}), pair)[1]
        upper = evidence.clopper_pearson_upper(flips, n, 0.05)
        assert (finding.evidence >= 20) == (upper <= 0.1)
        assert finding.value == flips / n
    assert finding.alarm
    assert not Flips(limit=1.0).step(Flips().start({}), pair)[1].alarm


def test_pairs_that_do_not_match_are_errors() -> None:
    for check in (NotWorse(), Better(), Flips()):
        with pytest.raises(StateError, match="3 losses, 2 champion losses"):
            check.step(check.start({}), {"loss": np.zeros(3), "champion_loss": np.zeros(2)})
        with pytest.raises(StateError, match="champion_loss holds 2"):
            check.step(check.start({}), {"loss": np.zeros(2), "champion_loss": np.array([0, 2.0])})
