"""Figures show the numbers they are given, readably: no result is computed in them."""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from srtlib import figures, runs
from srtlib.figures.style import short

PHONE = 360  # pixels that a phone gives a figure
GRID = np.geomspace(1e12, 1e17, 30)


def make_curves() -> pd.DataFrame:
    epochs = np.arange(1, 5)
    parts = [
        pd.DataFrame({"epoch": epochs, "flops": 1e12 * size * epochs, "valid_ndcg@5": 0.01 * i + 0.01 * epochs}).assign(
            run_id=f"r{i}", params_total=1_000 * size, n_interactions=10 ** (5 - i)
        )
        for i, size in enumerate([1, 20, 300])
    ]
    return pd.concat(parts, ignore_index=True)


def make_authors() -> pd.DataFrame:
    """Three runs, each on a set of its own."""
    curves = make_curves()
    return curves.assign(dataset="amazon-" + curves["run_id"], flops_paper=curves["flops"])


def make_points() -> pd.DataFrame:
    rows = [
        {"dataset": f"set {t}", "d_model": d, "n_targets": t, "valid_ndcg@5": 0.01 * np.log10(t * d)}
        for d in (32, 64, 128, 256)
        for t in (80_000, 800_000, 8_000_000)
    ]
    points = pd.DataFrame(rows)
    return points.assign(predicted=points["valid_ndcg@5"] * 1.1, flops=points["n_targets"] * points["d_model"] * 1e9)


def make_pairs() -> pd.DataFrame:
    effects = {"8 to 16": [-0.03, -0.01, -0.02], "16 to 24": [0.01, -0.15]}
    return pd.DataFrame([{"step": step, "effect": e} for step, values in effects.items() for e in values])


def make_estimates() -> pd.DataFrame:
    ours = pd.DataFrame({"flops": GRID, "valid_ndcg@5": 0.01 * np.log(GRID) - 0.2})
    ours = ours.assign(low=ours["valid_ndcg@5"] - 0.01, high=ours["valid_ndcg@5"] + 0.01, estimator="ours, 95%")
    return pd.concat([ours, ours[["flops", "valid_ndcg@5"]].assign(estimator="published")])


def make_isoflop() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    sizes = np.geomspace(1e5, 1e7, 7)
    tables = [
        pd.DataFrame({"params_total": sizes, "valid_ndcg@5": top - 0.001 * np.log(sizes / 1e6) ** 2, "flops": C})
        for C, top in [(1e15, 0.05), (1e17, 0.08)]
    ]
    both = pd.concat(tables)
    return both, both, both[both["params_total"].round() == 1e6]


def make_sizes() -> pd.DataFrame:
    sizes = pd.DataFrame({"n_items": [10**7, 10**4, 10**5, 10**6], "targets_per_s": [18_000, 20_000, 19_900, 19_500]})
    arrays = sizes["n_items"] * 112
    return sizes.assign(catalogue_bytes=arrays, peak_bytes=800_000_000 + 1.5 * arrays)


def make_methods() -> pd.DataFrame:
    table = pd.DataFrame({"method": ["popularity", "full", "from_scratch"], "test_ndcg@10": [0.01, 0.05, 0.04]})
    return table.assign(low=[np.nan, 0.045, 0.039], high=[np.nan, 0.055, 0.041])


def make_systems() -> pd.DataFrame:
    curves = {"ours": [(2, 0.01), (8, 0.05)], "theirs": [(60, 0.01), (600, 0.04)]}
    rows = [{"system": name, "curve": [{"cpu_s": s, "ndcg@10": q} for s, q in c]} for name, c in curves.items()]
    return pd.DataFrame(rows)


def make_encoders() -> pd.DataFrame:
    rows = [("words", 0.01, 0.02), ("words", 1.0, 0.06), ("sentence", 0.01, 0.03), ("sentence", 1.0, 0.05)]
    table = pd.DataFrame(rows, columns=["encoder", "share", "test_unseen_ndcg@10"])
    return table.assign(low=table["test_unseen_ndcg@10"] - 0.001, high=table["test_unseen_ndcg@10"] + 0.001)


def make_gains() -> pd.DataFrame:
    rows = [
        ("Beauty", 0.01, "sentence", "words", -0.3), ("Beauty", 0.01, "sentence", "pre-trained", -0.1),
        ("Beauty", 1.0, "words", "sentence", -0.08), ("Films", 0.01, "words", "sentence", 0.04),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["target", "share", "best", "encoder", "effect"])
    return table.assign(low=table["effect"] - 0.02, high=table["effect"] + 0.02)


