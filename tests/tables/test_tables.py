"""One table in every form gives the same arrays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from luthier.errors import StateError
from luthier.tables import arrays, matrix, times
from luthier.tables.tabular import is_table

COLUMNS = {
    "whole": [1, 2, None],
    "number": [1.5, None, 2.0],
    "text": ["a", None, "ü"],
    "flag": [True, False, True],
    "lists": [[1, 2], [3], None],
    "vector": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "naive": [datetime(2026, 1, 1), datetime(2026, 1, 2, 3, 4, 5, 678), None],
    "aware": [datetime(2026, 1, 1, tzinfo=UTC)] * 3,
}
TABLE = pa.table(COLUMNS).set_column(7, "aware", pa.array(COLUMNS["aware"], pa.timestamp("us", "Europe/Berlin")))
FORMS = {
    "lists": lambda: COLUMNS,
    "arrow": lambda: TABLE,
    "record batch": lambda: TABLE.to_batches()[0],
    "pandas": lambda: TABLE.to_pandas(),
    "pandas nullable": lambda: TABLE.to_pandas().convert_dtypes(),
    "pandas arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas series": lambda: dict(TABLE.to_pandas().items()),
    "arrow columns": lambda: {name: TABLE[name] for name in COLUMNS},
    "polars": lambda: pytest.importorskip("polars").from_arrow(TABLE),
    "polars series": lambda: pytest.importorskip("polars").from_arrow(TABLE).to_dict(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays(form: str) -> None:
    table = FORMS[form]()
    assert is_table(table)
    found = arrays(table)
    assert list(found) == list(COLUMNS)
    for name in ("whole", "number"):
        assert found[name].dtype == np.float64
    np.testing.assert_array_equal(found["whole"], [1, 2, np.nan])
    assert found["text"].tolist() == ["a", None, "ü"]
    assert (found["flag"].dtype, found["flag"].tolist()) == (bool, [True, False, True])
    assert [None if row is None else list(row) for row in found["lists"]] == [[1, 2], [3], None]
    np.testing.assert_array_equal(matrix("vector", found["vector"]), COLUMNS["vector"])
    np.testing.assert_array_equal(found["naive"], [1767225600, 1767323045.000678, np.nan])
    np.testing.assert_array_equal(found["aware"], [1767225600] * 3)


def test_columns_are_renamed_and_stacked() -> None:
    table = {"a": [0.25, 0.5], "b": [0.75, 0.5], "y_pred": ["x", "y"], "none": None}
    found = arrays(table, {"probabilities": ["a", "b"], "predicted": "y_pred", "target": "absent"})
    assert sorted(found) == ["predicted", "probabilities"]
    assert found["probabilities"].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    with pytest.raises(StateError, match="has a column 'predicted' of its own"):
        arrays(table | {"predicted": [1, 2]}, {"predicted": "y_pred"})


def test_times_of_every_kind() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seconds = noon.timestamp()
    for at in (noon, noon.replace(tzinfo=None), "2026-03-01T13:00+01:00", np.datetime64("2026-03-01T12:00"), seconds):
        assert times(at, 2).tolist() == [seconds, seconds]
        assert times([at, at], 2).tolist() == [seconds, seconds]
    assert arrays({"day": [date(2026, 3, 1), None]})["day"][0] == seconds - 43_200
    with pytest.raises(StateError, match="1 event times for 2 rows"):
        times([noon], 2)
    with pytest.raises(StateError, match=r"'at': 1 of 2 rows have no event time .* \(first: row 1, 'noon'\)"):
        times([noon, "noon"], 2)


@pytest.mark.parametrize("thing", [None, 3, "text", [1, 2], {"a": "text"}, {"a": [1], "b": [1, 2]}, {"a": {1: 2}}])
def test_what_is_no_table_says_so(thing: object) -> None:
    with pytest.raises(StateError):
        arrays(thing)


def test_whole_numbers_beyond_64_bits_and_mixed_types() -> None:
    assert arrays({"x": [1, 10**30]})["x"].tolist() == [1, 1e30]
    assert arrays({"x": [1, "a", None, np.nan]})["x"].tolist() == [1, "a", None, None]


def test_durations_days_and_new_text_are_read() -> None:
    durations = [timedelta(minutes=1), None, timedelta(seconds=2)]
    found = arrays({"took": durations, "polars": pl.Series(durations), "numpy": np.array([60, "NaT", 2], "m8[s]")})
    for values in found.values():
        np.testing.assert_array_equal(values, [60.0, np.nan, 2.0])
    np.testing.assert_array_equal(times([date(1970, 1, 2), date(1970, 1, 3)], 2), [86_400, 172_800])
    text = np.array(["a", "b"], dtype=np.dtypes.StringDType())
    assert arrays({"text": text})["text"].tolist() == ["a", "b"]


def test_tensors_of_any_kind_are_read() -> None:
    torch = pytest.importorskip("torch")
    made = torch.tensor([0.5, 2.0])
    for tensor in (made, made.bfloat16(), made.half(), made.clone().requires_grad_()):
        assert arrays({"x": tensor})["x"].tolist() == [0.5, 2.0]
