"""Checks the settings of the node above."""

from __future__ import annotations

from collections.abc import Mapping

from hutong_texts import english

from services.domain.region import NATION
from services.runtime.addresses import is_same_server
from services.runtime.configuration.declared import variable_name
from services.runtime.configuration.variables import BadSetting


def check_upstream(
    upstream: str, others: Mapping[str, str], own_results: str, jurisdiction: str, is_pepper_embedded: bool
) -> None:
    """Check the settings of the node above.

    Args:
        upstream: the address of the upper node's Results; empty for a node without a node above.
        others: the addresses of the upper node's other services, by the names of their settings.
        own_results: the address of this node's own Results.
        jurisdiction: the region of this node.
        is_pepper_embedded: whether the pepper is the one that this node generates.

    Raises:
        BadSetting: the settings do not fit each other.
    """
    if not upstream:
        for name, address in others.items():
            if address:
                raise BadSetting(english("{name} needs HUTONG_UPSTREAM", name=variable_name(name)))
        return
    if is_same_server(upstream, own_results):
        raise BadSetting(english("HUTONG_UPSTREAM is this node's own Results: give the address of the node above"))
    if jurisdiction == NATION:
        raise BadSetting(english("HUTONG_UPSTREAM needs HUTONG_JURISDICTION, which is not the nation"))
    if is_pepper_embedded:
        raise BadSetting(
            english(
                "HUTONG_UPSTREAM needs HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND: all nodes of the nation "
                "share one pepper"
            )
        )