def make_sources() -> pd.DataFrame:
    rows = [
        ("near", 0.2, "untrained", 0.04), ("near", 0.2, "zero_shot", 0.035), ("near", 0.2, "zero_shot", 0.03),
        ("far", 0.7, "untrained", 0.03), ("far", 0.7, "zero_shot", 0.02),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "distance", "method", "test_unseen_ndcg@10"])


def make_unseen() -> pd.DataFrame:
    rows = [(target, method, 0.01 * (i + 1)) for i, target in enumerate(("Beauty", "Films")) for method in ("a", "b")]
    return pd.DataFrame(rows, columns=["target", "method", "test_unseen_ndcg@10"])


def make_transfer(x: str) -> pd.DataFrame:
    sizes = {"share": [0.01, 0.05, 0.2, 1.0], "pretrain_interactions": [50_000, 100_000, 900_000]}[x]
    parts = [
        pd.DataFrame({x: sizes, "test_ndcg@10": 0.01 * (np.arange(len(sizes)) + i), "method": method})
        for i, method in enumerate(["from_scratch", "full"])
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(low=table["test_ndcg@10"] - 0.003, high=table["test_ndcg@10"] + 0.003)


def make_recipes() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    curves = pd.concat([make_curves().assign(recipe=name) for name in ("a", "b")], ignore_index=True)
    curves["run_id"] = curves["recipe"] + curves["run_id"]
    curves.loc[curves["recipe"] == "b", "flops"] *= 30
    frontiers = {name: part.sort_values("flops") for name, part in curves.groupby("recipe")}
    return curves, frontiers


def make_slopes() -> dict[str, pd.DataFrame]:
    slopes = pd.DataFrame({"set": ["a", "b"], "slope": [0.012, 0.009], "low": [0.01, 0.008], "high": 0.013})
    ratios = pd.DataFrame(
        {"quality": [0.03, 0.9], "ours": [1e14, 1e15], "theirs": [3e15, np.inf], "ratio": [30, np.nan]}
    )
    return {"slopes": slopes, "ratios": ratios}


def make_rollout(x: str = "flops", forms: int = 1) -> pd.DataFrame:
    """Four decades, the first of which could not be fitted."""
    values = np.repeat([8e12, 2.7e13, 8.5e14, 8.5e15], 5) if x == "n_targets" else np.geomspace(2e12, 1e16, 20)
    start = 10.0 ** np.floor(np.log10(values))
    points = pd.DataFrame({x: values, "start": start, "observed": 0.05, "reason": ""})
    points["predicted"] = np.where(start == start.min(), np.nan, 0.05 * (1 + 0.1 * np.sin(np.arange(20.0))))
    points.loc[start == start.min(), "reason"] = "2 runs cannot determine the 3 parameters"
    points = points.assign(low=points["predicted"] - 0.003, high=points["predicted"] + 0.003)
    return pd.concat([points.assign(form=f"form_{i}") for i in range(forms)], ignore_index=True)


def make_losses() -> pd.DataFrame:
    loss = np.linspace(8, 12, 9)
    return pd.DataFrame({"valid_loss": loss, "valid_ndcg@5": 0.1 - 0.008 * loss, "n_interactions": 10**loss})


def make_variations() -> pd.DataFrame:
    table = pd.DataFrame({"variation": ["cosine scores", "dropout 0.4", "batch x 2"], "effect": [0.36, -0.06, 0.01]})
    return table.assign(pairs=[3, 1, 1], low=[0.3, np.nan, np.nan], high=[0.4, np.nan, np.nan])


def make_seeds() -> pd.DataFrame:
    rows = [(n, d, 0.03 * (s - 1)) for n in (8_000, 85_000, 2_700_000) for d in (8, 64, 256) for s in range(3)]
    return pd.DataFrame(rows, columns=["n_interactions", "d_model", "off"])


def make_groups() -> pd.DataFrame:
    rows = [
        {"model": model, "ranking": "all items", "by": by, "least": least, "most": most, "users": 9}
        | {"ndcg": 0.1 + 0.01 * i, "low": 0.08 + 0.01 * i, "high": 0.13 + 0.01 * i}
        for i, model in enumerate(("text", "item ids"))
        for by, groups in {"history": [(2, 4), (5, 9), (10, np.nan)], "popularity": [(0, 0), (1, 9)]}.items()
        for least, most in groups
    ]
    return pd.DataFrame(rows)


def make_differences() -> pd.DataFrame:
    table = make_groups().rename(columns={"ndcg": "difference"})
    return table.assign(ranking=table["model"].replace({"text": "all items", "item ids": "new items"}))


def make_optima() -> pd.DataFrame:
    table = pd.DataFrame({"n_targets": [2e4, 2e5, 2e6], "params_non_embedding": 1e4, "batch_size": [128.0, 700.0, 1e3]})
    return table.assign(at_edge=[True, False, True])


def every_figure() -> dict[str, Callable[[], Figure]]:
    curves, points, pairs = make_curves(), make_points(), make_pairs()
    frontier = pd.DataFrame({"flops": [1e12, 1e15], "valid_ndcg@5": [0.01, 0.06]})
    hold_out = pd.DataFrame({"form": ["additive_power_log_data", "sigmoid"], "rmse": [0.002, 0.001]})
    return {
        "scaling": lambda: figures.scaling_curves(
            curves,
            "interactions_per_parameter",
            frontier=frontier,
            fit=lambda C: 0.01 * np.log10(C / 1e11),
            band=lambda C: (0.0 * C, 0.1 + 0 * C),
            ceiling=0.12,
        ),
        "scaling, by set": lambda: figures.scaling_by_set(make_authors(), make_authors().query("run_id == 'r2'")),
        "data": lambda: figures.data_scaling(points, predicted="predicted"),
        "effects": lambda: figures.paired_effects(pairs, runs.summarise_effects(pairs), "layers"),
        "funnel": lambda: figures.funnel(
            pd.DataFrame({"stage": ["in the file", "user not in a transfer set"], "ratings": [96_173, 43_408]})
        ),
        "groups": lambda: figures.quality_by_group(make_groups()),
        "groups, difference": lambda: figures.difference_by_group(make_differences(), "text", "IDs"),
        "agreement": lambda: figures.observed_vs_predicted(points, kind="dataset"),
        "hold-out": lambda: figures.holdout_errors(hold_out.assign(rmse_held_out=[0.012, 0.003])),
        "hold-out, a decade and more": lambda: figures.holdout_errors(hold_out.assign(rmse_held_out=[0.0147, 0.00077])),
        "estimator": lambda: figures.estimator_curves(make_estimates(), points=points.query("flops < 1e16")),
        "laws of compute": lambda: figures.compute_laws(
            make_estimates(), make_authors().query("flops < 1e15"), make_authors().iloc[-1]
        ),
        "isoflop": lambda: figures.isoflop(*make_isoflop()),
        "isoflop, planned": lambda: figures.isoflop(*make_isoflop(), cut=make_isoflop()[0]),
        "catalogue": lambda: figures.catalogue_scaling(make_sizes()),
        "methods": lambda: figures.method_ranking(make_methods(), ours=("full",)),
        "transfer, sizes": lambda: figures.transfer_curves(
            make_transfer("pretrain_interactions"), "pretrain_interactions", "method", baseline=make_methods()
        ),
        "recipes": lambda: figures.recipes_compared(*make_recipes(), {"a": lambda C: 0.01 * np.log10(C / 1e11)}),
        "recipes, slopes": lambda: figures.recipes_compared(*make_recipes(), {}, **make_slopes()),
        "rollout, compute": lambda: figures.rollout(make_rollout(forms=4)),
        "rollout, data": lambda: figures.rollout(make_rollout("n_targets", forms=2), "n_targets"),
        "loss": lambda: figures.loss_and_metric(
            make_losses(), fitted=make_losses().assign(fitted=lambda t: t["valid_ndcg@5"])
        ),
        "variations": lambda: figures.variations(make_variations()),
        "tuned": lambda: figures.tuned_settings({"batch size": make_optima(), "learning rate": make_optima()}),
        "seeds": lambda: figures.seed_spread(make_seeds()),
        "time to quality": lambda: figures.time_to_quality(make_systems()),
        "transfer, encoders": lambda: figures.encoders_by_share(make_encoders(), 0.04),
        "transfer, gains": lambda: figures.gains_by_share(make_gains()),
        "transfer, sources": lambda: figures.sources_by_distance(make_sources(), 0.042),
        "transfer, by target": lambda: figures.quality_by_target(make_unseen()),
        "transfer, shares": lambda: figures.transfer_curves(make_transfer("share"), "share", "method"),
    }


@pytest.fixture(params=list(every_figure()))
def figure(request: pytest.FixtureRequest) -> Iterator[Figure]:
    before = dict(plt.rcParams)
    figure = every_figure()[request.param]()
    assert dict(plt.rcParams) == before  # the caller's style is left alone
    figure.canvas.draw()
    yield figure
    plt.close(figure)


def shown_texts(figure: Figure) -> list[Text]:
    """Labels, annotations and legends; not tick labels, some of which lie beyond the view."""
    labels = [axis.label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    legends = [text for legend in figure.findobj(Legend) for text in legend.get_texts()]
    texts = [*labels, *legends, *(text for ax in figure.axes for text in ax.texts)]
    return [text for text in texts if text.get_text()]


def test_type_is_legible_on_a_phone_and_inside_the_figure(figure: Figure) -> None:
    for text in figure.findobj(Text):
        assert text.get_fontsize() / 72 * PHONE / figure.get_figwidth() >= 9, text.get_text()
    assert shown_texts(figure)
    for text in shown_texts(figure):
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= -2, text.get_text()
        assert box.x1 <= figure.bbox.x1 + 2, text.get_text()
        assert box.y1 <= figure.bbox.y1 + 2, text.get_text()


def test_tick_labels_do_not_overlap(figure: Figure) -> None:
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_text()]
            boxes = [t.label1.get_window_extent() for t in ticks if t.label1.get_visible()]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_axes_are_labelled_and_the_ground_is_opaque_white(figure: Figure) -> None:
    first = figure.axes[0]
    assert first.get_xlabel() or figure.get_supxlabel()
    assert first.get_ylabel() or figure.get_supylabel() or first.get_yticklabels()[0].get_text()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    picture.seek(0)
    pixels = plt.imread(picture)
    assert (pixels[..., 3] == 1).all()
    assert (pixels[0, 0, :3] == 1).all()


def test_scaling_curves_draw_every_run_and_the_given_laws() -> None:
    curves = make_curves()
    frontier = pd.DataFrame({"flops": [1e12, 1e15], "valid_ndcg@5": [0.01, 0.06]})
    figure = figures.scaling_curves(curves, frontier=frontier, fit=lambda C: C / 1e15, ceiling=0.07)
    ax = figure.axes[0]
    drawn = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in ax.lines}
    for _, run in curves.groupby("run_id"):
        assert drawn[tuple(run["flops"])] == tuple(run["valid_ndcg@5"])
        assert drawn[tuple(run["flops"][-1:])] == tuple(run["valid_ndcg@5"][-1:])  # the dot at its end
    assert drawn[1e12, 1e15] == (0.01, 0.06)
    named = {line.get_label(): line for line in ax.lines}
    fit = named["fit"]
    np.testing.assert_allclose(fit.get_ydata(), np.asarray(fit.get_xdata()) / 1e15)
    assert set(named["best achievable"].get_ydata()) == {0.07}
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "training compute [FLOP]")
    assert figure.axes[1].get_ylabel() == "parameters"


