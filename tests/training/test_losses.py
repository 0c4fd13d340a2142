import numpy as np
import pytest
import torch
import torch.nn.functional as F

from srtlib.params import TrainParams
from srtlib.training.losses import OBJECTIVES, NegativeSampler, Scored, full_softmax, sampled_softmax

S, K, D, N_ITEMS = 12, 7, 5, 9


def inputs(shared: bool) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    catalogue = torch.randn(N_ITEMS, D, generator=g)
    targets = torch.randint(N_ITEMS, (S,), generator=g)
    ids = torch.randint(N_ITEMS, (K,) if shared else (S, K), generator=g)
    log_q = torch.log_softmax(torch.randn(N_ITEMS, generator=g), 0)
    return {
        "outputs": torch.randn(S, D, generator=g),
        "catalogue": catalogue,
        "targets": targets,
        "ids": ids,
        "q": log_q,
    }


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("on_positive", [True, False])
def test_sampled_softmax_equals_the_dense_formula(shared: bool, on_positive: bool) -> None:
    x = inputs(shared)
    loss = sampled_softmax(
        x["outputs"],
        x["catalogue"][x["targets"]],
        x["catalogue"][x["ids"]],
        x["targets"],
        x["ids"],
        x["q"],
        on_positive,
    )
    total = 0.0
    hits = 0
    for s in range(S):
        scores = (x["catalogue"] @ x["outputs"][s]).double()
        target = int(x["targets"][s])
        positive = scores[target] - (x["q"][target] if on_positive else 0)
        others = [positive]
        for j in (x["ids"] if shared else x["ids"][s]).tolist():
            if j == target:
                hits += 1
                continue
            others.append(scores[j] - x["q"][j] - (0 if on_positive else np.log(K)))
        total += float(torch.logsumexp(torch.stack(others), 0) - positive)
    assert hits > 0  # else the mask is not tested
    assert loss.item() == pytest.approx(total / S, rel=1e-5)


def test_all_items_as_negatives_give_the_full_softmax() -> None:
    """Uniform q and each item drawn once: K q = 1, so the corrected scores are the catalogue's own."""
    x = inputs(shared=True)
    ids = torch.arange(N_ITEMS)
    uniform = torch.full((N_ITEMS,), -np.log(N_ITEMS))
    sampled = sampled_softmax(
        x["outputs"], x["catalogue"][x["targets"]], x["catalogue"], x["targets"], ids, uniform, False
    )
    expected = F.cross_entropy(x["outputs"] @ x["catalogue"].T, x["targets"])
    torch.testing.assert_close(sampled, expected)
    torch.testing.assert_close(full_softmax(x["outputs"], x["catalogue"], x["targets"]), expected)


@pytest.mark.parametrize("shared", [True, False])
def test_scores_are_float32_under_bfloat16_autocast(shared: bool) -> None:
    """Large scores, whose differences bfloat16 (8 bits) would lose, against the formula in float64."""
    x = inputs(shared)
    outputs, catalogue = 10 * x["outputs"].bfloat16(), x["catalogue"].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sampled = sampled_softmax(
            outputs, catalogue[x["targets"]], catalogue[x["ids"]], x["targets"], x["ids"], x["q"], False
        )
        full = full_softmax(outputs, catalogue, x["targets"])
    scores = outputs.double() @ catalogue.double().T
    assert (scores.bfloat16().double() - scores).abs().max() > 0.05  # what rounded scores would be off by
    own = scores.gather(1, x["targets"][:, None])
    ids = x["ids"].expand(S, K)
    others = scores.gather(1, ids) - x["q"].double()[ids] - np.log(K)
    others = others.masked_fill(ids == x["targets"][:, None], -torch.inf)
    expected = (torch.cat([own, others], 1).logsumexp(1) - own[:, 0]).mean()
    assert sampled.dtype == full.dtype == torch.float32
    assert sampled.item() == pytest.approx(expected.item(), rel=1e-6)
    assert full.item() == pytest.approx((scores.logsumexp(1) - own[:, 0]).mean().item(), rel=1e-6)


def test_gradients_match_finite_differences() -> None:
    x = inputs(shared=True)
    catalogue = x["catalogue"].double()
    outputs = x["outputs"].double().requires_grad_()

    def loss(h: torch.Tensor) -> torch.Tensor:
        # the library's scores are float32 by design, so differences are taken through its float32
        return sampled_softmax(h, catalogue[x["targets"]], catalogue[x["ids"]], x["targets"], x["ids"], x["q"], False)

    assert torch.autograd.gradcheck(loss, (outputs,), eps=1e-2, atol=5e-3, rtol=5e-2)


@pytest.mark.parametrize("kind", ["popularity", "uniform"])
def test_negatives_follow_their_distribution(kind: str) -> None:
    counts = np.array([0, 1, 4, 20, 75])
    sampler = NegativeSampler(counts, kind)
    n = 200_000
    drawn = torch.bincount(sampler.draw((n,), torch.Generator().manual_seed(0)), minlength=5).numpy()
    q = (counts + 1) / (counts + 1).sum() if kind == "popularity" else np.full(5, 0.2)
    np.testing.assert_allclose(sampler.log_q.numpy(), np.log(q), rtol=1e-6)
    chi_square = ((drawn - n * q) ** 2 / (n * q)).sum()
    assert chi_square < 18.5  # 99.9% point with 4 degrees of freedom


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_sees_the_batchs_vectors(name: str, shared: bool) -> None:
    """Through the table, from rows of the encoded items, against the function of plain vectors."""
    x = inputs(shared)
    params, loss = TrainParams(objective=name, shared_negatives=shared), OBJECTIVES[name]
    used = torch.arange(N_ITEMS)
    ids, rows = (used, None) if loss.whole_catalogue else (x["ids"], x["ids"])
    found = loss(Scored(x["outputs"], x["catalogue"], x["targets"], ids, x["targets"], rows, x["q"]), params)
    given = x["outputs"], x["catalogue"]
    if loss.whole_catalogue:
        expected = full_softmax(*given, x["targets"])
    else:
        own, others = x["catalogue"][x["targets"]], x["catalogue"][x["ids"]]
        expected = sampled_softmax(x["outputs"], own, others, x["targets"], x["ids"], x["q"], False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_the_negatives_is_uniform(share: float) -> None:
    """q is the mixture's, so that the correction is too."""
    counts = np.array([0, 9, 89])
    sampler = NegativeSampler(counts, "popularity", uniform_share=share)
    q = (1 - share) * np.array([1, 10, 90]) / 101 + share / 3
    np.testing.assert_allclose(sampler.log_q.exp().numpy(), q, rtol=1e-6)
    drawn = torch.bincount(sampler.draw((100_000,), torch.Generator().manual_seed(0)), minlength=3).numpy()
    np.testing.assert_allclose(drawn / 100_000, q, atol=0.006)


@pytest.mark.parametrize("kind", ["unifrom", "", "Uniform"])
def test_negatives_of_a_mistyped_name_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"negatives '{kind}' is not known; expected one of popularity, uniform"):
        NegativeSampler(np.ones(3), kind)
