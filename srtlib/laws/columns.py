"""Which columns of a table of runs mean what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns; the defaults are those of `srtlib.runs.curves`, D being the targets seen.

    Args:
        compute: amount of compute, such as "flops" or "flops_paper".
        quality: what is to be predicted.
        run: the run's name.
        size: model size, constant within a run.
        data: amount of data.

    >>> Columns(compute="flops_paper")
    Columns(compute='flops_paper', quality='valid_ndcg@5', run='run_id', size='params_total', data='targets_seen')
    """

    compute: str = "flops"
    quality: str = "valid_ndcg@5"
    run: str = "run_id"
    size: str = "params_total"
    data: str = "targets_seen"


CURVES = Columns()  # of `srtlib.runs.curves`
RUNS = Columns(data="n_interactions")  # of `srtlib.runs.table`, D being the interactions in the data
