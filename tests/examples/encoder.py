"""An item encoder of your own: an item is known by the letters of its title. python tests/examples/encoder.py"""

import sys
from string import ascii_lowercase

import torch
from torch import nn

from srtlib.model.encoders import ENCODERS, ItemEncoder


class Letters(ItemEncoder):
    known_by = "the letters of their titles"

    def __init__(self, params, tokenizer=None):
        super().__init__(params, tokenizer)
        self.project = nn.Linear(26, params.d_model)

    def features(self, items, device):  # read once for a catalogue
        counts = [[title.lower().count(letter) for letter in ascii_lowercase] for title in items.catalogue["title"]]
        return torch.tensor(counts, dtype=torch.float32, device=device)

    def forward(self, features, items):  # for the items of a batch: [n] -> [n, d_model]
        return self.project(features[items])

    def flops(self, features, items):
        return {"project": 2 * len(items) * 26 * self.project.out_features}


ENCODERS["letters"] = Letters

if __name__ == "__main__":
    from srtlib.cli.entry import main

    sys.exit(main("train synthetic --interactions 5K --d-model 8 --set encoder=letters --set epochs=1".split()))
