"""The normal form of names. Two printed names are the same if their normal forms are equal; likeness never counts."""

from __future__ import annotations

import unicodedata

VERSION = 1
"""The version of the rule. Stores keep normal forms, so a change of the rule needs a migration that forms them anew."""
MAX_LENGTH = 200
"""Characters of a normal form. Longer forms are cut, so that databases can index them."""
_SAME = str.maketrans(dict.fromkeys("\u2010\u2012\u2013\u2014\u2015\u2212", "-") | dict.fromkeys("•‧∙⋅・", "·"))
"""Hyphens and middle dots that printers use for one another, apart from those that NFKC replaces already."""
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of spaces and characters without a shape of their own."""


def normal_form(name: str) -> str:
    """Return the normal form of a name; empty if the name has no visible character.

    Full-width letters and digits become ASCII ones, case and spaces do not matter, all hyphens are one and so are all
    middle dots.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_SAME)
    visible = "".join(it for it in folded if unicodedata.category(it) not in _INVISIBLE)
    # Without a space between them, a letter and an accent are one character.
    return unicodedata.normalize("NFC", visible)[:MAX_LENGTH]
