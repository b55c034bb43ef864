"""Checks the operator's rule files, which are also read at start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hutong_texts import Text, english

from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.access_file import read_access_file
from services.runtime.server.access.deny_list import read_deny_list
from services.runtime.server.access.tokens import read_keys


def find_rule_faults(settings: Settings) -> Iterator[tuple[Text, Text]]:
    """Yield each rule file that is set, with the reason why it cannot be used.

    The reason is empty for a usable file.
    """
    if (access := settings.access_file) is not None:
        yield english("access file"), _fault(lambda: read_access_file(access))
    if (keys := settings.token_keys_file) is not None:
        yield english("keys of tokens"), _fault(lambda: read_keys(keys))
    if (denied := settings.deny_file) is not None:
        yield english("deny-list"), _fault(lambda: read_deny_list(denied, settings.trust_domain))


def _fault(read: Callable[[], object]) -> Text:
    try:
        read()
    except BadSetting as error:
        return error.text
    return Text("")