def test_runs_stand_in_the_panel_of_their_set_and_the_frontier_in_all() -> None:
    curves = make_authors()
    frontier = curves[curves["run_id"] == "r2"]
    *panels, unused, _ = figures.scaling_by_set(curves, frontier).axes
    assert not unused.axison
    assert [ax.get_title() for ax in panels] == ["amazon-r2", "amazon-r1", "amazon-r0"]  # by interactions
    for ax, run in zip(panels, ("r2", "r1", "r0"), strict=True):
        whole, held, drawn, _ = ax.lines
        assert whole.get_ydata().tolist() == frontier["valid_ndcg@5"].tolist()
        assert np.isnan(held.get_ydata()).all() == (run != "r2")
        assert drawn.get_xdata().tolist() == curves.loc[curves["run_id"] == run, "flops"].tolist()


def test_runs_stand_in_the_panel_of_their_sample() -> None:
    curves = make_authors()
    frontier = curves.sort_values("flops")
    *panels, _, _ = figures.scaling_by_set(curves, frontier, kind="n_interactions").axes
    amounts = np.sort(curves["n_interactions"].unique())
    assert [ax.get_title() for ax in panels] == [f"{short(amount)} interactions" for amount in amounts]
    held = [~np.isnan(ax.lines[1].get_ydata()) for ax in panels]
    assert (np.sum(held, 0) == 1).all()  # each point of the frontier is dark in one panel


