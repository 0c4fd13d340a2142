"""The folder of a model: what is written is read, and what is damaged is named."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from srtlib.data.dataset import Dataset
from srtlib.data.text import train_tokenizer
from srtlib.model.folder import items_table, load_model, read_items, save_model, weights_sha256, write_items
from srtlib.model.making import new_model
from srtlib.model.srt import SRT, NonFiniteError
from srtlib.params import ModelParams
from srtlib.serving.recommender import Recommender


def params(**changes: object) -> ModelParams:
    values = {"d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 12, "vocab_size": 200}
    return ModelParams.model_validate({**values, **changes})


@pytest.fixture
def complete(dataset: Dataset, tmp_path: Path) -> Path:
    """A whole model folder."""
    folder = tmp_path / "model"
    save_model(new_model(params(), dataset), folder)
    write_items(folder, items_table(dataset, dataset))
    return folder


def as_of_old(folder: Path) -> None:
    """Make the folder one that was written before config.json and the items had checksums."""
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    save_file(weights, folder / "model.safetensors", metadata={"sha256": weights_sha256(weights)})


def test_round_trip(dataset: Dataset, tmp_path: Path) -> None:
    model = new_model(params(), dataset).eval()
    model.save_pretrained(tmp_path / "model")
    loaded = SRT.from_pretrained(tmp_path / "model")
    vectors = [m.encode_catalogue(m.features(dataset), dataset.n_items) for m in (model, loaded)]
    assert torch.equal(*vectors)
    assert loaded.params == model.params


def damage(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def test_damaged_model_folders_are_named(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(FileNotFoundError, match="is not a model folder"):
        SRT.from_pretrained(folder)
    model = new_model(params(), dataset)
    model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    for bad in (good[: len(good) // 2], b"", good[:-1] + bytes([good[-1] ^ 1])):  # cut short, empty, one bit flipped
        weights.write_bytes(bad)
        with pytest.raises(ValueError, match=r"model.safetensors does not hold this model's weights: [^\n]*$"):
            SRT.from_pretrained(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        SRT.from_pretrained(folder)
    new_model(params(n_layers=1), dataset).save_pretrained(tmp_path / "other")
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"config.json is not the one that model.safetensors was written with"):
        SRT.from_pretrained(folder)


def test_folders_of_another_version_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    new_model(params(), dataset).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    good = config.read_bytes()
    for old, new, message in (
        (b"srtlib-1", b"srtlib-9", "format 'srtlib-9'; expected 'srtlib-1'"),
        (b'"format"', b'"kind"', "format None; expected 'srtlib-1'"),
        (b'"n_layers"', b'"layers"', "layers: unknown key"),
        (b"{", b"", "is not valid JSON"),
    ):
        damage(config, old, new)
        with pytest.raises(ValueError, match=message):
            SRT.from_pretrained(tmp_path)
        config.write_bytes(good)


def test_a_tokenizer_that_does_not_match_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    new_model(params(), dataset).save_pretrained(tmp_path)
    tokenizer, config = tmp_path / "tokenizer.json", tmp_path / "config.json"
    train_tokenizer(["another one"] * 9, 200).save(str(tokenizer))
    with pytest.raises(ValueError, match=r"tokenizer.json is not the tokenizer that this model was trained with"):
        SRT.from_pretrained(tmp_path)
    as_of_old(tmp_path)
    damage(config, b"tokenizer_sha256", b"unrelated")  # a folder without the hash: the vocabulary's size tells
    with pytest.raises(ValueError, match=r"size mismatch for encoder.tables.title.weight"):
        SRT.from_pretrained(tmp_path)
    tokenizer.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json cannot be read as a tokenizer"):
        SRT.from_pretrained(tmp_path)
    tokenizer.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer.json"):
        SRT.from_pretrained(tmp_path)


def test_nothing_is_left_half_written(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(params(), dataset)
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full(_file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("srtlib.paths.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "empty": lambda data: b"",
    "a list": lambda data: b"[1, 2]",
    "a number": lambda data: b"3",
    "no text": lambda data: b"\xff\xfe\x00" + data,
    "zeros": lambda data: bytes(len(data)),
    "nested deep": lambda data: b"[" * 200_000,
    "an object": lambda data: b'{"format": "srtlib-1", "model": 5, "origin": 7}',
}
FILES = ("config.json", "model.safetensors", "tokenizer.json", "items.parquet", "SHA256SUMS")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_damaged_is_named(complete: Path, name: str, damage: str) -> None:
    path = complete / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=name) as error:
        Recommender.load(complete)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES[:-1])
def test_damage_is_named_without_checksums_too(complete: Path, name: str, damage: str) -> None:
    as_of_old(complete)
    path = complete / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=name) as error:
        Recommender.load(complete)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("origin", [7, {}, {"name": "small", "fingerprints": "ab"}, None])
def test_an_origin_that_is_none_is_named(complete: Path, origin: object) -> None:
    as_of_old(complete)
    config = json.loads((complete / "config.json").read_text())
    (complete / "config.json").write_text(json.dumps({**config, "origin": origin}))
    with pytest.raises(ValueError, match=r"config\.json: origin: [^\n]+$"):
        load_model(complete)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_named(complete: Path, name: str) -> None:
    """A sample of them."""
    path = complete / name
    good = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(good), 40):
        bad = bytearray(good)
        bad[place] ^= 1 << int(place) % 8
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=name) as error:
            Recommender.load(complete)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("done", [True, False], ids=["complete", "still in training"])
@pytest.mark.parametrize(
    ("old", "new"), [('"n_heads": 2', '"n_heads": 1'), ('"norm": "pre"', '"norm": "post"'), ('"small"', '"large"')]
)
def test_no_parameter_changes_unnoticed(complete: Path, done: bool, old: str, new: str) -> None:
    """The weights would fit."""
    if not done:
        (complete / "SHA256SUMS").unlink()
    damage(complete / "config.json", old.encode(), new.encode())
    with pytest.raises(ValueError, match=r"config\.json"):
        load_model(complete)


def test_folders_of_old_load(complete: Path, dataset: Dataset) -> None:
    expected = Recommender.load(complete).recommend({"ann": ["i1"]}, k=3)
    as_of_old(complete)
    config = json.loads((complete / "config.json").read_text())
    del config["origin"]
    (complete / "config.json").write_text(json.dumps(config))
    loaded = Recommender.load(complete)
    assert loaded.model.origin is None
    pd.testing.assert_frame_equal(loaded.recommend({"ann": ["i1"]}, k=3), expected)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("n_layers", 10**9), ("n_layers", 3), ("d_model", 10**9), ("d_ff", 10**12), ("max_len", 10**18), ("d_ff", 10**17)],
)
def test_sizes_are_compared_with_the_weights_before_anything_is_built(
    complete: Path, parameter: str, value: int
) -> None:
    as_of_old(complete)
    config = json.loads((complete / "config.json").read_text())
    config["model"][parameter] = value
    (complete / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json says n_layers=|does not hold this model's weights"):
        load_model(complete)


TOKENIZERS = {
    "panics when read": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "panics when used": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
    "takes all memory": {
        "padding": {
            "strategy": {"Fixed": 10**12},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "x",
        }
    },
    "cuts every text": {
        "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5},
    },
    "has a pattern that is none": {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}},
}


@pytest.mark.parametrize("change", TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokenizers_that_break_the_library_are_named(complete: Path, change: dict) -> None:
    """With the right checksum, as in a folder that somebody made."""
    as_of_old(complete)
    tokenizer = json.loads((complete / "tokenizer.json").read_text())
    (complete / "tokenizer.json").write_text(json.dumps({**tokenizer, **change}))
    config = json.loads((complete / "config.json").read_text())
    del config["tokenizer_sha256"]
    (complete / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read as a tokenizer: [^\n]+$"):
        load_model(complete)


def test_a_token_beyond_the_table_is_named(complete: Path) -> None:
    as_of_old(complete)
    tokenizer = json.loads((complete / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zz"] = 10**6
    (complete / "tokenizer.json").write_text(json.dumps(tokenizer))
    damage(complete / "config.json", b"tokenizer_sha256", b"unrelated")
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read as a tokenizer: it numbers a token 1000000"):
        load_model(complete)


def write_run(store: Path, name: str, items: pd.DataFrame, dataset: Dataset) -> Path:
    folder = store / name / "model"
    save_model(new_model(params(), dataset), folder)
    write_items(folder, items, store / "catalogues")
    return folder


def test_runs_share_one_file_of_the_same_catalogue(dataset: Dataset, tmp_path: Path) -> None:
    items = items_table(dataset, dataset)
    first, second = (write_run(tmp_path, name, items, dataset) for name in "ab")
    other = write_run(tmp_path, "c", items[::-1], dataset)
    assert (first / "items.parquet").samefile(second / "items.parquet")
    assert not (first / "items.parquet").samefile(other / "items.parquet")
    for path in (one := tmp_path / "catalogues").iterdir():
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(list(one.iterdir())) == 2
    write_items(second, items[:7])  # what is written anew leaves the others as they are
    pd.testing.assert_frame_equal(read_items(first), items)
    alone = shutil.copytree(first, tmp_path / "alone")
    for folder in (first.parent, second.parent, one):
        shutil.rmtree(folder)
    pd.testing.assert_frame_equal(read_items(alone), items)


def test_a_catalogue_that_no_run_has_any_more_goes(dataset: Dataset, tmp_path: Path) -> None:
    items = items_table(dataset, dataset)
    shutil.rmtree(write_run(tmp_path, "a", items, dataset))
    write_run(tmp_path, "b", items[::-1], dataset)
    (left,) = (tmp_path / "catalogues").iterdir()
    assert left.samefile(tmp_path / "b" / "model" / "items.parquet")


def test_a_users_own_files_in_a_folder_of_that_name_stay(dataset: Dataset, tmp_path: Path) -> None:
    own = [tmp_path / "catalogues" / name for name in ("items.parquet", "a" * 64 + ".csv", "0" * 63 + ".parquet")]
    own[0].parent.mkdir()
    for path in own:
        path.write_bytes(b"mine")
    write_run(tmp_path, "a", items_table(dataset, dataset), dataset)
    assert [path.read_bytes() for path in own] == [b"mine"] * 3


def test_nothing_is_linked_to_a_shared_file_that_is_damaged(dataset: Dataset, tmp_path: Path) -> None:
    items = items_table(dataset, dataset)
    first = write_run(tmp_path, "a", items, dataset)
    (first / "items.parquet").write_bytes(b"PAR1")
    second, third = (write_run(tmp_path, name, items, dataset) for name in "bc")
    assert (second / "items.parquet").samefile(third / "items.parquet")
    pd.testing.assert_frame_equal(read_items(third), items)
    with pytest.raises(ValueError, match=r"items\.parquet is damaged"):
        read_items(first)


def test_without_links_each_keeps_its_own(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    items = items_table(dataset, dataset)
    for folder in (write_run(tmp_path, name, items, dataset) for name in "ab"):
        pd.testing.assert_frame_equal(read_items(folder), items)
        assert (folder / "items.parquet").stat().st_nlink == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["blocks.0.inner.weight", "encoder.tables.title.weight"])
def test_weights_that_are_no_numbers_are_refused(dataset: Dataset, tmp_path: Path, name: str, value: float) -> None:
    model = new_model(params(), dataset)
    with torch.no_grad():
        model.get_parameter(name)[0, 0] = value
    save_model(model, tmp_path)
    with pytest.raises(NonFiniteError, match=rf"model\.safetensors: 1 of the model's weights {name} are not finite"):
        load_model(tmp_path)


def test_a_model_of_item_ids_recommends_from_its_own_catalogue(dataset: Dataset, tmp_path: Path) -> None:
    model = new_model(params(encoder="item_ids", n_items=dataset.n_items), dataset)
    items = items_table(dataset, dataset)
    Recommender(model, items).save(tmp_path)
    loaded = Recommender.load(tmp_path)
    offers = loaded.recommend({"ann": ["i1", "i2"]}, k=5)
    pd.testing.assert_frame_equal(offers, Recommender(model, items).recommend({"ann": ["i1", "i2"]}, k=5))
    with pytest.raises(ValueError, match="are not the items of small that this model was trained on"):
        loaded.add_items(pd.DataFrame({"item_id": ["new"], "title": ["Ink"]}))
    with pytest.raises(ValueError, match="are not the items of small that this model was trained on"):
        Recommender.load(tmp_path, items[::-1])
