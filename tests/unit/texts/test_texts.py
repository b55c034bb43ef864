"""Texts that know their template, their Chinese, and the choice of a language."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hutong_texts import CHINESE, ENGLISH, Text, english, join, list_words, speaking, tr, translate
from hutong_texts.language import accepted_language, choose_language, find_language


def test_text_is_its_english_and_keeps_template_and_values() -> None:
    """A text is used as any string. It can be translated later, also after it was sent to another process."""
    made = pickle.loads(pickle.dumps(english("{name} is not known here", name="labs/1")))
    assert made == "labs/1 is not known here"
    assert (made.template, made.values) == ("{name} is not known here", {"name": "labs/1"})
    assert translate(made, ENGLISH) == made
    assert translate(made, CHINESE) == "本地没有 labs/1"


def test_the_name_of_a_file_adds_no_line() -> None:
    """A folder can hold files of strangers, whose names could look like messages of the command."""
    path = Path("day\n\tdone\x1b[2J\x9b.csv")
    assert english("{path} is gone", path=path) == "day\\u000a\\u0009done\\u001b[2J\\u009b.csv is gone"
    assert translate(english("{path}: {fault}", path=path, fault="a\nb"), CHINESE).count("\n") == 1


def test_text_without_values_keeps_its_braces() -> None:
    """A form such as labs/{uscc} is no placeholder in a text without values."""
    assert (
        english("must name the revision to withdraw: …@{revision}")
        == "must name the revision to withdraw: …@{revision}"
    )


def test_values_that_are_texts_are_translated_too() -> None:
    """A list of faults, and a fault within a text, are in one language."""
    faults = join([english("must not be negative"), english("{field}: {description}", field="a", description="b")])
    assert faults == "must not be negative; a: b"
    assert translate(faults, CHINESE) == "不得为负数；a：b"
    assert join([]) == ""


def test_unknown_text_stays_in_english() -> None:
    """A text of a service of another version is shown as it came."""
    assert translate("no such text, ever", CHINESE) == "no such text, ever"
    assert translate(Text("no such {thing}", {"thing": 1}), CHINESE) == "no such 1"


def test_process_speaks_one_language_for_a_while() -> None:
    """Texts made in the block are in its language; afterwards, and in the environment, all is as before."""
    before = dict(os.environ)
    with speaking(CHINESE):
        assert tr("{hours} h", hours=48) == "48小时"
        assert os.environ["LANGUAGE"] == CHINESE
    assert tr("{hours} h", hours=48) == "48 h"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, ENGLISH),
        ({"LC_MESSAGES": "en_US.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, CHINESE),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en"}, ENGLISH),
        ({"LANG": "fr_FR.UTF-8", "LANGUAGE": "de:zh"}, CHINESE),
        ({"LC_ALL": "C", "LANGUAGE": "zh_CN"}, ENGLISH),
        ({"LANG": "POSIX", "LANGUAGE": "zh_CN"}, ENGLISH),
        ({"LANG": "C.UTF-8", "LANGUAGE": "zh_CN"}, CHINESE),
        ({"LANG": "fr_FR.UTF-8"}, ENGLISH),
    ],
)
def test_language_comes_from_the_environment_as_with_gettext(environment: Mapping[str, str], language: str) -> None:
    """LANGUAGE goes before LC_ALL, LC_MESSAGES and LANG, except in the locales C and POSIX."""
    assert find_language(environment) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN", CHINESE),
        ("zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        ("en-GB,en;q=0.9,zh;q=0.5", ENGLISH),
        ("en;q=0.5, zh-Hans;q=0.7", CHINESE),
        ("fr, zh;q=0.1", CHINESE),
        ("zh;q=0", ENGLISH),
        ("zh;q=nonsense", ENGLISH),
        ("*", ENGLISH),
        (",;,", ENGLISH),
        ("x" * 100_000, ENGLISH),
    ],
)
def test_accepted_language_is_the_one_of_most_weight(header: str, language: str) -> None:
    """The header of RFC 9110, and anything else that a caller may send."""
    assert accepted_language(header) == language


def test_a_list_has_the_stops_of_its_language() -> None:
    """In Chinese words of a list are separated by the mark for it."""
    assert list_words(["a", "b"]) == "a, b"
    with speaking(CHINESE):
        assert list_words(["甲", "乙"]) == "甲、乙"
        assert list_words([]) == ""


@pytest.mark.parametrize(
    ("arguments", "language"),
    [
        (["--lang", "zh"], CHINESE),
        (["lab", "list", "--lang=zh_CN"], CHINESE),
        (["--lang", "zh-CN"], CHINESE),
        (["--lang", "zh_CN.UTF-8"], CHINESE),
        (["--lang", "en_GB.UTF-8"], ENGLISH),
        (["--lang", "fr"], CHINESE),
        (["--lang"], CHINESE),
        (["--language", "en"], CHINESE),
        ([], CHINESE),
    ],
)
def test_language_of_the_option_goes_before_the_environment(arguments: list[str], language: str) -> None:
    """The option takes names of locales. One that is not known is left to the parser, which refuses it."""
    assert choose_language(arguments, {"LANG": "zh_CN.UTF-8"}) == language
