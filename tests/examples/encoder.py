"""An item encoder of one's own: an item is known by the letters of its title."""

from string import ascii_lowercase

import numpy as np
import torch
from torch import nn

from srtlib.model.encoders import ENCODERS, ItemEncoder


class Letters(ItemEncoder):
    known_by = "the letters of their titles"

    def __init__(self, params, tokenizer=None):
        super().__init__(params, tokenizer)
        self.project = nn.Linear(26, params.d_model)

    def features(self, items, device):
        titles = items.catalogue["title"].str.lower()
        counts = np.stack([titles.str.count(letter) for letter in ascii_lowercase], axis=1)
        return torch.tensor(counts, dtype=torch.float32, device=device)

    def forward(self, features, items):
        return self.project(features[items])

    def flops(self, features, items):
        return {"project": 2 * len(items) * 26 * self.project.out_features}


ENCODERS["letters"] = Letters
