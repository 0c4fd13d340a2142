"""What a model was trained on: enough to notice that it is shown other data."""

import hashlib
from typing import Self

import pandas as pd

from srtlib.data.dataset import Dataset
from srtlib.model.item_encoder import Catalogue
from srtlib.params import Params


class Origin(Params):
    """The data that a model was trained on, and those that it was judged on; it travels in the model's config.json.

    name: of the data set trained on. fingerprints, catalogues: of the two, `Dataset.fingerprint` and
    `Dataset.text_fingerprint`. item_ids: hash of the ids of the items trained on, in order.
    """

    name: str
    fingerprints: tuple[str, str]
    catalogues: tuple[str, str]
    item_ids: str

    @classmethod
    def of(cls, dataset: Dataset, judged_on: Dataset | None = None) -> Self:
        """The origin of a model.

        Args:
            dataset: what it is trained on.
            judged_on: what it is judged on (default: the same).
        """
        both = dataset, judged_on or dataset
        return cls(
            name=dataset.name,
            fingerprints=(both[0].fingerprint, both[1].fingerprint),
            catalogues=(both[0].text_fingerprint, both[1].text_fingerprint),
            item_ids=_hash(dataset.catalogue["item_id"]),
        )

    def difference(self, dataset: Dataset) -> str | None:
        """How a data set differs from those that the model was trained and judged on, in one line; None if not."""
        if dataset.fingerprint in self.fingerprints:
            return None
        what = "interactions, or their split," if dataset.text_fingerprint in self.catalogues else "items"
        return (
            f"the {what} of {dataset.name} (fingerprint {dataset.fingerprint}) are not those that the model was "
            f"trained on ({self.name}, fingerprint {self.fingerprints[0]})"
        )

    def require_items(self, items: Catalogue) -> None:
        """Raise ValueError unless the items are those trained on, in the same order."""
        if _hash(items.catalogue["item_id"]) != self.item_ids:
            raise ValueError(
                f"{items.name} are not the items of {self.name} that this model was trained on: it knows items by "
                "their ids, and no others; it does not transfer"
            )


def _hash(item_ids: pd.Series) -> str:
    hashes = pd.util.hash_array(item_ids.to_numpy(dtype=object))
    return hashlib.sha256(hashes.tobytes()).hexdigest()[:16]
