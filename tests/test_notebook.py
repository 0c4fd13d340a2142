"""Parameters of notebooks are checked."""

import pytest

from srtlib.notebook import check_parameters


def test_check_parameters_ignores_what_is_no_parameter() -> None:
    check_parameters({"size": "S", "_x": 1, "np": pytest, "In": [], "Out": {}, "f": print}, "size")
    with pytest.raises(ValueError, match="unknown parameter sede; expected one of size, seed"):
        check_parameters({"size": "S", "seed": 0, "sede": 3}, "size", "seed")