def test_laws_of_compute_stand_over_a_frontier_that_is_split_by_data() -> None:
    frontier = make_authors().query("flops < 1e15").sort_values("flops")
    best = frontier.loc[frontier["valid_ndcg@5"].idxmax()]
    ax = figures.compute_laws(make_estimates(), frontier, best).axes[0]
    held_out, beyond = (
        patch.get_window_extent().transformed(ax.transData.inverted()).intervalx for patch in ax.patches
    )
    largest = frontier["flops"].max()
    np.testing.assert_allclose([*held_out, *beyond], [largest / 10, largest, largest, 1e17])
    for amount, part in frontier.groupby("n_interactions"):
        drawn = [line.get_xydata() for line in ax.lines]
        assert part[["flops", "valid_ndcg@5"]].to_numpy().tolist() in [xy[~np.isnan(xy[:, 1])].tolist() for xy in drawn]
        assert figures.short(amount) in [text.get_text() for text in ax.texts]
    (star,) = [line for line in ax.lines if line.get_label() == "best run"]
    assert star.get_xydata().tolist() == [[best["flops"], best["valid_ndcg@5"]]]


def test_a_metric_of_the_authors_runs_says_what_it_ranks() -> None:
    """Their tables know the paper's count of compute alone."""
    curves = make_authors()
    for table, items in ((curves, "all items"), (curves.assign(flops=np.nan), "10,000 drawn items")):
        figure = figures.scaling_curves(table, x="flops_paper")
        assert figure.axes[0].get_ylabel() == f"validation NDCG@5, {items}"


