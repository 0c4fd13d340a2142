"""What is kept of a large catalogue is what would be made anew, and is never that of another model or catalogue."""

import copy
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.model.folder import items_table, read_items, save_model, write_items
from srtlib.model.making import new_model
from srtlib.model.packing import Layout
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.serving import recommender as recommend
from srtlib.serving import vectors
from srtlib.serving.recommender import Recommender
from srtlib.serving.search import FaissIndex

HISTORIES = {"ann": ["i1", "i2"], "bob": ["i3"], "cy": [f"i{item}" for item in range(20)]}
NO_FAISS = pytest.mark.skipif(find_spec("faiss") is None, reason="the extra srtlib[faiss] is not installed")
APPROXIMATE = [False, pytest.param(True, marks=NO_FAISS)]


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> SRT:
    return new_model(ModelParams(d_model=8, n_layers=2, n_heads=2, max_len=10, vocab_size=200), dataset, seed=1).eval()


@pytest.fixture
def items(dataset: Dataset) -> pd.DataFrame:
    return items_table(dataset, dataset)


@pytest.fixture
def folder(model: SRT, items: pd.DataFrame, tmp_path: Path) -> Path:
    """A model folder as a run leaves it."""
    save_model(model, tmp_path / "model")
    write_items(tmp_path / "model", items)
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _all_catalogues_are_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vectors, "KEPT_FROM", 40)
    monkeypatch.setattr(recommend, "APPROXIMATE_FROM", 40)
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))


def made_anew(patch: pytest.MonkeyPatch) -> list[str]:
    """What is made from here on, in order."""
    made: list[str] = []
    encode, build = recommend._encode, FaissIndex.build
    patch.setattr(recommend, "_encode", lambda *given: (made.append("vectors"), encode(*given))[1])
    patch.setattr(FaissIndex, "build", lambda given: (made.append("index"), build(given))[1])
    return made


def kept_in(place: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in place.glob("*"))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("approximate", APPROXIMATE)
def test_a_folder_keeps_what_is_made_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, half: bool, approximate: bool
) -> None:
    first = Recommender.load(folder, approximate=approximate, half=half)
    assert kept_in(folder / "search") == (["faiss", "vectors"] if approximate else ["vectors"])
    moved = shutil.copytree(folder, folder.with_name("elsewhere"))  # with all that it needs
    shutil.rmtree(folder)
    made = made_anew(monkeypatch)
    again = Recommender.load(moved, approximate=approximate, half=half)
    assert made == []
    assert torch.equal(first.vectors, again.vectors)
    assert again.vectors.dtype == (torch.float16 if half else torch.float32)
    pd.testing.assert_frame_equal(first.recommend(HISTORIES, k=5), again.recommend(HISTORIES, k=5))


@pytest.mark.parametrize("half", [False, True])
def test_what_is_mapped_is_what_the_model_says(model: SRT, items: pd.DataFrame, folder: Path, half: bool) -> None:
    """By brute force: all scores, sorted."""
    Recommender.load(folder, half=half)
    mapped = Recommender.load(folder, half=half)
    vectors = model.encode_catalogue(model.features(items), len(items))
    expected = vectors.half() if half else vectors
    assert torch.equal(mapped.vectors, expected)
    for user, offers in mapped.recommend(HISTORIES, k=8, exclude_seen=False).groupby("user"):
        last = torch.tensor([int(item[1:]) for item in HISTORIES[str(user)]][-10:])
        with torch.no_grad():
            query = model(expected[last].float(), Layout.buckets([(1, len(last))], torch.arange(len(last))))[-1]
        best = torch.sort(expected.float() @ query, descending=True).values[:8]
        np.testing.assert_allclose(offers["score"], best, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", ["weights", "title", "order", "item ids"])
def test_nothing_stale_is_used(
    model: SRT, items: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    place = tmp_path / "kept"
    Recommender(model, items, keep_in=place)
    made = made_anew(monkeypatch)
    other, table = copy.deepcopy(model), items
    if change == "weights":
        other.get_parameter("encoder.project.weight").data.mul_(1.5)
    elif change == "title":
        table = items.assign(title=["Ink", *items["title"][1:]])
    elif change == "order":
        table = items[::-1]
    else:
        table = items.assign(item_id=[f"j{i}" for i in range(len(items))])
    found = Recommender(other, table, keep_in=place)
    assert made == ["vectors"]
    assert torch.equal(found.vectors, other.encode_catalogue(other.features(table), len(table)))
    Recommender(model, items.assign(count=0), keep_in=place)
    assert made == ["vectors"]  # counts are no part of it


def test_vectors_that_are_given_count(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    given = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    data = build_dataset(*tables, name="small").with_vectors(given)
    model = new_model(ModelParams(d_model=8, n_layers=1, encoder="fixed_vectors", vector_dim=6), data)
    table = items_table(data, data)
    first = Recommender(model, table, keep_in=tmp_path / "kept")
    changed = table.assign(vector=[*table["vector"][:39], given[0]])
    second = Recommender(model, changed, keep_in=tmp_path / "kept")
    assert torch.equal(first.vectors[:39], second.vectors[:39])
    torch.testing.assert_close(second.vectors[39], second.vectors[0])


@pytest.mark.parametrize("approximate", APPROXIMATE)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "a flipped bit", "the list of hashes"])
def test_what_is_damaged_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, approximate: bool, damage: str
) -> None:
    expected = Recommender.load(folder, approximate=approximate).recommend(HISTORIES)
    for path in [*folder.glob("search/*/vectors.npy"), *folder.glob("search/*/index.faiss")]:
        path = path.with_name("sha256.json") if damage == "the list of hashes" else path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        if damage != "gone":
            path.write_bytes({"cut": bytes(data[:-4]), "empty": b""}.get(damage, bytes(data)))
    made = made_anew(monkeypatch)
    again = Recommender.load(folder, approximate=approximate)
    assert made == (["vectors", "index"] if approximate else ["vectors"])
    pd.testing.assert_frame_equal(again.recommend(HISTORIES), expected)
    Recommender.load(folder, approximate=approximate)
    assert len(made) == 1 + approximate


