"""Numbers that others published, to the digits they gave, from our own doors. The rest stand in test_evidence.py
(confidence sequences), test_charts.py (CUSUM and EWMA run lengths) and test_fewlabels.py (PPI++)."""

from __future__ import annotations

import random

import numpy as np
import pytest

from luthier.evidence.intervals import poly_stitching_bound
from luthier.outliers.detectors import River
from luthier.stages.detect import change_point
from luthier.statistics.mean import Mean

NILE = np.array([
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
    1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
    831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759,
    781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890,
    744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
])  # fmt: skip
"""Yearly flow of the Nile at Aswan, 1871 to 1970, 1e8 m³: Cobb, "The problem of the Nile", Biometrika 1978; public domain."""


def test_the_nile_fell_after_1898() -> None:
    low = 1 - (NILE - NILE.min()) / (NILE.max() - NILE.min())  # in [0, 1], and a fall of the river is a rise
    cut = change_point(low)
    assert 1871 + cut - 1 == 1898  # the last year of the strong river
    mean = Mean("flow")
    before, after = (mean.read(mean.observe({"flow": part}))["mean"] for part in (NILE[:cut], NILE[cut:]))
    assert (round(before.value, 2), round(after.value, 2)) == (1097.75, 849.97)
    assert before.low > after.high


def test_the_stitched_bound_is_confseqs() -> None:
    assert poly_stitching_bound(100, 0.05, 10, 3) == pytest.approx(64.48755, abs=1e-5)
    assert poly_stitching_bound(100, 0.05, 10, -1) == pytest.approx(28.99389, abs=1e-5)


def test_half_space_trees_score_as_in_rivers_docstring() -> None:
    anomaly = pytest.importorskip("river.anomaly")
    adapter = River(anomaly.HalfSpaceTrees(n_trees=5, height=3, window_size=3, seed=42))
    x = np.array([[0.5], [0.45], [0.43], [0.44], [0.445], [0.45], [0.0]])
    scores = adapter.score(adapter.fit(x[:3]), x[None])
    assert scores.round(3).tolist() == [[0.107, 0.071, 0.107, 0.107, 0.107, 0.071, 0.853]]


@pytest.mark.parametrize(
    ("name", "options", "at"),
    [("ADWIN", {}, 1023), ("PageHinkley", {}, 1006), ("KSWIN", {"alpha": 0.0001, "seed": 42}, 1016)],
)
def test_rivers_drift_detectors_speak_where_its_docstrings_say(name: str, options: dict[str, object], at: int) -> None:
    drift = pytest.importorskip("river.drift")
    rng = random.Random(12345)
    stream = rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)
    detector = getattr(drift, name)(**options)
    found = [place for place, value in enumerate(stream) if (detector.update(value), detector.drift_detected)[1]]
    assert found == [at]
