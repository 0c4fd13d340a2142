"""The steps of a preparation: raw files -> items, transfer sets, users, samples of users, vocabulary.

Each step makes a folder aside, which appears whole or not at all, with a note of what it was made from (`origin.json`);
where a folder with the same origin is there, the step is finished already.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from srtlib.data.amazon.making import (
    COUNTS,
    ORIGIN,
    check_bad,
    checked,
    describe,
    fingerprint,
    first_row,
    is_made,
    make,
    stored,
    write_counts,
)
from srtlib.data.engines import expressions
from srtlib.data.engines.engine import Engine
from srtlib.data.loading import TABLES
from srtlib.data.statistics import read_counts, tidy, vocabulary
from srtlib.paths import home

RATINGS, METADATA = "all_csv_files.csv", "All_Amazon_Meta.json.gz"
TRANSFER = {  # data set -> its reviews and its metadata, both of 2014
    "beauty": ("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"),
    "sports": ("reviews_Sports_and_Outdoors_5.json.gz", "meta_Sports_and_Outdoors.json.gz"),
}
GROUP = 1 << 17  # rows of a Parquet row group


@dataclass(frozen=True)
class Preparation:
    """The raw files of one preparation, the folder it works in, and its steps (see `amazon.prepare`)."""

    name: str
    raw: Path
    sizes: Mapping[str, int]
    seed: int
    only_few: int | None

    @property
    def work(self) -> Path:
        """The folder of what is kept between steps."""
        return home() / self.name

    @property
    def scratch(self) -> Path:
        """The folder of what is not kept."""
        return self.work / ".scratch"

    @property
    def suffix(self) -> str:
        """What tells a trial's results from the whole's."""
        return f"-few{self.only_few}" if self.only_few else ""

    def data_set(self, part: str) -> Path:
        """The folder of a transfer set or of a sample."""
        return home() / f"{self.name}{self.suffix if part in self.sizes else ''}-{part}"

    # ---- the steps --------------------------------------------------------------------------------------------------

    def items(self, engine: Engine) -> None:
        """Metadata -> items: the last usable row of each asin."""
        source = _raw_file(self.raw, METADATA)

        def fill(aside: Path) -> None:
            lines = engine.lines(source)
            items = expressions.parsed_items(lines, engine.fields(lines.line, expressions.ITEM))
            parsed, found = checked(engine, items, METADATA, "JSON objects with an asin", aside)
            if not found["kept"]:
                raise ValueError(f"{METADATA}: no line has a usable title; expected JSON lines with asin and title")
            engine.write(expressions.last_of_each(parsed.filter(_.usable)), aside / "items.parquet")
            n_items = pq.read_metadata(aside / "items.parquet").num_rows
            counts = {
                "metadata_lines": found["lines"],
                "metadata_not_json": found["bad"],
                "metadata_without_title": found["lines"] - found["bad"] - found["kept"],
                "metadata_kept": found["kept"],
                "metadata_repeated": found["kept"] - n_items,
                "items": n_items,
            }
            write_counts(aside, tidy(counts))

        make(self.work / "items", self._origin([METADATA]), fill)

    def transfer(self, engine: Engine) -> None:
        """Reviews and metadata of 2014 -> the transfer sets; and all who reviewed, to be left out of the samples."""
        reviews = {domain: files[0] for domain, files in TRANSFER.items() if (self.raw / files[0]).is_file()}
        absent = [file for files in TRANSFER.values() for file in files if not (self.raw / file).is_file()]
        if absent:
            warnings.warn(
                f"no {', '.join(absent)} in {self.raw}: transfer sets without reviews and metadata are left out, and "
                f"users without reviews stay in the samples",
                stacklevel=2,
            )

        def fill(aside: Path) -> None:
            for domain, file in reviews.items():
                lines = engine.lines(self.raw / file)
                found = expressions.reviews(lines, engine.fields(lines.line, expressions.REVIEW))
                table, _counts = checked(engine, found, file, "JSON objects of a review", aside)
                ordered = expressions.in_order(table.filter(_.usable), self.seed, engine.number)
                engine.write(ordered, aside / f"{domain}.parquet")

        make(self.work / "transfer", self._origin(reviews.values(), seed=self.seed), fill)
        for domain, (_reviews, metadata) in TRANSFER.items():
            if domain in reviews and metadata not in absent:
                self._transfer_set(engine, domain, self.raw / metadata)

    def _transfer_set(self, engine: Engine, domain: str, metadata: Path) -> None:
        def fill(aside: Path) -> None:
            shutil.copyfile(self.work / "transfer" / f"{domain}.parquet", aside / "interactions.parquet")
            interactions = engine.parquet(aside / "interactions.parquet")
            lines = expressions.literal_lines(engine.lines(metadata), interactions)
            items = expressions.parsed_items(lines, engine.fields(lines.line, expressions.ITEM))
            parsed, _counts = checked(engine, items, metadata.name, "Python literals of an item with an asin", aside)
            engine.write(expressions.items_for(interactions, parsed), aside / "items.parquet")
            describe(engine, aside)

        make(self.data_set(domain), self._origin(TRANSFER[domain], seed=self.seed), fill, replace=False)

    def users(self, engine: Engine) -> None:
        """Ratings -> users with their counts, and what each step of the funnel drops."""
        source = _raw_file(self.raw, RATINGS)
        items, transfer = _made(self.work / "items", "items"), _made(self.work / "transfer", "transfer")

        def fill(aside: Path) -> None:
            ratings = expressions.checked_ratings(engine.ratings(_first_ratings(source, self.only_few, aside)))
            users = stored(engine, expressions.users(ratings, engine.parquet(items / "items.parquet")), aside)
            found = first_row(expressions.funnel(users, _reviewers(engine, transfer)))
            engine.write(users.filter(_.user_id.notnull()), aside / "users.parquet")
            rejected, examples = engine.rejected()
            unusable = rejected + found.pop("ratings_unusable")
            total = found.pop("ratings_usable") + unusable
            check_bad(RATINGS, "rows of item, user, rating, timestamp", unusable, total, examples)
            if not found["ratings_kept"]:
                raise ValueError(
                    f"{RATINGS}: none of {total:,} ratings is left ({found['ratings_without_metadata']:,} name an item "
                    f"without metadata); expected rows of item, user, rating, timestamp, and more of them"
                )
            write_counts(aside, tidy({"ratings": total, "ratings_unusable": unusable, **found}))

        before = {folder.name: (folder / ORIGIN).read_text(encoding="utf-8") for folder in (items, transfer)}
        make(self.work / f"users{self.suffix}", self._origin([RATINGS], before=before, only_few=self.only_few), fill)

    def samples(self, engine: Engine) -> None:
        """Users and ratings -> samples of users, each part of the next, each a data set."""
        users = _made(self.work / f"users{self.suffix}", "users")
        items = _made(self.work / "items", "items") / "items.parquet"
        before = (users / ORIGIN).read_text(encoding="utf-8")
        origins = {part: {"before": before, "seed": self.seed, "size": size} for part, size in self.sizes.items()}
        made = [is_made(self.data_set(part), origin, replace=False) for part, origin in origins.items()]
        if all(made):
            return
        rows = self.scratch / "largest.parquet"
        sample = self._sample(engine, users, items, rows)
        for part, size in sorted(self.sizes.items(), key=lambda pair: -pair[1]):
            chosen = (sample["reached"] <= max(size, sample["reached"].min())).to_numpy()
            fill = partial(_fill_sample, engine, rows, items, np.repeat(chosen, sample["n"]))
            make(self.data_set(part), origins[part], fill, replace=False)
            rows, items = (self.data_set(part) / f"{stem}.parquet" for stem in TABLES)  # what the next is part of
            sample = sample[chosen]

    def _sample(self, engine: Engine, users: Path, items: Path, path: Path) -> pd.DataFrame:
        """Write the largest sample's ratings, in order; returns n and reached of its users, in the same order."""
        reviewers = _reviewers(engine, _made(self.work / "transfer", "transfer"))
        kept = expressions.pool(engine.parquet(users / "users.parquet"), reviewers)
        shuffled = expressions.shuffled(kept, self.seed)
        buckets = expressions.bucket_sizes(shuffled).to_pandas()
        if (n_all := buckets["n"].sum()) < max(self.sizes.values()):
            short = ", ".join(part for part, size in self.sizes.items() if size > n_all)
            message = f"the ratings of users who may be sampled are {n_all:,}: {short} have all of them"
            warnings.warn(message, stacklevel=3)
        found = self.scratch / "sample.parquet"
        engine.write(expressions.sampled_users(shuffled, buckets, max(self.sizes.values())), found)
        few = users / RATINGS
        ratings = expressions.checked_ratings(engine.ratings(few if few.is_file() else _raw_file(self.raw, RATINGS)))
        chosen = expressions.sampled_ratings(ratings, engine.parquet(items), engine.parquet(found))
        engine.write(expressions.in_order(chosen, self.seed, engine.number, user="place"), path)
        return pd.read_parquet(found, columns=["place", "n", "reached"]).sort_values("place")

    def vocabulary(self, engine: Engine) -> None:
        """Titles and brands of each sample -> the size of their vocabulary, put among its counts."""
        for part in self.sizes:
            folder = _made(self.data_set(part), "samples")
            counts = read_counts(folder / COUNTS)
            if "vocabulary" not in set(counts["statistic"]):
                found = vocabulary(pd.read_parquet(folder / "items.parquet", columns=["title", "brand"]))
                write_counts(folder, pd.concat([counts, found]))

    # ---- what they share --------------------------------------------------------------------------------------------

    def counts(self) -> pd.DataFrame:
        """Every count there is: set, statistic, value."""
        folders = {"pipeline": [self.work / "items", self.work / f"users{self.suffix}"]}
        folders |= {self.data_set(part).name: [self.data_set(part)] for part in (*TRANSFER, *self.sizes)}
        tables = [
            read_counts(folder / COUNTS).assign(set=name)
            for name, parts in folders.items()
            for folder in parts
            if (folder / COUNTS).is_file()
        ]
        return pd.concat([pd.DataFrame(columns=["set", "statistic", "value"]), *tables], ignore_index=True)

    def _origin(self, files: Iterable[str], **more: Any) -> dict[str, Any]:
        return {"files": {file: fingerprint(self.raw / file) for file in files}, **more}


