"""The model card says what is true of the model."""

import pytest
import yaml

from srtlib.data.dataset import Dataset
from srtlib.model.card import card_text
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.training.identity import config_of

SUMMARY = {
    "valid": {"ndcg@5": 0.25},
    "test": {"ndcg@5": 0.125},
    "test_unseen": {"ndcg@5": 0.125},
    "params": {"total": 1000, "embedding": 700},
    "flops": 1e12,
    "flops_paper": 1e11,
    "wall_s": 3.0,
    **dict.fromkeys(("device", "version", "commit", "date"), "-"),
}


def card_of(dataset: Dataset, protocol: str = "full", **model: object) -> str:
    params = ModelParams.model_validate({"d_model": 8, **model})
    recipe = Recipe(name="tiny", model=params, train=TrainParams(protocol=protocol))
    return card_text(config_of(dataset, recipe), SUMMARY)


@pytest.mark.parametrize(
    ("encoder", "known_by"),
    [("token_bag", "their text"), ("fixed_vectors", "fixed vectors"), ("item_ids", "their ids")],
)
def test_it_says_what_items_are_known_by(dataset: Dataset, encoder: str, known_by: str) -> None:
    text = card_of(dataset, encoder=encoder, vector_dim=6, n_items=40)
    assert f"knows items by {known_by}:" in text
    assert f"knows nothing of items but {known_by}." in text
    assert ("items that it was trained on, and no others" in text) == (encoder == "item_ids")


@pytest.mark.parametrize(("weight", "said"), [(None, False), (0.0, False), (8.0, True)])
def test_it_says_how_much_the_neighbours_count(dataset: Dataset, weight: float | None, said: bool) -> None:
    recipe = Recipe(name="tiny", model=ModelParams(d_model=8), train=TrainParams())
    found = {} if weight is None else {"neighbours": {"weight": weight, "decay": 0.6}}
    text = card_text(config_of(dataset, recipe), SUMMARY | found)
    assert ("Its scores add 8 times the cosine" in text) == said


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("full", "among all 40 items."),
        ("sampled:30", "among 30 items drawn at random."),
        ("paper:10000", "among 10,000 items drawn at random, as the authors do."),
    ],
)
def test_it_says_what_was_ranked(dataset: Dataset, protocol: str, said: str) -> None:
    assert said in card_of(dataset, protocol)


def test_its_front_matter_is_what_a_hub_reads(dataset: Dataset) -> None:
    """Of the data set's licence nothing is known, so that the card says where it is told."""
    _, front, text = card_of(dataset).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "srtlib",
        "license": "other",
        "license_name": "that-of-the-data",
        "tags": ["sequential-recommendation", "recommendation", "srt"],
        "metrics": ["ndcg@5"],
    }
    assert "is decided by the licence of the data." in text
    hub = pytest.importorskip("huggingface_hub", reason="the extra srtlib[hub] is not installed")
    assert hub.ModelCard(card_of(dataset)).data.license == "other"


@pytest.mark.parametrize("name", ["a|b", "<script>", "[x](http://y)", "two\nlines", "`x`", "*x*", '"', "\\"])
def test_a_name_is_text_and_nothing_else(dataset: Dataset, name: str) -> None:
    """No mark of Markdown or HTML is left that a backslash or an entity does not make plain."""
    named = Dataset(name, dataset.user_ids, dataset.offsets, dataset.items, dataset.catalogue)
    lines = card_of(named).splitlines()
    (title,) = [line for line in lines if line.startswith("# ")]
    (row,) = [line for line in lines if line.startswith("| data set")]
    assert "<script>" not in title + row
    plain = row.replace("\\\\", "").replace("\\|", "")
    assert plain.count("|") == 3
    assert all(f"\\{mark}" in title for mark in "[]`*\\" if mark in name)
