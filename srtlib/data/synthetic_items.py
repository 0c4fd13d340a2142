"""The items of a synthetic world: their attributes and titles, how popular they are, and what leads to what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RULES = {"complement": 0.3, "accessory": 0.15, "type": 0.1, "brand": 0.2, "material": 0.1, "popularity": 0.15}
TYPES_PER_CATEGORY = 6
CATEGORIES_PER_BRAND = 3
ITEMS_PER_MODEL_WORD = 10

STYLES = "classic modern rustic sporty vintage minimal luxury playful".split()
MATERIALS = "steel wooden cotton glass ceramic leather bamboo silicone".split()
COLOURS = "black white red blue green yellow silver pink".split()
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


class Catalogue(NamedTuple):
    """The attributes of the items of one domain, arrays of shape [n_items]; -1 stands for a colour not given."""

    category: Ints
    type: Ints
    brand: Ints
    style: Ints
    material: Ints
    colour: Ints
    model: Ints
    in_title: npt.NDArray[np.bool_]  # whether the title names the category


class Rule(NamedTuple):
    """A partition of the catalogue into groups, and where each reference item leads.

    `order` lists the items group by group; group g is `order[first[g]:first[g + 1]]` and its cumulated popularity
    runs over `cumulated[first[g]:first[g + 1] + 1]`.
    """

    weight: float
    group: Ints  # [n_items], the group that an item belongs to
    destination: Ints  # [n_items], the group that a reference item leads to
    within: Floats  # [n_items], the probability of an item in its group
    order: Ints  # [n_items]
    first: Ints  # [n_groups + 1]
    cumulated: Floats  # [n_items + 1]


@dataclass(frozen=True)
class SyntheticItems:
    """A catalogue in which the words of a title tell how popular an item is and which items follow it.

    Catalogues with equal `seed`, `n_categories` and `n_brands` share their words and tastes. Domains "a" and "b" of
    such a pair have half of their categories in common and not one item, title or model word.

    Args:
        n_items: of the catalogue, 10 or more.
        n_categories: that the items belong to.
        n_brands: that the items are of.
        seed: of all that is drawn.
        domain: a or b.

    Raises ValueError for a number that is too small and for an unknown domain.

    >>> SyntheticItems(n_items=200, n_categories=4, n_brands=10).items.columns.tolist()
    ['item_id', 'title', 'brand', 'categories']
    """

    n_items: int = 5_000
    n_categories: int = 24
    n_brands: int = 200
    seed: int = 0
    domain: str = "a"

    def __post_init__(self) -> None:
        for name, least in (("n_items", 10), ("n_categories", 1), ("n_brands", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.domain not in ("a", "b"):
            raise ValueError(f"domain must be 'a' or 'b', got {self.domain!r}")

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row per item, in index order: item_id, title, brand, categories.

        A title has 5 to 8 words, plus a mark ("mk2") where all of them would coincide with another item's.
        """
        category_words, type_words, brand_words, model_words = self._lexicon
        c = self.catalogue
        brand, kind, category = brand_words[c.brand], type_words[c.type], category_words[c.category]
        style, material = _words(STYLES)[c.style], _words(MATERIALS)[c.material]
        colour = np.where(c.colour < 0, "", _words(COLOURS)[c.colour] + " ")
        use = np.where(c.in_title, "for " + category + " ", "")
        title = pd.Series(brand + " " + style + " " + colour + material + " " + kind + " " + use + model_words[c.model])
        copy = title.groupby(title).cumcount()
        return pd.DataFrame(
            {
                "item_id": [f"{self.domain}-i{index:07d}" for index in range(self.n_items)],
                "title": title.where(copy == 0, title + " mk" + (copy + 1).astype(str)),
                "brand": brand,
                "categories": category + " > " + kind,
            }
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The attributes behind the titles."""
        rng = self._rng("items " + self.domain)
        n, n_all = self.n_items, self._n_all_categories
        per_category = min(self.n_brands, max(2, CATEGORIES_PER_BRAND * self.n_brands // n_all))
        brand_rng = self._rng("brands")
        brands = np.stack([brand_rng.permutation(self.n_brands)[:per_category] for _ in range(n_all)])
        own_categories = np.arange(self.n_categories) + (n_all - self.n_categories) * (self.domain == "b")
        category = rng.choice(own_categories, n)
        return Catalogue(
            category=category,
            type=category * TYPES_PER_CATEGORY + rng.integers(TYPES_PER_CATEGORY, size=n),
            brand=brands[category, rng.integers(per_category, size=n)],
            style=rng.integers(len(STYLES), size=n),
            material=rng.integers(len(MATERIALS), size=n),
            colour=np.where(rng.random(n) < 0.5, rng.integers(len(COLOURS), size=n), -1),
            model=rng.integers(self._n_models, size=n),
            in_title=rng.random(n) < 0.5,
        )

    @cached_property
    def popularity(self) -> Floats:
        """Probability of each item as a user's first, shape [n_items]: Zipf-Mandelbrot in the rank of its appeal.

        The appeal is a sum of effects of the title's words: those of the model words are the domain's own, the others
        are shared by both domains.
        """
        c, rng = self.catalogue, self._rng("appeal")
        appeal = 0.7 * rng.standard_normal(self.n_brands)[c.brand]
        appeal += 0.3 * rng.standard_normal(len(MATERIALS))[c.material]
        appeal += 0.5 * rng.standard_normal(len(COLOURS) + 1)[c.colour]
        appeal += self._rng("models " + self.domain).standard_normal(self._n_models)[c.model]
        rank = np.argsort(np.argsort(-appeal, kind="stable"), kind="stable")
        weight = 1 / (rank + 1 + self.n_items / 200)
        return weight / weight.sum()

    def vectors(self, width: int = 32) -> npt.NDArray[np.float32]:
        """What a sentence encoder would say of the items, float32 [n_items, width], each of length 1: the sum of a
        random vector for each of category, type, brand, style and material. Both domains of a pair share them; colours
        and model words are beyond it.

        Args:
            width: of the vectors.
        """
        sizes = {
            "category": self._n_all_categories,
            "type": self._n_all_types,
            "brand": self.n_brands,
            "style": len(STYLES),
            "material": len(MATERIALS),
        }
        total = np.zeros((self.n_items, width))
        for name, n in sizes.items():
            total += self._rng("vectors of " + name).standard_normal((n, width))[getattr(self.catalogue, name)]
        return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)

    @property
    def _n_all_categories(self) -> int:
        return self.n_categories + (self.n_categories + 1) // 2

    @property
    def _n_all_types(self) -> int:
        return self._n_all_categories * TYPES_PER_CATEGORY

    @property
    def _n_models(self) -> int:
        return -(-self.n_items // ITEMS_PER_MODEL_WORD)

    @cached_property
    def _lexicon(self) -> tuple[npt.NDArray[np.object_], ...]:
        """Words of all categories, types and brands (shared), and of the domain's models (its own), all distinct."""
        numbers = self._rng("words").permutation(len(SYLLABLES) ** 3)
        sizes = [self._n_all_categories, self._n_all_types, self.n_brands]
        models = numbers[sum(sizes) + (self.domain == "b") :: 2][: self._n_models]
        if len(models) < self._n_models:
            raise ValueError(
                f"n_items={self.n_items}, n_categories={self.n_categories} and n_brands={self.n_brands} "
                f"need more than the {len(numbers)} words that there are"
            )
        return tuple(_spell(part) for part in (*np.split(numbers, np.cumsum(sizes))[:3], models))

    def _rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that what the domains share does not depend on their sizes."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules by which a reference item leads to the next, in the order of `RULES`."""
        c = self.catalogue
        cell = c.type * len(STYLES) + c.style
        groups = {
            "complement": cell,
            "accessory": cell,
            "type": c.type,
            "brand": c.brand * self._n_all_categories + c.category,
            "material": c.material * self._n_all_categories + c.category,
            "popularity": np.zeros(self.n_items, dtype=np.int64),
        }
        destinations = groups | {
            "complement": self._favourite("complement", self._n_all_categories)[c.category, c.style],
            "accessory": self._favourite("accessory", self._n_all_types)[c.type, c.style],
        }
        return tuple(_rule(weight, groups[name], destinations[name], self.popularity) for name, weight in RULES.items())

    def _favourite(self, rule: str, n_sources: int) -> Ints:
        """The cell (type, style) that each (source, style) leads to, shape [n_sources, n_styles].

        It has the same style, and the best liked type of those that the domain has in that style.
        """
        c, styles = self.catalogue, np.arange(len(STYLES))
        on_offer = np.zeros((len(STYLES), self._n_all_types), dtype=bool)
        on_offer[c.style, c.type] = True
        liking = self._rng(rule).random((n_sources, len(STYLES), self._n_all_types))
        return np.where(on_offer, liking, -1).argmax(axis=2) * len(STYLES) + styles


def _words(words: list[str]) -> npt.NDArray[np.object_]:
    return np.array(words, dtype=object)


def _spell(numbers: Ints) -> npt.NDArray[np.object_]:
    """Numbers below len(SYLLABLES) ** 3 as words of three syllables."""
    syllables, base = _words(SYLLABLES), len(SYLLABLES)
    return syllables[numbers // base**2] + syllables[numbers // base % base] + syllables[numbers % base]


def _rule(weight: float, group: Ints, destination: Ints, popularity: Floats) -> Rule:
    names, number = np.unique(group, return_inverse=True)
    mass = np.bincount(number, popularity)
    order = np.argsort(number, kind="stable")
    return Rule(
        weight=weight,
        group=number,
        destination=np.searchsorted(names, destination),
        within=popularity / mass[number],
        order=order,
        first=np.concatenate([[0], np.bincount(number).cumsum()]),
        cumulated=np.concatenate([[0.0], popularity[order].cumsum()]),
    )
