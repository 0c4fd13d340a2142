from pathlib import Path

import pytest

from srtlib.params import RECIPES, ModelParams, Scaling, SizeParams, check_parameters, load_params, parse

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


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "S.yaml").write_text("scaling: [1")
    with pytest.raises(ValueError, match=r"S.yaml: not valid YAML"):
        load_params("S", tmp_path)


def test_recipes_are_complete() -> None:
    for name, recipe in RECIPES.items():
        made = recipe(d_model=32, n_layers=1)
        assert made.name == name
        assert ModelParams.model_validate(made.model.model_dump()) == made.model


def test_paper_recipe_is_the_authors() -> None:
    made = RECIPES["paper"](d_model=128, n_layers=4, n_heads=2, n_negatives=300)
    model, train = made.model, made.train
    assert (model.d_ff, model.max_len, model.dropout, model.attention_dropout, model.norm) == (
        128,
        50,
        0.5,
        0.5,
        "post",
    )
    assert (model.fields, model.vocab_size, model.norm_eps) == ({"title": 40, "brand": 8}, 30_000, 1e-12)
    assert (train.supervise, train.shared_negatives, train.n_negatives, train.negatives) == (
        "last",
        False,
        300,
        "popularity",
    )
    assert (train.optimizer, train.learning_rate, train.weight_decay, train.clip_norm) == ("adam", 1e-4, 1e-5, 1.0)
    assert (train.schedule, train.warmup, train.epochs, train.batch_size, train.seed) == (
        "one_cycle",
        0.3,
        50,
        128,
        2020,
    )
    assert (train.eval_every, train.protocol, train.logq_on_positive) == (5, "sampled:10000", True)


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


def test_check_parameters_ignores_what_is_no_parameter() -> None:
    check_parameters({"size": "S", "_x": 1, "np": pytest, "In": [], "Out": {}, "f": print}, "size")
    with pytest.raises(ValueError, match="unknown parameter sede; expected one of size, seed"):
        check_parameters({"size": "S", "seed": 0, "sede": 3}, "size", "seed")
