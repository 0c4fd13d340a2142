import pytest
import torch
import torch.nn.functional as F

from srtlib.data.dataset import Dataset
from srtlib.model.making import new_model
from srtlib.model.packing import Layout, Sequences
from srtlib.model.srt import SRT
from srtlib.params import Architecture, ModelParams, TrainParams, parse
from srtlib.recipes import paper_recipe
from srtlib.training.objective import Objective


def params(**changes: object) -> ModelParams:
    values = {"d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 12, "vocab_size": 200}
    return ModelParams.model_validate({**values, **changes})


def turned(x: torch.Tensor) -> torch.Tensor:
    """[heads, L, width] as complex numbers (first half real, second imaginary) times e^(i place rate)."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    turn = torch.polar(torch.ones(1, dtype=torch.float64), torch.arange(x.shape[1])[:, None] * rates)
    z = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([z.real, z.imag], dim=-1)


def dense_reference(model: SRT, vectors: torch.Tensor) -> torch.Tensor:
    """One sequence [L, D] through the model by the textbook, in float64 and with an explicit mask."""
    state = {k: v.double() for k, v in model.state_dict().items()}
    d, heads, pre = model.params.d_model, model.params.n_heads, model.params.norm == "pre"

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (d,), state[f"{name}.weight"], state[f"{name}.bias"], model.params.norm_eps)

    length = len(vectors)
    rotary = model.params.positions == "rotary"
    x = norm("input_norm", vectors.double() + (0 if rotary else state["positions.weight"][:length]))
    mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
    for i in range(model.params.n_layers):
        b = f"blocks.{i}"

        def attend(y: torch.Tensor, b: str = b) -> torch.Tensor:
            q, k, v = linear(f"{b}.qkv", y).view(length, 3, heads, d // heads).permute(1, 2, 0, 3)
            if model.params.qk_norm:
                q, k = (
                    z / (z.square().mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{b}.qk_norms.{j}.weight"]
                    for j, z in enumerate((q, k))
                )
            if rotary:
                q, k = turned(q), turned(k)
            scores = (q @ k.transpose(1, 2) / (d // heads) ** 0.5).masked_fill(mask, -torch.inf)
            return linear(f"{b}.out", (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, d))

        def feed(y: torch.Tensor, b: str = b) -> torch.Tensor:
            inner = linear(f"{b}.inner", y)
            if model.params.feed_forward == "swiglu":
                gate, value = inner[:, : model.params.d_ff], inner[:, model.params.d_ff :]
                return linear(f"{b}.outer", gate * torch.sigmoid(gate) * value)
            return linear(f"{b}.outer", F.gelu(inner))

        if pre:
            x = x + attend(norm(f"{b}.attention_norm", x))
            x = x + feed(norm(f"{b}.feed_forward_norm", x))
        else:
            x = norm(f"{b}.attention_norm", x + attend(x))
            x = norm(f"{b}.feed_forward_norm", x + feed(x))
    x = norm("final_norm", x) if pre else x
    if model.params.temperature:
        x = x / x.square().sum(1, keepdim=True).sqrt() / model.params.temperature
    return x


VARIANTS = [
    {"norm": "pre"},
    {"norm": "post"},
    {"feed_forward": "swiglu"},
    {"qk_norm": True},
    {"temperature": 0.1},
    {"positions": "rotary"},
    {"residual_scale": True},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_packed_batches_equal_padded_sequences(dataset: Dataset, changes: dict[str, object]) -> None:
    model = new_model(params(**changes), dataset, seed=3).eval()
    for i, weight in enumerate(p for name, p in model.named_parameters() if ".qk_norms." in name):
        torch.nn.init.uniform_(weight, 0.5 + i, 1.5 + i)
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    epoch = Sequences(dataset.items, dataset.offsets, dataset.history_ends("valid"), 12).epoch(
        "all", 100, torch.Generator().manual_seed(0)
    )
    batch = epoch.batch(0)
    with torch.no_grad():
        outputs = model(vectors[batch.items], batch.layout)
    first = 0
    for n, length in batch.layout.groups:
        for _ in range(n):
            expected = dense_reference(model, vectors[batch.items[first : first + length]])
            torch.testing.assert_close(outputs[first : first + length].double(), expected, atol=2e-5, rtol=1e-4)
            first += length


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_later_item_never_changes_an_earlier_output(dataset: Dataset, norm: str) -> None:
    model = new_model(params(norm=norm), dataset).eval()
    layout = Layout.buckets([(2, 6)], torch.arange(6).repeat(2))
    vectors = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    changed = vectors.clone()
    changed[4, 0] += 1  # position 4 of the first sequence
    with torch.no_grad():
        before, after = model(vectors, layout), model(changed, layout)
    torch.testing.assert_close(before[:4], after[:4])
    torch.testing.assert_close(before[6:], after[6:])
    assert (before[4:6] - after[4:6]).abs().max() > 1e-3


@pytest.mark.parametrize("objective", ["sampled_softmax", "full_softmax"])
def test_static_batches_learn_what_buckets_learn(dataset: Dataset, objective: str) -> None:
    """The same windows in both layouts: the same mean loss and the same gradients."""
    model = new_model(params(dropout=0.0), dataset)
    train = TrainParams(objective=objective, n_negatives=20)
    step = Objective(model, model.features(dataset), dataset.n_items, train)
    negatives = torch.arange(0 if objective == "full_softmax" else 20)
    starts, lengths = torch.as_tensor(dataset.offsets[:9].copy()), torch.tensor([1, 2, 3, 5, 7, 11, 12, 12, 9])
    found = []
    for static in (False, True):
        sequences = Sequences(dataset.items, dataset.offsets, dataset.history_ends("valid"), 12, static=static)
        batch = sequences.pack(starts, lengths, "all", tokens=128 if static else 0)
        assert batch.layout.n_tokens == 128 or not static
        loss, shape = step(batch, negatives, torch.zeros(dataset.n_items))
        assert shape.attention_pairs >= int((lengths**2).sum())
        found.append((loss, torch.autograd.grad(loss, list(model.parameters()))))
    torch.testing.assert_close(found[0], found[1])


def test_counts_sum_to_the_total_and_ignore_the_catalogue(dataset: Dataset) -> None:
    model = new_model(params(), dataset)
    counts = model.parameter_counts()
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["total"] == counts["embedding"] + counts["non_embedding"]
    groups = ("embedding", "projection", "positions", "blocks", "norms")
    assert counts["total"] == sum(counts[g] for g in groups)
    assert SRT(model.params, model.tokenizer).parameter_counts() == counts  # knows no catalogue at all


@pytest.mark.parametrize(("d", "layers", "heads"), [(32, 1, 1), (64, 2, 2), (256, 24, 4)])
def test_paper_recipe_has_the_authors_parameter_count(dataset: Dataset, d: int, layers: int, heads: int) -> None:
    recipe = paper_recipe(Architecture(d_model=d, n_layers=layers, n_heads=heads))
    counts = new_model(recipe.model, dataset).parameter_counts()
    block = 4 * (d * d + d) + 2 * d + (d * d + d) + (d * d + d) + 2 * d
    assert counts["non_embedding"] == 50 * d + (2 * d * d + d) + 2 * d + layers * block


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_heads=3 must divide d_model=8"):
        parse(ModelParams, {"d_model": 8, "n_heads": 3}, "model")


def test_weights_start_as_the_initialisation_says(dataset: Dataset) -> None:
    """normal02: every matrix and table has the standard deviation 0.02 (within what so many draws allow), biases 0."""
    for name, p in new_model(params(d_model=64, initialisation="normal02"), dataset, seed=1).named_parameters():
        if p.dim() > 1:
            assert p.std().item() == pytest.approx(0.02, rel=5 / (2 * p.numel()) ** 0.5), name
        else:
            assert p.unique().tolist() in ([0.0], [1.0]), name  # biases, and scales of norms
    usual = new_model(params(d_model=64), dataset, seed=1).blocks[0].out.weight
    assert usual.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.1)  # Xavier


def test_layers_start_with_smaller_residuals_where_asked(dataset: Dataset) -> None:
    plain, scaled = (new_model(params(n_layers=2, residual_scale=on), dataset, seed=1) for on in (False, True))
    for (name, one), (_, other) in zip(plain.named_parameters(), scaled.named_parameters(), strict=True):
        last = name.startswith("blocks.") and name.endswith(("out.weight", "outer.weight"))
        torch.testing.assert_close(other, one / 2 if last else one)


def test_rotary_positions_need_pairs_of_numbers() -> None:
    with pytest.raises(ValueError, match="d_model / n_heads must be even"):
        params(d_model=6, positions="rotary")


def test_scores_with_a_temperature_are_cosines_over_it(dataset: Dataset) -> None:
    model = new_model(params(temperature=0.05), dataset).eval()
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    with torch.no_grad():
        outputs = model(vectors[:6], Layout.buckets([(1, 6)], torch.arange(6)))
    scores = outputs @ vectors.T
    torch.testing.assert_close(scores, 20 * F.cosine_similarity(outputs[:, None], vectors[None], dim=2))
    assert scores.abs().max() <= 20 + 1e-4


def test_new_parts_of_a_layer_leave_the_default_alone(dataset: Dataset) -> None:
    """Same names, shapes and draws: a model of the default has no weight of theirs."""
    names = set(new_model(params(), dataset).state_dict())
    assert names < set(new_model(params(qk_norm=True), dataset).state_dict())
    assert names - set(new_model(params(positions="rotary"), dataset).state_dict()) == {"positions.weight"}
    plain, gated = (new_model(params(feed_forward=kind), dataset).blocks[0] for kind in ("gelu", "swiglu"))
    assert (plain.inner.out_features, gated.inner.out_features) == (32, 64)
