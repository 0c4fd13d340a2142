from pathlib import Path

import pytest

from srtlib.params import ModelParams, Params, Scaling, SizeParams, TrainParams, load_params, parse, read_yaml
from srtlib.runs.store import run_id

GOOD = {"interactions": [10], "models": [{"d_model": 8}], "panel_users": 5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**GOOD, "interaction": [1]}, r"interaction: unknown key; expected one of interactions, models"),
        (
            {**GOOD, "models": [{"d_modell": 8, "d_model": 8}]},
            r"models.0.d_modell: unknown key; expected one of d_model",
        ),
        ({**GOOD, "interactions": "many"}, r"interactions: .*got 'many'"),
        ({**GOOD, "panel_users": 0}, r"panel_users: .*greater than 0, got 0"),
        ({"interactions": [10]}, r"models: Field required; panel_users: Field required"),
    ],
)
def test_bad_params_are_named_in_one_line(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(Scaling, values, "S.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("S.yaml: ")


def test_a_text_field_that_no_item_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^--set: fields: titel is no text field; expected some of title, brand, cat"):
        parse(ModelParams, {"fields": {"title": 40, "titel": 8}}, "--set")


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "S.yaml").write_text("scaling: [1")
    with pytest.raises(ValueError, match=r"S.yaml: not valid YAML"):
        load_params("S", tmp_path)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("scaling: {interactions: [10], models: [{d_model: 8}], panel_users: 5}")
    assert load_params(str(path)).scaling.panel_users == 5
    with pytest.raises(FileNotFoundError, match=r"other.yaml: no such file; expected one of S, M, L, XL, or a file"):
        load_params(str(tmp_path / "other.yaml"))


def test_sizes_grow() -> None:
    studies = [load_params(size).scaling for size in ("S", "M", "L", "XL")]
    assert [len(s.models) * len(s.interactions) for s in studies] == sorted(
        len(s.models) * len(s.interactions) for s in studies
    )
    assert len(studies[0].models) >= 3 <= len(studies[0].interactions)
    assert len(studies[1].models) >= 4 <= len(studies[1].interactions)
    assert {m.d_model for m in studies[2].models} == {32, 64, 128, 256}
    assert max(m.n_layers for m in studies[2].models) == 24
    assert (max(studies[2].interactions), max(studies[3].interactions)) == (1_000_000, 10_000_000)


def test_every_size_is_valid() -> None:
    for size in ("S", "M", "L", "XL"):
        assert isinstance(load_params(size), SizeParams)


def test_new_parameters_leave_the_identity_of_recorded_runs_alone() -> None:
    """The hash of the defaults, as it was when the first runs were recorded; what is not at its default counts."""

    def name(model: ModelParams, train: TrainParams) -> str:
        values = {k: v for k, v in train.identity().items() if k not in ("seed", "compile")}
        return run_id({"model": model.identity(), "train": values})

    assert name(ModelParams(), TrainParams()) == "1d58fdacd50d"
    others = [
        (ModelParams(initialisation="normal02"), TrainParams()),
        (ModelParams(words_first=True), TrainParams()),
        (ModelParams(feed_forward="swiglu"), TrainParams()),
        (ModelParams(qk_norm=True), TrainParams()),
        (ModelParams(temperature=0.1), TrainParams()),
        (ModelParams(positions="rotary"), TrainParams()),
        (ModelParams(residual_scale=True), TrainParams()),
        (ModelParams(), TrainParams(select_by="mrr@5")),
        (ModelParams(), TrainParams(clip_norm=0)),
        (ModelParams(), TrainParams(average=0.99)),
        (ModelParams(), TrainParams(uniform_share=0.5)),
        (ModelParams(), TrainParams(in_batch=True)),
    ]
    assert len({name(*pair) for pair in others} | {"1d58fdacd50d"}) == len(others) + 1


@pytest.mark.parametrize("name", ["ndcg", "mrr@20", "loss"])
def test_what_selects_the_best_is_a_metric_that_is_recorded(name: str) -> None:
    with pytest.raises(ValueError, match="train: select_by: "):
        parse(TrainParams, {"select_by": name}, "train")


def test_the_same_number_of_epochs_is_the_same_run() -> None:
    assert TrainParams(epochs=20.0).model_dump_json() == TrainParams(epochs=20).model_dump_json()
    assert TrainParams(epochs=0.25).epochs == 0.25


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (ModelParams, {"d_model": True}, "d_model: true and false are none of its values, got True"),
        (TrainParams, {"learning_rate": False}, "learning_rate: true and false are none of its values, got False"),
        (TrainParams, {"learning_rate": float("inf")}, "learning_rate: Input should be a finite number, got inf"),
        (TrainParams, {"seed": 2**63}, "seed: Input should be less than 9223372036854775808"),
        (TrainParams, {"in_batch": True, "shared_negatives": False}, "in_batch=true gives all targets of a batch the"),
    ],
)
def test_values_that_are_no_sizes_are_refused(model: type[Params], values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(model, values, "settings")
    assert parse(TrainParams, {"compile": True}, "settings").compile


@pytest.mark.parametrize(("text", "fault"), [("", "holds no names"), ("- 1", "holds no names"), ("[" * 5000, "nested")])
def test_a_file_that_holds_no_parameters_is_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml: {fault}"):
        load_params(str(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("scaling: {interactions: [10], models: [{d_model: 8}], panel_users: 5, panel_users: 6}", "panel_users"),
        ("scaling:\n  panel_users: 5\nscaling:\n  panel_users: 6\n", "scaling"),
        ("scaling: {models: [{d_model: 8, d_model: 16}]}", "d_model"),
        ("scaling: {train: {epochs: 2, lr: 1, epochs: 2}}", "epochs"),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.yaml: not valid YAML: '{name}' is there twice .*line \d") as error:
        load_params(str(path))
    assert "\n" not in str(error.value)


def test_what_is_merged_in_may_be_overridden() -> None:
    text = "base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}\n"
    assert read_yaml(text) == {"base": {"a": 1, "b": 2}, "mine": {"a": 1, "b": 3}}


def test_what_has_overridden_may_be_merged_in_again() -> None:
    assert read_yaml("a: &a {k: 0}\nb: &b {<<: *a, k: 1}\nc: {<<: *b}\n")["c"] == {"k": 1}
