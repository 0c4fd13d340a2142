"""The data pipeline as Ibis expressions: the same on DuckDB and on Spark.

Metadata lines become items, ratings become users with their counts, users are sampled by a hash, and the sample's
ratings become a data set. Nothing here reads or writes a file. Source: the authors' released pipeline, step by step.
"""

from __future__ import annotations

import ast
import html
import json
from collections.abc import Callable, Mapping

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pandas as pd
from ibis import _
from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.columns import FILE_ORDER

MIN_RATINGS = 5  # of a user who is kept
CATEGORIES, CATEGORY_LENGTH = 3, 40  # how many categories are kept, of those shorter than this [characters]
ITEM = {"asin": "string", "title": "string", "brand": "string", "category": "array<string>"}
ITEM_2023 = {"parent_asin": "string", "title": "string", "store": "string", "categories": "array<string>"}
RATING = ("item_id", "user_id", "rating", "timestamp")  # the columns of the ratings file, which has no header
REVIEW = dict.fromkeys(("reviewerID", "asin", "overall", "unixReviewTime"), "string")
REVIEW_2023 = dict.fromkeys(  # the time, in milliseconds, has had three names
    ("user_id", "parent_asin", "rating", "timestamp", "sort_timestamp", "sortTimestamp"), "string"
)
HEAD_2023 = "user_id,parent_asin,rating,timestamp"  # of the ratings without text; older files have none
HEADS_2023 = (HEAD_2023, f"{HEAD_2023},history")  # of the official splits; the history is what the user rated before
ASIN = r"['\"]asin['\"]\s*:\s*['\"]([^'\"]*)"
PAGE_SCRIPT = "getTime"  # a title that says so is the JavaScript of a page
TIE = 15  # hexadecimal digits of the hash that breaks ties: 60 bits, the most that fit a signed number


def from_json(line: StringValue, structure: str, fields: Mapping[str, str]) -> StructValue:
    """Both engines have it under this name, with a structure in their own words.

    Args:
        line: a JSON object in each row.
        structure: what the engine calls the fields and their types.
        fields: field -> type, as Ibis calls it.
    """

    @ibis.udf.scalar.builtin(name="from_json", signature=(("string", "string"), dt.Struct(fields)))
    def parse(line, structure):  # type: ignore[no-untyped-def]
        """The engine's."""

    return parse(line, structure)


# ---- items ----------------------------------------------------------------------------------------------------------


def parsed_items(lines: Table, fields: StructValue) -> Table:
    """A row per line of metadata: number, item_id, title, brand, categories, `usable`, and a bad line's beginning.

    A line is bad where it is no JSON object with an id; it is not usable where its title is blank or a page's
    JavaScript. HTML entities are resolved, white space is made single blanks. Of a list of categories the first three
    shorter than 40 characters are kept, joined by " > ".

    Args:
        lines: number, line.
        fields: id, title, brand and categories of each line, in this order (see `Engine.fields`, `ITEM`).
    """
    asin, title, brand, category = fields.type().names
    found = lines.select("number", "line", item=fields).mutate(
        item_id=_.item[asin],
        raw=_.item[title].fill_null(""),
        brand=clean(_.item[brand].fill_null("")),
        categories=clean(
            _.item[category].filter(lambda name: name.length() < CATEGORY_LENGTH)[:CATEGORIES].join(" > ").fill_null("")
        ),
    )
    bad = found.item_id.isnull() | (found.item_id.strip() == "")
    return found.select(
        "number",
        "item_id",
        title=clean(found.raw),
        brand=found.brand,
        categories=found.categories,
        usable=~bad & (found.raw.strip() != "") & ~found.raw.contains(PAGE_SCRIPT),
        bad=ibis.ifelse(bad, found.line[:200], None),
    )


