"""What a library says, in a few words."""

import pytest

from echoreel.common.loading_errors import hint_of


def test_a_hint_of_a_missing_file_names_it_without_the_number_of_the_error() -> None:
    with pytest.raises(FileNotFoundError) as missing:
        open("no/ema.safetensors").close()
    assert hint_of(missing.value) == "No such file or directory: 'no/ema.safetensors'"
    assert hint_of(KeyError()) == "KeyError"