@pytest.mark.parametrize("approximate", APPROXIMATE)
def test_folders_that_take_nothing_are_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, approximate: bool
) -> None:
    """A file in a folder's place refuses all writing, to whoever may write anywhere too."""
    expected = Recommender.load(folder, approximate=approximate).recommend(HISTORIES)
    shutil.rmtree(folder / "search")
    (folder / "search").write_bytes(b"")
    kinds = ["faiss", "vectors"] if approximate else ["vectors"]
    for _ in range(2):
        found = Recommender.load(folder, approximate=approximate)
        pd.testing.assert_frame_equal(found.recommend(HISTORIES), expected)
        assert kept_in(tmp_path / "home" / "cache" / "search") == kinds
    (tmp_path / "nowhere").write_bytes(b"")
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "nowhere" / "home"))
    made = made_anew(monkeypatch)
    found = Recommender.load(folder, approximate=approximate)
    pd.testing.assert_frame_equal(found.recommend(HISTORIES), expected)
    assert made == (["vectors", "index"] if approximate else ["vectors"])


def test_an_encoder_that_fails_says_so(model: SRT, items: pd.DataFrame, tmp_path: Path) -> None:
    broken = copy.deepcopy(model)
    broken.get_parameter("encoder.project.weight").data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        Recommender(broken, items, keep_in=tmp_path / "kept")
    assert kept_in(tmp_path / "kept") == []


def test_numbers_beyond_float16_are_refused(model: SRT, items: pd.DataFrame) -> None:
    large = copy.deepcopy(model)
    large.get_parameter("encoder.project.weight").data.mul_(1e7)
    assert torch.isfinite(Recommender(large, items).vectors).all()
    with pytest.raises(ValueError, match="not finite"):
        Recommender(large, items, half=True)


@pytest.mark.parametrize("approximate", APPROXIMATE)
def test_saving_keeps_what_was_added(folder: Path, monkeypatch: pytest.MonkeyPatch, approximate: bool) -> None:
    """Into the folder, too, that the vectors are mapped from."""
    Recommender.load(folder, approximate=approximate)
    grown = Recommender.load(folder, approximate=approximate)
    grown.add_items(pd.DataFrame({"item_id": ["new"], "title": ["Red pen"]}))
    grown.save(folder)
    assert len(kept_in(folder / "search")) == 1 + approximate  # nothing of before
    made = made_anew(monkeypatch)
    loaded = Recommender.load(folder, approximate=approximate)
    assert made == []
    asked = {**HISTORIES, "dee": ["new"]}
    pd.testing.assert_frame_equal(loaded.recommend(asked, k=20), grown.recommend(asked, k=20))
    assert len(read_items(folder)) == len(loaded.vectors) == 41


def test_another_catalogue_is_not_kept_in_the_folder(folder: Path, items: pd.DataFrame, tmp_path: Path) -> None:
    Recommender.load(folder, items)
    assert not (folder / "search").exists()
    assert kept_in(tmp_path / "home" / "cache" / "search") == ["vectors"]


def test_similar_items_of_float16_are_those_of_their_values(model: SRT, items: pd.DataFrame) -> None:
    found = Recommender(model, items, half=True)
    offers = found.similar(["i4"], k=5)
    unit = torch.nn.functional.normalize(found.vectors.double())
    cosine = unit @ unit[4]
    cosine[4] = -2
    np.testing.assert_allclose(offers["score"], cosine.sort(descending=True).values[:5], atol=2e-3)
