"""The option --column, which says what the titles of a source system's files mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click
from hutong_texts import list_words, tr

from hutong_client.tables.columns.vocabulary import ALIASES, IGNORED, RESULTS, Vocabulary


class ColumnOf(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for TITLE=COLUMN."""

    name = "column"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; fail with a usage error if it names no column."""
        title, _, column = str(value).rpartition("=")
        if not title.strip() or column not in {*ALIASES, IGNORED}:
            self.fail(
                tr(
                    "write TITLE=COLUMN, or TITLE=- to leave the column out; columns: {columns}",
                    columns=list_words(ALIASES),
                ),
                param,
                ctx,
            )
        return f"{title.strip()}={column}"


column_option = click.option(
    "--column",
    "columns",
    type=ColumnOf(),
    multiple=True,
    metavar="TITLE=COLUMN",
    help="What a title of the file means, as 单号=report_no; TITLE=- leaves it out; repeatable. Not for NDJSON.",
)


def parse_columns(given: Sequence[str]) -> Vocabulary:
    """Return the columns of a laboratory's file, with the meanings of titles that are given as "TITLE=COLUMN"."""
    pairs = (text.rpartition("=") for text in given)
    return replace(RESULTS, renamed={title: column for title, _, column in pairs}) if given else RESULTS


def format_columns(vocabulary: Vocabulary) -> list[str]:
    """Return the texts "TITLE=COLUMN" that `parse_columns` has read, sorted."""
    return sorted(f"{title}={column}" for title, column in vocabulary.renamed.items())
