"""The book's figures: tidy tables in, matplotlib figures out. Nothing here computes results or needs torch.

>>> import pandas as pd
>>> from srtlib import figures
>>> curves = pd.DataFrame({"run_id": "a", "flops": [1e9, 2e9], "valid_ndcg@5": [0.01, 0.02],
...                        "params_total": 500, "n_interactions": 5000})
>>> figures.scaling_curves(curves, colour="interactions_per_parameter").axes[0].get_xlabel()
'training compute [FLOP]'
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
