"""Argument types for enums of the contract: words in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import click
from hutong.type.v1 import identity_pb2
from hutong_texts import CHINESE, ENGLISH, current_language, tr
from hutong_texts.catalogue import translate_word

from hutong_client.formatting import Enum
from hutong_client.tables.values import find_document_type
from hutong_client.tables.words import load, plain


class Word(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for an enum of the contract.

    A word is the name of a value without the enum's prefix, as "public-venue". The full name, as
    "PURPOSE_PUBLIC_VENUE", and its Chinese, as 公共场所, are accepted too.
    """

    name = "word"

    def __init__(self, enum: Enum, prefix: str) -> None:
        self._values = {
            name.removeprefix(prefix).lower().replace("_", "-"): number for name, number in enum.items() if number
        }
        self._names = {name: number for name, number in enum.items() if number}
        self._prefix = prefix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the enum's number. The error never repeats the word, which could be a misplaced document number."""
        if isinstance(value, int):
            return value
        word = (
            str(value).upper().replace("-", "_").replace(" ", "_").removeprefix(self._prefix).lower().replace("_", "-")
        )
        if word in self._values:
            return int(self._values[word])
        meant = {number for name, number in self._names.items() if plain(str(value)) in chinese_words(name)}
        if len(meant) != 1:
            self.fail(tr("not a known word; one of {words}", words=self), param, ctx)
        return int(meant.pop())

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        """Return the enum's words for the help if there are at most six, otherwise "WORD"."""
        return "[" + "|".join(self.words) + "]" if len(self._values) <= 6 else tr("WORD")

    @property
    def words(self) -> Iterable[str]:
        """The words of all values of the enum, in the language of the process."""
        if current_language() == ENGLISH:
            return self._values
        return [translate_word(name, CHINESE) or name for name in self._names]

    def __format__(self, _spec: str) -> str:
        """Return the words as a help text or an error lists them."""
        return (", " if current_language() == ENGLISH else "、").join(self.words)


class DocumentTypeWord(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for a kind of document, as "resident-id-card", "passport" or 居民身份证."""

    name = "word"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the enum's number."""
        kind = value if isinstance(value, int) else find_document_type(str(value).replace("-", "_"))
        if kind is None:
            self.fail(tr("not a known kind of document; one of {words}", words=self), param, ctx)
        return int(kind)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        """Return what stands for a kind in the help."""
        return tr("WORD")

    def __format__(self, _spec: str) -> str:
        """Return the words as a help text or an error lists them."""
        return format(Word(identity_pb2.DocumentType, "DOCUMENT_TYPE_"), "")


@cache
def chinese_words(name: str) -> frozenset[str]:
    """Return the Chinese words for an enum value: the one that is shown, and what else people call it."""
    shown = translate_word(name, CHINESE)
    return frozenset(plain(word) for word in (*_other_words().get(name, ()), *([shown] if shown else [])))


@cache
def _other_words() -> dict[str, list[str]]:
    outcomes = {f"OUTCOME_{name}": words for name, words in load("words.toml")["outcomes"].items()}
    return outcomes | load("words.toml", __package__)
