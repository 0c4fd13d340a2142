"""A split by time: everybody's interactions are cut at the same two moments.

Leave-one-out trains on what other users took after the moment at which a target is to be predicted: the future leaks
into training (Ji et al. 2023, doi:10.1145/3569930; Gusak et al. 2025, arXiv:2507.16289). Here training is what lies
before the first cut, validation what lies from it to the second, the test what lies from there on. In validation and in
the test, each user's target is the first interaction of that part, given all that the user had before it (their
validation part, too, when it comes to the test). Who has nothing in a part, or nothing before it, is not judged on it.

Such a target begins a visit, where the last interaction often ends one: quality is lower for that alone, and the two
splits do not compare. Users and interactions are those of leave-one-out. The catalogue stays whole: items that come
later are ranked, and drawn as negatives, like all others.
"""

import numpy as np

from srtlib.data import csr
from srtlib.data.dataset import Dataset, Split
from srtlib.protocols import Cuts

PLACES = 0.1  # share of users, each with the times 0, 1, 2, ..., beyond which these are no times
UNITS = (1, 10**3, 10**6, 10**9)  # per second: seconds, milli-, micro- and nanoseconds
LATEST = 10**11  # seconds, in the year 5138: of so many milliseconds it is 1973, and so on


def count_before(times: np.ndarray, offsets: np.ndarray, cuts: Cuts, name: str) -> np.ndarray:
    """How many interactions of each user lie before each cut, int64 [users, 2].

    A cut at a share q of n interactions is the time of the one at place ceil(q (n - 1)), from 0, in order of time. What
    has the very time of a cut lies after it. For a cut at a date, times up to 1e11 are seconds since 1970, up to 1e14
    milliseconds, up to 1e17 microseconds, and nanoseconds above.

    Args:
        times: [interactions], numbers, rising within each user.
        offsets: int64 [users + 1], where each user's interactions begin; nobody has none.
        cuts: where to cut.
        name: of the data set, for errors.

    Raises ValueError where times are places in each user's sequence, and where nothing is left in a part.

    >>> count_before(np.array([10, 20, 30, 15, 40]), np.array([0, 3, 5]), Cuts(0.5, 0.8, True), "tiny").tolist()
    [[1, 3], [1, 1]]
    """
    user = csr.row_numbers(np.diff(offsets))
    are_places = np.logical_and.reduceat(times - times.min() == np.arange(len(times)) - offsets[user], offsets[:-1])
    if are_places.mean() > PLACES:
        raise ValueError(
            f"{name}: the times of {are_places.sum():,} of {len(are_places):,} users are places in their sequences; "
            "a split by time needs real times"
        )
    moments = np.array([cuts.first, cuts.second])
    if cuts.are_shares:
        moments = np.sort(times)[np.ceil(moments * (len(times) - 1)).astype(int)]
    elif (per_second := units_per_second(times.max())) > 1:
        moments = np.array([_in_units(moment, per_second) for moment in moments])
    is_before = times[:, None] < moments
    for part, n in zip(
        ("train on", "validate on", "test on"), np.diff([0, *is_before.sum(0), len(times)]), strict=True
    ):
        if not n:
            raise ValueError(
                f"{name}: cuts {cuts} ({moments[0]:.0f} and {moments[1]:.0f}) leave nothing to {part}; its times run "
                f"from {times.min()} to {times.max()}"
            )
    return np.stack([np.bincount(user[cut], minlength=len(are_places)) for cut in is_before.T], axis=1)


def units_per_second(latest: float) -> int:
    """What times are counted in: of those since 1970, the first unit in which the latest is before the year 5138.

    >>> units_per_second(1_400_000_000), units_per_second(1_600_000_000_000)
    (1, 1000)
    """
    return next((unit for unit in UNITS if latest <= LATEST * unit), UNITS[-1])


def _in_units(seconds: float, per_second: int) -> int:
    """Seconds, exact to the microsecond, in whole smaller units, rounded up: what lies before one lies before both."""
    return -(-round(seconds * 10**6) * per_second // 10**6)


def target_groups(trained_on: Dataset, judged_on: Dataset, split: Split) -> dict[str, np.ndarray]:
    """What training has seen of the users of `judged_on.with_target(split)` and of their targets, bool [users] each.

    cold_users: no interaction of the user is in the training part. cold_items: none with the target is. warm: the rest.

    Args:
        trained_on: whose training part.
        judged_on: whose users and catalogue; ids may be those of `trained_on` or others.
        split: valid or test.
    """
    judged = judged_on.with_target(split)
    known_users = trained_on.user_ids[trained_on.train_ends > trained_on.offsets[:-1]]
    known_items = trained_on.catalogue["item_id"][trained_on.train_counts > 0]
    users = ~np.isin(judged.user_ids, known_users)
    items = ~judged.catalogue["item_id"].isin(known_items).to_numpy()[judged.targets(split)]
    return {"warm": ~users & ~items, "cold_users": users, "cold_items": items}