def _raw_file(folder: Path, file: str) -> Path:
    if not (folder / file).is_file():
        raise FileNotFoundError(f"{folder} has no {file}; download it with the step download, or name its folder")
    return folder / file


def _made(folder: Path, step: str) -> Path:
    """The folder, which that step has made."""
    if not (folder / ORIGIN).is_file():
        raise FileNotFoundError(f"{folder} is not there; run the step {step} first")
    return folder


def _first_ratings(source: Path, only_few: int | None, aside: Path) -> Path:
    """The ratings to read: all, or a file of the first few lines."""
    if only_few is None:
        return source
    with source.open("rb") as stream, (aside / RATINGS).open("wb") as few:
        few.writelines(islice(stream, only_few))
    return aside / RATINGS


def _reviewers(engine: Engine, transfer: Path) -> Any:
    """user_id of everybody in a transfer set, or None where there is no such set."""
    tables = [engine.parquet(path).select("user_id") for path in sorted(transfer.glob("*.parquet"))]
    if not tables:
        return None
    return tables[0].union(*tables[1:], distinct=True) if tables[1:] else tables[0].distinct()


def _fill_sample(engine: Engine, rows: Path, items: Path, chosen: npt.NDArray[np.bool_], aside: Path) -> None:
    """A data set of the chosen rows and their items."""
    _copy_rows(rows, aside / "interactions.parquet", chosen)
    interactions = engine.parquet(aside / "interactions.parquet")
    engine.write(expressions.items_of(engine.parquet(items), interactions), aside / "items.parquet")
    describe(engine, aside)


def _copy_rows(source: Path, target: Path, chosen: npt.NDArray[np.bool_]) -> None:
    """The chosen rows of a table, in its order."""
    if chosen.all():
        shutil.copyfile(source, target)
        return
    rows, start = pq.ParquetFile(source), 0
    with pq.ParquetWriter(target, rows.schema_arrow, compression="zstd") as writer:
        for batch in rows.iter_batches(GROUP):
            writer.write_batch(batch.filter(pa.array(chosen[start : start + batch.num_rows])))
            start += batch.num_rows
