from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from srtlib.data.dataset import Dataset
from srtlib.data.text import train_tokenizer
from srtlib.model.making import new_model
from srtlib.model.packing import Layout, Sequences
from srtlib.model.srt import SRT, TokenBag, _flex_attention, attention
from srtlib.params import Architecture, ModelParams, TrainParams, parse
from srtlib.recipes import paper_recipe
from srtlib.training.objective import Objective


def params(**changes: object) -> ModelParams:
    values = {"d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 12, "vocab_size": 200}
    return ModelParams.model_validate({**values, **changes})


def dense_reference(model: SRT, vectors: torch.Tensor) -> torch.Tensor:
    """One sequence [L, D] through the model by the textbook, in float64 and with an explicit mask."""
    state = {k: v.double() for k, v in model.state_dict().items()}
    d, heads, pre = model.params.d_model, model.params.n_heads, model.params.norm == "pre"

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (d,), state[f"{name}.weight"], state[f"{name}.bias"], model.params.norm_eps)

    length = len(vectors)
    x = norm("input_norm", vectors.double() + state["positions.weight"][:length])
    mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
    for i in range(model.params.n_layers):
        b = f"blocks.{i}"

        def attend(y: torch.Tensor, b: str = b) -> torch.Tensor:
            q, k, v = linear(f"{b}.qkv", y).view(length, 3, heads, d // heads).permute(1, 2, 0, 3)
            scores = (q @ k.transpose(1, 2) / (d // heads) ** 0.5).masked_fill(mask, -torch.inf)
            return linear(f"{b}.out", (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, d))

        def feed(y: torch.Tensor, b: str = b) -> torch.Tensor:
            return linear(f"{b}.outer", F.gelu(linear(f"{b}.inner", y)))

        if pre:
            x = x + attend(norm(f"{b}.attention_norm", x))
            x = x + feed(norm(f"{b}.feed_forward_norm", x))
        else:
            x = norm(f"{b}.attention_norm", x + attend(x))
            x = norm(f"{b}.feed_forward_norm", x + feed(x))
    return norm("final_norm", x) if pre else x


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_packed_batches_equal_padded_sequences(dataset: Dataset, norm: str) -> None:
    model = new_model(params(norm=norm), dataset, seed=3).eval()
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


LENGTHS = (50, 3, 50, 1, 20, 50, 7, 30)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def packed(d: int = 32) -> tuple[torch.Tensor, Layout]:
    """(qkv [256, 3 D], static layout) of sequences end to end, filled up with lone tokens."""
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    positions = F.pad(positions, (0, 256 - len(positions)))
    qkv = torch.randn(256, 3 * d, generator=torch.Generator().manual_seed(0))
    return qkv, Layout.static(positions, 64, 0)


def attention_reference(qkv: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Each sequence by itself in float32: softmax(q k' / sqrt(d)) v over the tokens so far."""
    parts = []
    for x in qkv.split([*LENGTHS, *[1] * (256 - sum(LENGTHS))]):
        q, k, v = x.view(len(x), 3, n_heads, -1).permute(1, 2, 0, 3)
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(
            torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1), -torch.inf
        )
        parts.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    return torch.cat(parts)


@pytest.mark.parametrize("heads", [1, 2])
def test_static_attention_equals_each_sequence_by_itself(heads: int) -> None:
    qkv, layout = packed()
    inputs = [qkv.clone().requires_grad_() for _ in range(2)]
    outputs = [attention(inputs[0], layout, heads), attention_reference(inputs[1], heads)]
    torch.testing.assert_close(*outputs)
    weights = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1))
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("heads", [1, 2])
def test_flex_attention_equals_each_sequence_by_itself(heads: int) -> None:
    qkv, layout = packed()  # torch has no backward pass of it on a CPU
    torch.testing.assert_close(_flex_attention(qkv, layout, heads), attention_reference(qkv, heads))


@needs_gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_gpu_attention_and_its_gradient_equal_each_sequence_by_itself(compiled: bool) -> None:
    """Compiled it is flex_attention."""
    qkv, layout = packed()
    on_gpu = Layout.static(layout.positions.cuda(), 64, 0)
    inputs = [qkv.cuda().requires_grad_(), qkv.clone().requires_grad_()]
    function = torch.compile(attention, dynamic=False) if compiled else attention
    outputs = [function(inputs[0], on_gpu, 2), attention_reference(inputs[1], 2)]
    torch.testing.assert_close(outputs[0].cpu(), outputs[1], atol=2e-3, rtol=2e-3)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad.cpu(), inputs[1].grad, atol=5e-3, rtol=5e-3)


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


def test_item_encoder_sums_tokens_by_field(dataset: Dataset) -> None:
    model = new_model(params(), dataset)
    features = model.features(dataset)
    items = torch.tensor([5, 0, 5, 39])
    assert isinstance(model.encoder, TokenBag)
    rows = []
    for item in items.tolist():
        parts = []
        for name, table in model.encoder.tables.items():
            start, end = features.offsets[name][item : item + 2].tolist()
            parts.append(table.weight[features.ids[name][start:end].long()].sum(0))
        rows.append(torch.cat(parts))
    expected = model.encoder.project(torch.stack(rows))
    torch.testing.assert_close(model.encode(features, items), expected)


def test_fixed_vectors(dataset: Dataset) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6))
    model = new_model(params(encoder="fixed_vectors", vector_dim=6), dataset)
    features = model.features(dataset.with_vectors(vectors))
    expected = torch.as_tensor(vectors, dtype=torch.float32)[:3] @ model.encoder.project.weight.T
    torch.testing.assert_close(model.encode(features, torch.arange(3)), expected)
    with pytest.raises(ValueError, match="no item vectors of width 6"):
        model.features(dataset)
    with pytest.raises(ValueError, match="needs vector_dim"):
        params(encoder="fixed_vectors")


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
    with pytest.raises(ValueError, match=r"does not hold this model's weights: [^\n]*Missing key[^\n]*$"):
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
