"""One table in every form gives the same columns and the same states."""

from __future__ import annotations

import decimal
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from luthier import codec
from luthier.errors import StateError
from luthier.tables.frames import columns_of, observe
from luthier.tables.tabular import is_table

NUMBERS = [1.5, -2.0, None, 7.25, 0.0]
WHOLE = [1, 2, 3, 2, 2]
TEXTS = ["a", None, "b", "a", "ü"]
FLAGS = [True, False, True, True, False]
FORMS = {
    "numpy": lambda: {
        "number": np.array([np.nan if x is None else x for x in NUMBERS], np.float32),
        "whole": np.array(WHOLE), "text": np.array(TEXTS, object), "flag": np.array(FLAGS),
    },
    "lists": lambda: {"number": NUMBERS, "whole": WHOLE, "text": TEXTS, "flag": FLAGS},
    "arrow": lambda: pa.table({"number": NUMBERS, "whole": WHOLE, "text": TEXTS, "flag": FLAGS}),
    "arrow in chunks": lambda: pa.concat_tables([FORMS["arrow"]()[:2], FORMS["arrow"]()[2:]]),
    "arrow dictionary": lambda: FORMS["arrow"]().set_column(2, "text", pa.array(TEXTS).dictionary_encode()),
    "record batch": lambda: FORMS["arrow"]().to_batches()[0],
    "pandas": lambda: FORMS["arrow"]().to_pandas(),
    "pandas category": lambda: FORMS["arrow"]().to_pandas().astype({"text": "category"}),
    "pandas object": lambda: FORMS["arrow"]().to_pandas().astype({"text": object, "flag": object}),
    "pandas nullable": lambda: FORMS["arrow"]().to_pandas().convert_dtypes(),
    "pandas arrow": lambda: FORMS["arrow"]().to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pytest.importorskip("polars").from_arrow(FORMS["arrow"]()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_states(form: str) -> None:
    table = FORMS[form]()
    assert is_table(table)
    columns = list(columns_of(table))
    assert [(c.name, c.kind) for c in columns] == [
        ("number", "number"), ("whole", "number"), ("text", "category"), ("flag", "category"),
    ]  # fmt: skip
    expected = [observe(column) for column in columns_of(FORMS["arrow"]())]
    assert [codec.pack(observe(column)) for column in columns] == [codec.pack(state) for state in expected]
    number, _, text, flag = expected
    assert (number["n"], number["missing"], number["min"], number["max"]) == (4, 1, -2.0, 7.25)
    assert dict(zip(text["names"].tolist(), text["counts"].tolist(), strict=True)) == {"a": 2, "b": 1, "ü": 1}
    assert text["missing"] == 1
    assert flag["names"].tolist() == ["False", "True"]


@pytest.mark.parametrize("form", ["numpy", "arrow", "pandas", "pandas nullable", "polars"])
def test_numbers_can_be_named_as_categories(form: str) -> None:
    whole = next(c for c in columns_of(FORMS[form](), categories=["whole"]) if c.name == "whole")
    state = observe(whole)
    assert dict(zip(state["names"].tolist(), state["counts"].tolist(), strict=True)) == {"1": 1, "2": 3, "3": 1}


def test_other_kinds_are_named() -> None:
    table = pa.table({
        "when": pa.array([datetime(2026, 1, 1)]), "list": [[1]], "price": [decimal.Decimal("1.5")], "none": [None],
    })  # fmt: skip
    found = {c.name: (c.kind, c.said) for c in columns_of(table)}
    assert found["when"][0] == "time"
    assert found["list"][0] == "other"
    assert found["price"][0] == "number"
    assert found["none"] == ("category", "null")
    mixed = next(columns_of(pd.DataFrame({"x": [1, "two", None, "three"]})))
    assert (mixed.kind, mixed.said) == ("mixed", "2 str, 1 int")
    assert observe(mixed)["missing"] == 1


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(StateError, match=r"of one length; lengths are \{'a': 2, 'b': 3\}"):
        list(columns_of({"a": [1, 2], "b": [1, 2, 3]}))
    with pytest.raises(StateError, match="one value or one vector a row"):
        list(columns_of({"a": np.zeros((2, 2, 2))}))
    with pytest.raises(StateError, match="not a table"):
        list(columns_of(pd.Series([1, 2])))
    with pytest.raises(StateError, match=r"Duplicate|unique|not a table"):
        list(columns_of(pd.DataFrame([[1, 2]], columns=["a", "a"])))


VECTORS = [[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0], [0.5, float("nan"), 1.5]]
FLAT = np.array([[np.nan] * 3 if row is None else row for row in VECTORS], np.float32)
VECTOR_FORMS = {
    "numpy": lambda: {"v": FLAT},
    "half precision": lambda: {"v": FLAT.astype(np.float16)},
    "lists": lambda: {"v": [row or [np.nan] * 3 for row in VECTORS]},
    "arrow lists": lambda: pa.table({"v": pa.array(VECTORS, pa.list_(pa.float32()))}),
    "arrow large lists": lambda: pa.table({"v": pa.array(VECTORS, pa.large_list(pa.float64()))}),
    "arrow fixed": lambda: pa.table({"v": pa.array(VECTORS, pa.list_(pa.float32(), 3))}),
    "arrow in chunks": lambda: pa.concat_tables([VECTOR_FORMS["arrow fixed"]()[:1], VECTOR_FORMS["arrow fixed"]()[1:]]),
    "pandas": lambda: pd.DataFrame({"v": VECTORS}),
    "pandas of arrays": lambda: pd.DataFrame({"v": [None if row is None else np.array(row) for row in VECTORS]}),
    "polars": lambda: pytest.importorskip("polars").DataFrame({"v": VECTORS}),
    "polars array": lambda: pytest.importorskip("polars").from_arrow(VECTOR_FORMS["arrow fixed"]()),
}


@pytest.mark.parametrize("form", VECTOR_FORMS)
def test_every_form_of_vectors_gives_the_same_state(form: str) -> None:
    column = next(columns_of(VECTOR_FORMS[form]()))
    assert (column.kind, column.said) == ("vector", "vectors of 3")
    np.testing.assert_array_equal(column.values, FLAT)
    state = observe(column)
    assert (state["n"], state["missing"], state["width"]) == (2, 2, 3)


def test_lists_that_are_no_vectors_are_named() -> None:
    ragged = pa.table({"v": pa.array([[1.0], [1.0, 2.0]])})
    assert [(c.kind, c.said) for c in columns_of(ragged)] == [("other", "lists of 1 to 2 numbers")]
    assert next(columns_of({"v": [[1.0], [1.0, 2.0]]})).said == "lists of 1 to 2 numbers"
    assert next(columns_of({"v": [["a", "b"], ["c", "d"]]})).kind == "other"
    nothing = next(columns_of(pa.table({"v": pa.array([None, None], pa.list_(pa.float32()))})))
    assert observe(nothing)["missing"] == 2