def test_the_frontier_lies_beneath_the_runs_that_hold_it() -> None:
    curves = make_curves()
    frontier = curves[curves["run_id"] == "r2"]
    *runs_and_dots, halo = figures.scaling_curves(curves, frontier=frontier).axes[0].lines
    assert halo.get_label() == "frontier"
    assert all(line.get_zorder() > halo.get_zorder() for line in runs_and_dots)
    assert all(line.get_linewidth() < halo.get_linewidth() / 2 for line in runs_and_dots)


def test_colour_follows_the_column_and_brightens_with_it() -> None:
    curves = make_curves()

    def brightness(colour: str) -> list[float]:
        lines = figures.scaling_curves(curves, colour).axes[0].lines[::2]
        return [float(np.dot(to_rgb(line.get_color()), [0.2126, 0.7152, 0.0722])) for line in lines]

    by_parameters, by_data = brightness("params_total"), brightness("n_interactions")
    assert by_parameters == sorted(by_parameters)
    assert by_data == sorted(by_data, reverse=True)
    assert brightness("interactions_per_parameter") == sorted(brightness("interactions_per_parameter"), reverse=True)


def test_paired_effects_show_each_pair_and_the_interval() -> None:
    pairs = make_pairs()
    summary = runs.summarise_effects(pairs)
    ax = figures.paired_effects(pairs, summary).axes[0]
    dots = [sorted(line.get_xdata()) for line in ax.lines[:2]]
    assert dots == [[-0.03, -0.02, -0.01], [-0.15, 0.01]]
    (arms,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in arms.get_segments()]
    np.testing.assert_allclose(ends, summary[["low", "high"]])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["8 to 16\n3 pairs", "16 to 24\n2 pairs"]


def test_data_scaling_draws_law_and_runs_of_each_width() -> None:
    points = make_points()
    ax = figures.data_scaling(points, predicted="predicted").axes[0]
    assert [text.get_text() for text in ax.texts] == [f"width {width}" for width in (32, 64, 128, 256)]
    heights = [text.xy[1] for text in ax.texts]
    assert (np.diff(heights) >= 0.07).all()
    assert max(heights) <= 1
    drawn = [tuple(line.get_ydata()) for line in ax.lines]
    for _, group in points.groupby("d_model"):
        assert tuple(group["valid_ndcg@5"]) in drawn
        assert tuple(group["predicted"]) in drawn


def test_names_of_lines_that_end_together_at_the_top_stay_beside_the_axes() -> None:
    points = make_points().assign(**{"valid_ndcg@5": 0.1})
    heights = [text.xy[1] for text in figures.data_scaling(points).axes[0].texts]
    assert (np.diff(heights) >= 0.07).all()
    assert heights[-1] <= 1


def test_agreement_lies_on_the_diagonal_and_kinds_differ_in_shape() -> None:
    points = make_points()
    ax = figures.observed_vs_predicted(points.assign(predicted=points["valid_ndcg@5"]), kind="dataset").axes[0]
    kinds = ax.lines[:-1]
    assert all((line.get_xdata() == line.get_ydata()).all() for line in kinds)
    assert len({line.get_marker() for line in kinds}) == len({line.get_color() for line in kinds}) == 3


def test_hold_out_puts_the_form_that_predicts_best_on_top() -> None:
    table = pd.DataFrame({"form": ["a", "b_c"], "rmse": [0.001, 0.003], "rmse_held_out": [0.012, 0.0026]})
    ax = figures.holdout_errors(table).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b c", "a"]
    assert ax.yaxis_inverted()
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.003, 0.001], [0.0026, 0.012]]