def clean(text: StringValue) -> StringValue:
    """HTML entities resolved, white space made single blanks.

    >>> connection = ibis.duckdb.connect()
    >>> titles = ibis.memtable({"title": ["Pen &amp;  ink", "Desk"]})
    >>> connection.execute(titles.select(title=clean(titles.title)))["title"].tolist()
    ['Pen & ink', 'Desk']
    >>> connection.disconnect()
    """
    resolved = ibis.ifelse(text.contains("&"), _unescape(text), text)
    return resolved.re_replace(r"\s+", " ").strip()


@ibis.udf.scalar.python
def _unescape(text: str) -> str:
    return html.unescape(text)


def last_of_each(parsed: Table) -> Table:
    """item_id, title, brand, categories; of several rows of an item the last wins."""
    last = parsed.group_by("item_id").agg(number=_.number.max()).select("number")
    return parsed.semi_join(last, "number").select("item_id", "title", "brand", "categories")


def literal_lines(lines: Table, interactions: Table) -> Table:
    """The lines of the 2014 metadata, Python literals, that the interactions' items need; as JSON of 2018's form.

    Args:
        lines: number, line.
        interactions: item_id and anything else.
    """
    needed = lines.mutate(item_id=_.line.re_extract(ASIN, 1)).semi_join(interactions, "item_id")
    return needed.select("number", line=_json_of_literal(needed.line))


@ibis.udf.scalar.python
def _json_of_literal(line: str) -> str:
    """Only Python reads Python literals. Of several category paths the first is kept; a line that is none stays."""
    try:
        item = ast.literal_eval(line)
        return json.dumps({**item, "category": next(iter(item.get("categories", [])), [])})
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        return line


def reviews(lines: Table, fields: StructValue) -> Table:
    """item_id, user_id, rating, timestamp of lines of reviews, `usable`, and a bad line's beginning.

    Args:
        lines: number, line.
        fields: user, item, rating and the names that the time has had, in this order (see `Engine.fields`, `REVIEW`).
    """
    user, item, rating, *times = fields.type().names
    found = lines.select("line", review=fields).select(
        "line",
        item_id=_.review[item],
        user_id=_.review[user],
        rating=_.review[rating],
        timestamp=ibis.coalesce(*(_.review[time] for time in times)),
    )
    return _or_bad(found)


def rating_lines(lines: Table, heads: tuple[str, ...] = (HEAD_2023,)) -> Table:
    """What `reviews` returns, of 2023's lines of user, item, rating and timestamp, with or without a head line.

    Args:
        lines: number, line.
        heads: the head lines that there may be; a row has as many fields as one of them.
    """
    found = lines.filter(lines.line.notin(heads)).select("line", row=_.line.split(","))
    whole = found.row.length().isin([len(head.split(",")) for head in heads])
    return _or_bad(
        found.select(
            "line",
            item_id=ibis.ifelse(whole, found.row[1], None),
            user_id=found.row[0],
            rating=found.row[2],
            timestamp=found.row[3],
        )
    )


def _or_bad(text: Table) -> Table:
    """Ratings of lines, or the beginning of each line that holds none."""
    found = checked_ratings(text.mutate(item_id=text.item_id.nullif(""), user_id=text.user_id.nullif("")))
    usable = found.user_id.notnull()
    return found.mutate(usable=usable, bad=ibis.ifelse(usable, None, found.line[:200])).drop("line")


def items_for(interactions: Table, parsed: Table) -> Table:
    """The items of the interactions with what is known of them; none is lost, a title may be empty.

    Args:
        interactions: item_id and anything else.
        parsed: what `parsed_items` found.

    Returns:
        item_id, title, brand, categories, by item_id.
    """
    ids = interactions.select("item_id").distinct()
    known = last_of_each(parsed.filter(parsed.item_id.notnull()))
    found = ids.left_join(known, "item_id").select("item_id", "title", "brand", "categories")
    return found.fill_null("").order_by("item_id")


# ---- ratings --------------------------------------------------------------------------------------------------------


