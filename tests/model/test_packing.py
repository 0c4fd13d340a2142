from collections.abc import Callable

import numpy as np
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.model.packing import Sequences


def training(dataset: Dataset, max_len: int, static: bool = False, device: str = "cpu") -> Sequences:
    """All but each user's last two items."""
    return Sequences(dataset.items, dataset.offsets, dataset.offsets[1:] - 2, max_len, device, static)


def static(dataset: Dataset, max_len: int, device: str = "cpu") -> Sequences:
    return training(dataset, max_len, static=True, device=device)


def pairs(sequences: Sequences, supervise: str, batch_size: int, seed: int = 0) -> list[tuple[int, ...]]:
    """(history.., target) of every supervised position of an epoch."""
    epoch = sequences.epoch(supervise, batch_size, torch.Generator().manual_seed(seed))
    found = []
    for i in range(len(epoch)):
        batch = epoch.batch(i)
        first = torch.arange(batch.layout.n_tokens) - batch.layout.positions
        for place, target in zip(batch.supervised.tolist(), batch.targets.tolist(), strict=True):
            found.append((*batch.items[first[place] : place + 1].tolist(), target))
    return found


def prefixes(dataset: Dataset, max_len: int) -> list[tuple[int, ...]]:
    """Every training prefix (last max_len items) and its target, the slow way."""
    found = []
    for start, end in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True):
        train = dataset.items[start : end - 2].tolist()
        found += [(*train[max(0, t - max_len) : t], train[t]) for t in range(1, len(train))]
    return found


@pytest.mark.parametrize("max_len", [4, 10, 50])
def test_last_gives_every_prefix_once(dataset: Dataset, max_len: int) -> None:
    assert sorted(pairs(training(dataset, max_len), "last", 32)) == sorted(prefixes(dataset, max_len))


def test_all_gives_every_prefix_once_where_nothing_is_cut(dataset: Dataset) -> None:
    assert sorted(pairs(training(dataset, 50), "all", 64)) == sorted(prefixes(dataset, 50))


@pytest.mark.parametrize("seed", range(3))
def test_all_predicts_every_target_once_in_windows(dataset: Dataset, seed: int) -> None:
    found = pairs(training(dataset, 7), "all", 64, seed)
    assert len(found) == dataset.n_targets
    assert max(map(len, found)) <= 8
    assert sorted(p[-2:] for p in found) == sorted(p[-2:] for p in prefixes(dataset, 50))


def test_static_batches_have_every_prefix_once_in_one_shape(dataset: Dataset) -> None:
    sequences = static(dataset, 50)
    assert sorted(pairs(sequences, "all", 200)) == sorted(prefixes(dataset, 50))
    epoch = sequences.epoch("all", 200, torch.Generator().manual_seed(0))
    assert {epoch.batch(i).layout.n_tokens for i in range(len(epoch))} == {256}  # the next multiple of 128
    assert {epoch.batch(i, 1, 3).layout.n_tokens for i in range(len(epoch))} == {128}


def test_blocks_of_a_static_batch_hold_the_longest_sequence(dataset: Dataset) -> None:
    for max_len, block in ((1, 64), (50, 64), (64, 64), (65, 128), (200, 256)):
        batch = static(dataset, max_len).epoch("all", 300, torch.Generator().manual_seed(0)).batch(0)
        n = 384 if block < 256 else 512
        assert batch.layout.mask is not None
        assert batch.layout.mask.shape == (n // block, 1, block, 2 * block)


def test_batches_stay_within_the_budget(dataset: Dataset) -> None:
    sequences = training(dataset, 10)
    epoch = sequences.epoch("all", 64, torch.Generator().manual_seed(0))
    assert max(epoch.batch(i).layout.n_tokens for i in range(len(epoch))) <= 64
    layout = epoch.batch(0).layout
    assert sum(n * length for n, length in layout.groups) == layout.n_tokens


@pytest.mark.parametrize("make", [training, static])
def test_processes_share_a_batch(dataset: Dataset, make: Callable[[Dataset, int], Sequences]) -> None:
    epoch = make(dataset, 10).epoch("all", 64, torch.Generator().manual_seed(0))
    parts = [epoch.batch(0, rank, 3).targets for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == sorted(epoch.batch(0).targets.tolist())
    sizes = list(map(len, parts))
    assert max(sizes) - min(sizes) <= 10  # a window at most


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_histories_are_the_last_items_before_the_end(dataset: Dataset, left_out: int) -> None:
    """Even where nothing stands after them: the last user's may end with the data."""
    seen = np.zeros(dataset.n_users)
    sequences = Sequences(dataset.items, dataset.offsets, dataset.offsets[1:] - left_out, 10)
    for users, batch in sequences.histories(128):
        assert len(users) == len(batch.supervised)
        assert not len(batch.targets)
        for user, place in zip(users.tolist(), batch.supervised.tolist(), strict=True):
            length = int(batch.layout.positions[place]) + 1
            whole = dataset.items[dataset.offsets[user] : dataset.offsets[user + 1] - left_out]
            assert batch.items[place + 1 - length : place + 1].tolist() == whole[-10:].tolist()
            seen[user] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(("make", "supervise"), [(training, "all"), (static, "all"), (training, "last")])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_are_laid_out_without_looking_at_the_device(
    dataset: Dataset, make: Callable[..., Sequences], supervise: str, world: int
) -> None:
    """The meta device holds shapes alone: whoever waits for its numbers fails."""
    here, there = make(dataset, 10), make(dataset, 10, device="meta")
    epochs = (sequences.epoch(supervise, 64, torch.Generator().manual_seed(0)) for sequences in (there, here))
    found, expected = (epoch.batch(0, world - 1, world) for epoch in epochs)
    for name in ("items", "supervised", "targets"):
        assert getattr(found, name).device.type == "meta"
        assert getattr(found, name).shape == getattr(expected, name).shape
    assert found.layout.groups == expected.layout.groups
    assert found.layout.attention_pairs == expected.layout.attention_pairs
    assert [users.tolist() for users, _ in there.histories(128)] == [users.tolist() for users, _ in here.histories(128)]


@pytest.mark.parametrize("supervise", ["all", "last"])
def test_an_epoch_knows_the_targets_of_its_batches(dataset: Dataset, supervise: str) -> None:
    epoch = training(dataset, 7).epoch(supervise, 32, torch.Generator().manual_seed(0))
    for i in range(len(epoch)):
        assert epoch.n_targets(i) == sum(len(epoch.batch(i, rank, 2).targets) for rank in range(2))


def test_seen_are_all_interactions_of_the_users(dataset: Dataset) -> None:
    rows, items = training(dataset, 4).seen(torch.tensor([5, 2]))
    of_users = [dataset.items[dataset.offsets[user] : dataset.offsets[user + 1] - 2].tolist() for user in (5, 2)]
    assert [items[rows == row].tolist() for row in range(2)] == of_users
