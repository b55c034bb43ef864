"""The normal form of names. Two printed names are the same if their normal forms are equal. Similar names differ."""

from __future__ import annotations

import unicodedata

VERSION = 1
"""The version of the rule. Stores keep normal forms, so a migration must follow a change of the rule."""
MAX_LENGTH = 200
"""Characters of a normal form. Longer forms are cut, so that databases can index them."""
_SAME = str.maketrans(dict.fromkeys("\u2010\u2012\u2013\u2014\u2015\u2212", "-") | dict.fromkeys("•‧∙⋅・", "·"))
"""Hyphens and middle dots that printers use for one another. NFKC already replaces other such characters."""
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of spaces and characters without a shape of their own."""


def normal_form(name: str) -> str:
    """Return the normal form of a name; empty if the name has no visible character.

    Full-width letters and digits become ASCII ones. Case and spaces do not matter. All hyphens become the same hyphen,
    and all middle dots the same dot.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_SAME)
    visible = "".join(it for it in folded if unicodedata.category(it) not in _INVISIBLE)
    # A space may have stood between a letter and an accent. Without the space, NFC makes the letter and the accent one
    # character.
    return unicodedata.normalize("NFC", visible)[:MAX_LENGTH]