def checked_ratings(text: Table) -> Table:
    """Ratings read as text with numbers made of numbers; user_id is null where a row is not usable.

    Columns beside those of `RATING` stay.
    """
    rating = text.rating.try_cast("float64")
    timestamp = text.timestamp.try_cast("float64").try_cast("int64")  # null, too, for what is not finite
    whole = text.item_id.notnull() & rating.notnull() & timestamp.notnull()
    return text.mutate(
        user_id=ibis.ifelse(whole, text.user_id, None),
        rating=rating.cast("float32"),
        timestamp=timestamp,
    )


def first_of_each(ratings: Table) -> Table:
    """Of several ratings of an item by a user the earliest, and of those at one time the lowest.

    Args:
        ratings: user_id, item_id, timestamp, rating and anything else, which is left out.
    """
    place = ibis.row_number().over(group_by=("user_id", "item_id"), order_by=("timestamp", "rating"))
    first = ratings.mutate(place=place).filter(_.place == 0)
    return first.select("user_id", "item_id", "timestamp", "rating")


def often_enough(ratings: Table) -> Table:
    """The ratings whose user and whose item have at least `MIN_RATINGS` of them: a step towards the 5-core."""
    kept = ratings
    for column in ("user_id", "item_id"):
        often = ratings.group_by(column).agg(n=_.count()).filter(_.n >= MIN_RATINGS)
        kept = kept.semi_join(often, column)
    return kept


def users(ratings: Table, items: Table) -> Table:
    """user_id, ratings, known: each user's ratings, and how many of them name a known item.

    The row without a user_id counts the rows that are not usable.

    Args:
        ratings: what `checked_ratings` or `reviews` found.
        items: item_id of the known items.
    """
    catalogue = items.select(known="item_id")
    joined = ratings.left_join(catalogue, ratings.item_id == catalogue.known)
    return joined.group_by("user_id").agg(ratings=_.count(), known=_.known.count())


def funnel(users: Table, reviewers: Table | None) -> Table:
    """One row of counts: what each step keeps and drops, in ratings and in users.

    Args:
        users: what `users` found.
        reviewers: user_id of everybody in a transfer set, whom pre-training must not see; None where there is no such
            set.
    """
    real = users.filter(_.user_id.notnull())
    warm = real.filter(_.known >= MIN_RATINGS)
    held_out = warm.limit(0) if reviewers is None else warm.semi_join(reviewers, "user_id")
    every = real.agg(
        ratings_usable=_.ratings.sum(),
        ratings_without_metadata=(_.ratings - _.known).sum(),
        users=(_.known > 0).sum(),
        users_with_5_ratings=(_.known >= MIN_RATINGS).sum(),
        ratings_of_cold_users=ibis.ifelse(_.known < MIN_RATINGS, _.known, 0).sum(),
        ratings_of_warm_users=ibis.ifelse(_.known >= MIN_RATINGS, _.known, 0).sum(),
    )
    unusable = users.filter(_.user_id.isnull()).agg(ratings_unusable=_.ratings.sum())
    out = held_out.agg(users_in_transfer_sets=_.count(), ratings_of_transfer_users=_.known.sum().fill_null(0))
    joined = every.cross_join(unusable).cross_join(out)
    return joined.mutate(
        ratings_kept=_.ratings_of_warm_users - _.ratings_of_transfer_users,
        users_kept=_.users_with_5_ratings - _.users_in_transfer_sets,
    ).drop("ratings_of_warm_users")


def pool(users: Table, reviewers: Table | None) -> Table:
    """user_id, n: the users who may be sampled, and how many interactions each has.

    Args:
        users: what `users` found.
        reviewers: user_id of those to leave out; None for nobody.
    """
    kept = users.filter(_.user_id.notnull() & (_.known >= MIN_RATINGS))
    if reviewers is not None:
        kept = kept.anti_join(reviewers, "user_id")
    return kept.select("user_id", n=_.known)


# ---- samples --------------------------------------------------------------------------------------------------------


