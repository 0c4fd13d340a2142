"""An objective of your own: the binary cross-entropy of the first SASRec, over negatives that the batch shares.

python tests/examples/objective.py
"""

import sys

import torch.nn.functional as F
from torch import Tensor

from srtlib.params import TrainParams
from srtlib.training.losses import OBJECTIVES, Scored


class BinaryCrossEntropy:
    whole_catalogue = False  # it is scored against drawn negatives

    def __call__(self, scored: Scored, params: TrainParams) -> Tensor:
        own = (scored.outputs * scored.positives).sum(1)
        others = scored.outputs @ scored.candidates.T
        return F.softplus(-own).mean() + F.softplus(others).mean()


OBJECTIVES["binary_cross_entropy"] = BinaryCrossEntropy()

if __name__ == "__main__":
    from srtlib.cli.entry import main

    sys.exit(main("train synthetic --interactions 5K --set objective=binary_cross_entropy --set epochs=1".split()))