def test_estimator_shades_what_lies_beyond_the_runs() -> None:
    points = pd.DataFrame({"flops": [1e13, 1e15], "valid_ndcg@5": [0.05, 0.1]})
    ax = figures.estimator_curves(make_estimates(), points=points).axes[0]
    (shade,) = [patch for patch in ax.patches if patch.get_label() == "beyond the runs"]
    np.testing.assert_allclose([shade.get_x(), shade.get_x() + shade.get_width()], [1e15, 1e17])
    assert len(ax.collections) == 1  # one band: the published law has no interval
    within = figures.estimator_curves(make_estimates(), points=points.assign(flops=[1e13, 1e18])).axes[0]
    assert not within.patches


def test_bands_that_say_nothing_do_not_press_the_lines_together() -> None:
    sizes = make_estimates().assign(low=1e-12, high=1e9, **{"valid_ndcg@5": 100.0})
    low, high = figures.estimator_curves(sizes, log_y=True).axes[0].get_ylim()
    np.testing.assert_allclose([low, high], [100 / 30, 3000])
    narrow = make_estimates().assign(low=90.0, high=110.0, **{"valid_ndcg@5": 100.0})
    low, high = figures.estimator_curves(narrow, log_y=True).axes[0].get_ylim()
    assert 80 < low < 90
    assert 110 < high < 120


@pytest.mark.parametrize("widths", [(32, 128, 1024), (64, 256, 512)])
def test_a_colour_bar_writes_widths_as_they_are(widths: tuple[int, ...]) -> None:
    curves = make_curves().assign(d_model=lambda t: t["run_id"].map(dict(zip(("r0", "r1", "r2"), widths, strict=True))))
    bar = figures.scaling_curves(curves, colour="d_model").axes[-1]
    bar.figure.canvas.draw()
    assert [text.get_text() for text in bar.get_yticklabels()] == [f"{width}" for width in widths]


@pytest.mark.parametrize(("name", "columns"), [("short", 2), ("a name that is longer than half of the figure", 1)])
def test_a_legend_has_as_many_columns_as_fit(name: str, columns: int) -> None:
    table = make_transfer("share").assign(method=lambda t: name + " " + t["method"])
    figure = figures.transfer_curves(table, "share", "method")
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns
    assert 0 <= legend.get_window_extent().x0 < legend.get_window_extent().x1 <= figure.bbox.width


def test_isoflop_marks_the_optima() -> None:
    points, parabolas, optima = make_isoflop()
    figure = figures.isoflop(points, parabolas, optima)
    (stars,) = [line for line in figure.axes[0].lines if line.get_label() == "optimum"]
    np.testing.assert_allclose(stars.get_xdata(), 1e6)
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["$10^{15}$", "$10^{17}$"]


def test_isoflop_shows_longer_runs_hollow_at_the_same_budgets() -> None:
    points, parabolas, optima = make_isoflop()
    cut = points.assign(**{"valid_ndcg@5": points["valid_ndcg@5"] - 0.01})
    ax = figures.isoflop(points, parabolas, optima, cut=cut).axes[0]
    hollow = [line.get_ydata() for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_ydata())]
    np.testing.assert_allclose(hollow, [part["valid_ndcg@5"] for _, part in cut.groupby("flops")])


def test_catalogue_scaling_shows_speeds_in_a_band_of_15_percent_and_memory_beside_the_arrays() -> None:
    speed, memory = figures.catalogue_scaling(make_sizes()).axes
    (measured,) = speed.lines
    np.testing.assert_allclose(measured.get_xydata(), [[1e4, 20], [1e5, 19.9], [1e6, 19.5], [1e7, 18]])
    (band,) = speed.patches
    low, high = band.get_window_extent().transformed(speed.transData.inverted()).intervaly
    assert high / low == pytest.approx(1.15)
    assert low < 18 < 20 < high
    peak, arrays = (line.get_ydata() for line in memory.lines)
    np.testing.assert_allclose([peak[-1], arrays[-1]], [0.8 + 1.68, 0.8 + 1.12], atol=0.001)


@pytest.mark.filterwarnings("error")
def test_methods_stand_in_order_and_the_pretrained_ones_apart() -> None:
    ax = figures.method_ranking(make_methods(), ours=("full",)).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["popularity", "from scratch", "full"]
    marks = {line.get_marker(): line for line in ax.lines}
    assert marks["D"].get_xdata().tolist() == [0.05]
    assert sorted(marks["o"].get_xdata()) == [0.01, 0.04]


def test_time_to_quality_draws_each_system() -> None:
    lines = figures.time_to_quality(make_systems()).axes[0].lines
    assert [(line.get_label(), list(line.get_xdata())) for line in lines] == [("ours", [2, 8]), ("theirs", [60, 600])]


