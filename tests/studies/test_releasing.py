"""Releasing: a folder without a catalogue, whole, the same each time."""

from pathlib import Path

import pytest

from srtlib.data.dataset import Dataset
from srtlib.model.srt import SRT
from srtlib.params import Architecture
from srtlib.studies import releasing
from srtlib.studies.releasing import Release, release

pytest.importorskip("sentence_transformers")
PLAN = Release(
    sources=("a", "b"),
    judged_on="target",
    without_users_of=("b",),
    architecture=Architecture(d_model=8),
    settings={"epochs": 1, "n_negatives": 16, "batch_size": 128, "whiten_dim": 16},
)


@pytest.fixture(autouse=True)
def _planned(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 users the target has ten and b ten others: a has what is left."""
    users = dataset.panel(20)
    target, b = users.panel(10), users.without_users(users.panel(10))
    monkeypatch.setitem(releasing.RELEASES, "tiny", PLAN)
    monkeypatch.setattr(releasing, "load_dataset", {"a": dataset, "b": b, "target": target}.__getitem__)


def test_it_is_the_same_each_time_and_has_no_items(dataset: Dataset, tmp_path: Path) -> None:
    first, second = (release("tiny", tmp_path / name, tmp_path / f"{name} runs") for name in "xy")
    assert sorted(path.name for path in first.iterdir()) == [
        "README.md", "SHA256SUMS", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert SRT.from_pretrained(first).origin.name == "small+small"
    assert 'Recommender.pretrained("tiny", items)' in (first / "README.md").read_text()
    assert "40 users" not in (first / "README.md").read_text()


def test_users_that_are_tested_on_are_not_learnt_from(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Dataset] = []
    train = releasing.train

    def spy(recipe: object, source: Dataset, *rest: object) -> object:
        learnt.append(source)
        return train(recipe, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(releasing, "train", spy)
    release("tiny", tmp_path, tmp_path / "runs")
    assert set(learnt[0].user_ids) == set(dataset.user_ids) - set(dataset.panel(20).user_ids)


def test_a_new_one_takes_the_place_of_the_old(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "old").touch()
    assert not (release("tiny", tmp_path, tmp_path / "runs") / "old").exists()
