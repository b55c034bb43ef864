"""The contract's patterns in words: nobody at a counter reads regular expressions."""

from __future__ import annotations

import re

_CONTROLS = "must not hold line breaks, tabs or other control characters"
_WORDS = {
    r"^[0-9]{6}$": "must be a region as its six digits of GB/T 2260, like 410105",
    r"^[A-Z]{3}$": "must be a country as its three capital letters of ISO 3166-1, like FRA",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "must be a date like 2022-08-09",
    r"^[0-9A-Za-z._-]{1,64}$": "must be 1 to 64 letters A to Z, digits, dots, hyphens and underscores",
    r"^[0-9A-Za-z][0-9A-Za-z ()-]*$": (
        "must be written as it is printed: letters A to Z, digits, spaces, hyphens and round brackets, a letter or "
        "digit first"
    ),
    r"^labs/[0-9A-HJ-NPQRTUWXY]{18}$": "must be labs/ and the 18 characters of a unified social credit code",
    r"^nodes/[0-9]{6}$": "must be a node, like nodes/410000",
    r"^jurisdictions/[0-9]{6}/policies/[a-z][a-z0-9-]{0,62}(@[0-9]+)?$": (
        "must be a policy, like jurisdictions/410000/policies/entry, followed by @ and its revision where one is meant"
    ),
    r"^links/[0-9a-f-]{36}$": "must be links/ and the id of a link",
    r"^[^\x00-\x1f\x7f]*$": _CONTROLS,
    r"^[^\x00-\x1f\x7f]+$": f"{_CONTROLS}, nor be empty",
    r"^[^\x00-\x20\x7f/@]+$": "must not hold spaces, control characters, / or @, nor be empty",
    r"^[^\x00]*$": "must not hold the character NUL",
}
_OTHER = "is not written as the contract asks"
_MACHINE_MADE = re.compile(r"does not match regex pattern `([^`]*)`")


def word_pattern(pattern: str) -> str:
    """What a text must be to match one of the contract's patterns."""
    return _WORDS.get(pattern, _OTHER)


def word_patterns(text: str) -> str:
    """A service's text with words in the place of each pattern that is said not to match."""
    return _MACHINE_MADE.sub(lambda found: word_pattern(found[1]), text)
