"""Small models compute on one thread, and the caller's number comes back."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from echoreel.common.threads import SMALL, is_small, one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_work_has_one_thread_and_gives_the_others_back() -> None:
    with one_thread(True) as used:
        assert used == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_after_an_error_too() -> None:
    with pytest.raises(ValueError, match="in the middle"), one_thread(True):
        raise ValueError("in the middle")
    assert torch.get_num_threads() == 2


def test_large_work_keeps_its_threads() -> None:
    with one_thread(False) as used:
        assert used == torch.get_num_threads() == 2


def test_what_is_small_is_counted_over_all_models() -> None:
    with torch.device("meta"):
        half = nn.Linear(SMALL // 2, 1, bias=False)
    assert is_small([half, "a scheduler", None])
    assert not is_small([half, half.to_empty(device="meta"), nn.Linear(1, 1)])