def test_encoders_by_share_draw_each_encoder_beside_the_neighbours() -> None:
    ax = figures.encoders_by_share(make_encoders(), 0.04).axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert lines["words"] == [0.02, 0.06]
    assert lines["sentence"] == [0.03, 0.05]
    assert lines["neighbours by text, nothing trained"] == [0.04, 0.04]


def test_gains_are_drawn_a_panel_per_target_with_their_intervals() -> None:
    panels = {ax.get_title(): ax for ax in figures.gains_by_share(make_gains()).axes}
    assert list(panels) == ["Beauty", "Films"]
    assert [tick.get_text() for tick in panels["Beauty"].get_xticklabels()] == ["1%\nsentence", "100%\nwords"]
    marks = {line.get_label(): list(line.get_ydata()) for line in panels["Beauty"].lines}
    assert (marks["words"], marks["pre-trained"], marks["sentence"]) == ([-0.3], [-0.1], [-0.08])
    drawn = [path.vertices[:, 1] for bars in panels["Films"].collections for path in bars.get_paths()]
    np.testing.assert_allclose(drawn, [[0.02, 0.06]])


def test_sources_are_drawn_before_and_after_training_at_their_distance() -> None:
    lines = figures.sources_by_distance(make_sources(), 0.042).axes[0].lines
    filled = {line.get_label(): line.get_xydata().tolist() for line in lines if line.get_markerfacecolor() != "none"}
    assert filled["near"] == [[0.2, 0.035], [0.2, 0.03]]
    assert filled["far"] == [[0.7, 0.02]]
    hollow = [line.get_xydata().tolist() for line in lines if line.get_markerfacecolor() == "none"]
    assert hollow == [[[0.2, 0.04]], [[0.7, 0.03]]]
    assert [list(line.get_ydata()) for line in lines][-1] == [0.042, 0.042]


def test_quality_by_target_draws_a_row_per_target_and_a_mark_per_method() -> None:
    ax = figures.quality_by_target(make_unseen()).axes[0]
    rows = {text.get_text(): tick for text, tick in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)}
    assert {line.get_label(): line.get_xydata().tolist() for line in ax.lines} == {
        method: [[0.01, rows["Beauty"]], [0.02, rows["Films"]]] for method in ("a", "b")
    }


@pytest.mark.parametrize("draw", ["ranking", "curves", "encoders"])
def test_an_interval_is_named_where_one_is_drawn(draw: str) -> None:
    table = {"ranking": make_methods(), "curves": make_transfer("share"), "encoders": make_encoders()}[draw]
    figure_of: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "ranking": figures.method_ranking,
        "curves": lambda table: figures.transfer_curves(table, "share", "method"),
        "encoders": lambda table: figures.encoders_by_share(table, 0.04),
    }
    for one_seed in (False, True):
        shown = table.assign(low=np.nan, high=np.nan) if one_seed else table
        legend = figure_of[draw](shown).legends[0]
        assert ("95% interval" in [text.get_text() for text in legend.get_texts()]) == (not one_seed)


def test_transfer_curves_draw_each_kind_and_its_level_from_scratch() -> None:
    table = make_transfer("pretrain_interactions")
    ax = figures.transfer_curves(table, "pretrain_interactions", "method", baseline=make_methods()).axes[0]
    levels = {line.get_label(): set(line.get_ydata()) for line in ax.lines}
    assert levels["full, from scratch"] == {0.05}
    assert levels["full"] == set(table.loc[table["method"] == "full", "test_ndcg@10"])
    level = figures.transfer_curves(table, "pretrain_interactions", "method", level=0.04).axes[0].lines[-1]
    assert (set(level.get_ydata()), level.get_label()) == ({0.04}, "neighbours by text, nothing trained")


def test_recipes_are_drawn_run_by_run_with_frontiers_slopes_and_ratios() -> None:
    curves, frontiers = make_recipes()
    ax = figures.recipes_compared(curves, frontiers, {}, **make_slopes()).axes[0]
    drawn = [line.get_xydata().tolist() for line in ax.lines]
    for _, run in curves.groupby("run_id"):
        assert run[["flops", "valid_ndcg@5"]].to_numpy().tolist() in drawn
    named = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    for name, slope in [
        ("a", "+0.0120 per decade\n(95%: 0.0100 to 0.0130)"),
        ("b", "+0.0090 per decade\n(95%: 0.0080 to 0.0130)"),
    ]:
        assert named[f"recipe {name}:\n{slope}"] == frontiers[name][["flops", "valid_ndcg@5"]].to_numpy().tolist()
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["30\N{MULTIPLICATION SIGN}"]