def shuffled(pool: Table, seed: int) -> Table:
    """The pool with `key`, the MD5 of "seed:user": its order is that of `Dataset.sample_users`, on any engine.

    Args:
        pool: what `pool` found.
        seed: of the draw.
    """
    return pool.mutate(key=(ibis.literal(f"{seed}:") + pool.user_id).hexdigest("md5"))


def bucket_sizes(shuffled: Table) -> Table:
    """bucket, n: interactions per first three digits of the key."""
    return shuffled.group_by(bucket=_.key[:3]).agg(n=_.n.sum())


def sampled_users(shuffled: Table, buckets: pd.DataFrame, n_interactions: int) -> Table:
    """Users in the order of their keys until `n_interactions` are reached; the first user is always there.

    Args:
        shuffled: what `shuffled` found.
        buckets: what `bucket_sizes` found, so that only the users that may be needed are put into order.
        n_interactions: of the sample, at most.

    Returns:
        user_id, n, reached, place. `reached` cumulates interactions, so that a smaller sample is the rows with a
        smaller `reached`; `place` numbers the users by user_id.
    """
    buckets = buckets.sort_values("bucket")
    enough = int(np.searchsorted(buckets["n"].cumsum(), n_interactions))
    near = shuffled.filter(_.key[:3] <= str(buckets["bucket"].iloc[min(enough, len(buckets) - 1)]))
    reached = near.n.sum().over(ibis.cumulative_window(order_by=near.key))
    found = near.mutate(reached=reached.cast("int64"))
    chosen = found.filter((_.reached <= n_interactions) | (_.reached == _.n))
    return chosen.select("user_id", "n", "reached", place=ibis.row_number().over(order_by=chosen.user_id).cast("int32"))


def sampled_ratings(ratings: Table, items: Table, sample: Table) -> Table:
    """user_id, item_id, timestamp, rating, place: the ratings of the sample's users for known items.

    Args:
        ratings: what `checked_ratings` found.
        items: item_id of the known items.
        sample: what `sampled_users` found.
    """
    chosen = ratings.inner_join(sample.select("user_id", "place"), "user_id").semi_join(items, "item_id")
    return chosen.select("user_id", "item_id", "timestamp", "rating", "place")


def in_order(ratings: Table, seed: int, number: Callable[[StringValue], IntegerValue], user: str = "user_id") -> Table:
    """Ratings sorted by user and time, ties broken by file_order, if there is one, and by a seeded hash of the row.

    Never by item: many ratings have the day for a time, and the order of ASINs would leak.

    Args:
        ratings: user_id, item_id, timestamp, rating, perhaps file_order, and anything else, which is left out.
        seed: of the hash.
        number: the engine's (see `Engine.number`).
        user: the column to sort by; `place`, a number in the order of user_id, sorts faster.
    """
    row = ratings.user_id + "\t" + ratings.item_id + "\t" + ratings.timestamp.cast("string")
    tie = (ibis.literal(f"{seed}:") + row).hexdigest("md5")[:TIE]
    places = [name for name in (FILE_ORDER,) if name in ratings.columns]
    ordered = ratings.mutate(tie=number(tie)).order_by(user, "timestamp", *places, "tie", "rating")
    return ordered.select("user_id", "item_id", "timestamp", "rating", *places)


def items_of(items: Table, interactions: Table) -> Table:
    """The items that occur in the interactions, by item_id.

    Args:
        items: item_id and anything else.
        interactions: item_id and anything else.
    """
    return items.semi_join(interactions, "item_id").order_by("item_id")


# ---- distributions --------------------------------------------------------------------------------------------------


def distribution(interactions: Table, column: str) -> Table:
    """value, count: how many users, or items, have how many interactions, by their number.

    Args:
        interactions: a row each.
        column: user_id or item_id.
    """
    per_one = interactions.group_by(column).agg(value=_.count())
    return per_one.group_by("value").agg(count=_.count()).order_by("value")
