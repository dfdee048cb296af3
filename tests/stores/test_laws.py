"""Every registered store obeys the laws."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.names import every, get
from luthier.stores.laws import check_store


@pytest.mark.parametrize("name", every("store"))
def test_store_obeys_the_laws(name: str, tmp_path: Path) -> None:
    count = iter(range(1000))
    check_store(lambda: get("store", name)(tmp_path / str(next(count))))
