"""How many threads help, and what a process sets before torch is imported."""

from __future__ import annotations

import os
import time

import pytest
import torch

from luthier.models import hardware


def test_threads_are_doubled_for_as_long_as_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "processors", lambda: 8)
    before = torch.get_num_threads()

    def work() -> None:  # four threads help, eight do not
        time.sleep(0.02 / min(torch.get_num_threads(), 4))

    assert hardware.helpful_threads(work, gain=1.3) == 4
    assert torch.get_num_threads() == before
    assert hardware.helpful_threads(lambda: time.sleep(0.005), gain=1.3) == 1


def test_a_number_that_was_asked_for_is_taken() -> None:
    before = torch.get_num_threads()
    assert hardware.use_threads(3) == 3 == torch.get_num_threads()
    torch.set_num_threads(before)


def test_the_users_own_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    hardware.tune_process()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    hardware.tune_process()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
