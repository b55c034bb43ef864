"""Checks of settings that depend on one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hutong_texts import english

from services.domain.region import NATION
from services.runtime.addresses import is_same_server
from services.runtime.configuration.pepper_source import check_sources
from services.runtime.configuration.variables import BadSetting

if TYPE_CHECKING:
    from services.runtime.configuration.settings import Settings


def check_combination(settings: Settings) -> None:
    """Check the settings that depend on one another.

    Raises:
        BadSetting: two of them contradict each other, or one lacks another.
    """
    if (settings.tls.certificate_file is None) != (settings.tls.key_file is None):
        raise BadSetting(english("HUTONG_TLS_CERTIFICATE_FILE and HUTONG_TLS_KEY_FILE go together"))
    if settings.tls.client_ca_file is not None and not settings.tls.serves_tls:
        raise BadSetting(english("HUTONG_TLS_CLIENT_CA_FILE needs HUTONG_TLS_CERTIFICATE_FILE"))
    check_sources(settings.pepper_source, settings.other_pepper_source)
    if settings.tls.node_ca_file is not None and settings.tls.client_ca_file is None:
        raise BadSetting(english("HUTONG_TLS_NODE_CA_FILE needs HUTONG_TLS_CLIENT_CA_FILE"))
    if settings.insecure and settings.tls.client_ca_file is not None:
        raise BadSetting(english("HUTONG_INSECURE and HUTONG_TLS_CLIENT_CA_FILE exclude each other"))
    if settings.token_keys_file is not None and not (settings.token_issuer and settings.tls.client_ca_file):
        raise BadSetting(english("HUTONG_TOKEN_KEYS_FILE needs HUTONG_TOKEN_ISSUER and HUTONG_TLS_CLIENT_CA_FILE"))
    if settings.deny_file is not None and settings.tls.client_ca_file is None:
        raise BadSetting(english("HUTONG_DENY_FILE needs HUTONG_TLS_CLIENT_CA_FILE"))
    if settings.upstream:
        if is_same_server(settings.upstream, settings.results.address):
            raise BadSetting(english("HUTONG_UPSTREAM is this node's own Results: give the national node's address"))
        if settings.jurisdiction == NATION:
            raise BadSetting(english("HUTONG_UPSTREAM is a province's: give HUTONG_JURISDICTION, or no upstream"))
        if settings.pepper_source.kind == "embedded":
            raise BadSetting(
                english(
                    "HUTONG_UPSTREAM needs HUTONG_PEPPER_FILE, _DESCRIPTOR or _COMMAND: all nodes of the nation "
                    "share one pepper"
                )
            )
    elif settings.upstream_policy:
        raise BadSetting(english("HUTONG_UPSTREAM_POLICY needs HUTONG_UPSTREAM"))