def test_rollout_marks_what_the_band_held_and_what_could_not_be_fitted() -> None:
    points = make_rollout()
    ax, unused = figures.rollout(points).axes
    assert not unused.axison
    assert ax.get_title() == "form 0"
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    off = (points["predicted"] / 0.05 - 1).dropna()
    np.testing.assert_allclose(drawn["measured inside the 95% band (bar)"], off[off.abs() <= 0.003 / 0.05])
    outside = drawn["outside"]
    np.testing.assert_allclose(outside[~np.isnan(outside)], off[off.abs() > 0.003 / 0.05])
    assert [text.get_text() for text in ax.texts] == ["no fit"]


def test_variations_stand_in_order_and_single_seeds_apart() -> None:
    ax = figures.variations(make_variations()).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cosine scores", "batch × 2", "dropout 0.4"]
    several, single = ax.lines[:2]
    assert several.get_xdata().tolist() == [0.36]
    assert sorted(single.get_xdata()) == [-0.06, 0.01]


def test_seeds_stand_at_their_distance_from_the_mean_by_width() -> None:
    rows = make_seeds()
    *drawn, zero = figures.seed_spread(rows).axes[0].lines
    assert set(zero.get_ydata()) == {0}
    for line, (width, group) in zip(drawn, rows.groupby("d_model"), strict=True):
        assert line.get_label() == f"width {width}"
        assert line.get_ydata().tolist() == group["off"].tolist()
        np.testing.assert_allclose(line.get_xdata(), group["n_interactions"], rtol=0.35)


def test_one_run_is_enough_for_every_figure() -> None:
    """One row, or one evaluation of one run: drawn where it belongs, without a warning."""
    curve, point, pair = make_curves()[:1], make_points()[:1], make_pairs()[:1]
    form = pd.DataFrame({"form": ["sigmoid"], "rmse": [0.001], "rmse_held_out": [0.003]})
    x, y = point["n_targets"].item(), point["valid_ndcg@5"].item()
    drawn = {
        figures.scaling_curves(curve, frontier=curve): (curve["flops"].item(), curve["valid_ndcg@5"].item()),
        figures.data_scaling(point, predicted="predicted"): (x, y),
        figures.paired_effects(pair, runs.summarise_effects(pair)): (-0.03, 0),
        figures.observed_vs_predicted(point): (point["predicted"].item(), y),
        figures.holdout_errors(form): (0.003, 0),
        figures.estimator_curves(make_estimates(), points=point): (point["flops"].item(), y),
        figures.catalogue_scaling(make_sizes()[:1]): (1e7, 18),
        figures.isoflop(*(table[:1] for table in make_isoflop())): (1e5, make_isoflop()[0]["valid_ndcg@5"].iloc[0]),
    }
    for figure, place in drawn.items():
        figure.canvas.draw()
        points = [(line.get_xdata(), line.get_ydata()) for line in figure.axes[0].lines]
        assert any(len(x) == 1 and np.allclose([x[0], y[0]], place) for x, y in points)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


# The data


def test_funnel_bars_are_the_counts_from_the_top() -> None:
    stages = pd.DataFrame({"stage": ["in", "kept", "sample"], "ratings": [200, 50, 10]})
    (ax,) = figures.funnel(stages).axes
    assert [bar.get_width() for bar in ax.patches] == [200, 50, 10]
    assert [text.get_text() for text in ax.texts] == ["200 (100.0%)", "50 (25.0%)", "10 (5.0%)"]
    assert ax.yaxis_inverted()


def test_popularity_and_lengths_come_from_histograms() -> None:
    """Items with 9, 4, 4 and 1 interactions; users with as many."""
    rows = pd.DataFrame({"set": "mine", "value": [1, 4, 9], "count": [1, 2, 1]})
    (line,) = figures.popularity(rows).axes[0].lines
    assert line.get_xdata().tolist() == [1, 3, 4]
    assert line.get_ydata().tolist() == [9, 4, 1]
    (line,) = figures.sequence_lengths(rows).axes[0].lines
    assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == {9: 25, 4: 75, 1: 100}


def test_growth_has_a_line_per_set_and_panel() -> None:
    growth = pd.DataFrame(
        {"set": ["a", "a", "b", "b"], "users": [1, 2, 1, 3], "items": [5, 6, 7, 8], "words": [1, 2, 3, 4]}
    )
    above, below = figures.catalogue_growth(growth).axes
    assert [line.get_ydata().tolist() for line in above.lines] == [[5, 6], [7, 8]]
    assert [line.get_ydata().tolist() for line in below.lines] == [[1, 2], [3, 4]]
