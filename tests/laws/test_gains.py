"""The size that suffices and the price of a gain, against the law itself."""

import numpy as np
import pandas as pd
import pytest

from srtlib.laws.gains import ENOUGH, data_for, size_enough
from srtlib.laws.law import Law

LAWS = {
    "additive_power": {"E": 0.2, "A": 8.0, "B": 5.0, "alpha": 0.35, "beta": 0.3},
    "additive_power_log_data": {"E": 0.05, "A": 18.56, "B": 0.008, "alpha": 0.376},
    "product_power": {"K": 0.004, "A": 2e4, "b": 0.14, "alpha": 0.7},
}


@pytest.mark.parametrize("form", LAWS)
def test_twice_the_size_that_suffices_gains_no_more_than_enough(form: str) -> None:
    law = Law.given(form, LAWS[form], {})
    for D in (1e5, 1e7):
        N = float(size_enough(law.params, D))
        larger = N * np.geomspace(1, 1e4, 50)
        gains = law.predict(N=2 * larger, D=np.full(50, D)) - law.predict(N=larger, D=np.full(50, D))
        assert gains[0] == pytest.approx(ENOUGH)
        assert (np.diff(gains) < 0).all()


@pytest.mark.parametrize("form", LAWS)
def test_the_data_for_a_gain_bring_it(form: str) -> None:
    law = Law.given(form, LAWS[form], {})
    more = float(data_for(law.params, 1e7, 1e6, 0.004))
    assert law.predict(N=1e7, D=1e6 + more) - law.predict(N=1e7, D=1e6) == pytest.approx(0.004)


def test_resamples_are_answered_one_by_one() -> None:
    p = pd.DataFrame([LAWS["product_power"], LAWS["product_power"] | {"K": 1e-5}, LAWS["product_power"] | {"b": -0.1}])
    assert size_enough(p, 1e6)[0] == size_enough(LAWS["product_power"], 1e6)
    assert size_enough(p, 1e6)[1] == 0  # so small a law gains so much by no doubling
    assert np.isinf(data_for(p, 1e7, 1e6, 0.01)).tolist() == [False, False, True]
