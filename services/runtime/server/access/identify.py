"""Identifies callers. A caller is local, or is known by a certificate and perhaps a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from hutong.type.v1.identity_pb2 import IdentityDocument
from hutong_texts import english

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document
from services.domain.instant import Instant
from services.domain.subject import Pepper
from services.runtime.caller import LOCAL, Caller
from services.runtime.certificates import read_certificates
from services.runtime.clock import Clock
from services.runtime.configuration.open_files import require_own_rules
from services.runtime.configuration.settings import Settings
from services.runtime.reloading import ReloadedFiles
from services.runtime.server.access.certificates import REMEMBERED, Certificates
from services.runtime.server.access.deny_list import DenyList, read_deny_list
from services.runtime.server.access.tokens import BadToken, Tokens, read_keys

_BEARER = "bearer "


class Identifier:
    """Identifies the callers of one server.

    A server that asks for no certificates has only local callers, because `server.start` requires loopback and
    HUTONG_INSECURE for it.

    Attributes:
        reloaded: the files that decide which callers are accepted. They are read again when they change.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        tls = settings.tls
        self.is_open = tls.client_ca_file is None
        self._clock = clock
        self._settings = settings
        self._pepper: Pepper | None = None
        self._certificates = Certificates(settings.trust_domain, settings.jurisdiction, (), ())
        self._tokens: Tokens | None = None
        self._deny_list = DenyList()
        # For each peer of a connection: the caller of the connection's certificate, once without the peer and once with
        # the peer.
        self._at_peers: dict[str, tuple[Caller, Caller]] = {}
        self.reloaded = list(self._open_files())

    def identify(self, context: Any) -> Caller:
        """Return the caller of a call from its context, a grpc.aio.ServicerContext."""
        peer: str = context.peer()
        if self.is_open:
            return Caller(LOCAL, LOCAL, peer=peer)
        caller = self._caller_at(peer, self._certificates.identify(context.auth_context()))
        if not caller.role:
            return caller
        now = self._clock.now()
        if caller.expire_time is not None and now >= caller.expire_time:
            return _unknown(caller, english("the certificate has expired"))
        caller = self._apply_token(caller, context, now)
        fault = self._find_denial(caller)
        return _unknown(caller, fault) if fault else caller

    def _caller_at(self, peer: str, shown: Caller) -> Caller:
        """Return the caller of a certificate with the address of its connection.

        All calls of a connection share the returned object.
        """
        known = self._at_peers.get(peer)
        if known is not None and known[0] is shown:
            return known[1]
        caller = replace(shown, peer=peer)
        self._at_peers[peer] = (shown, caller)
        if len(self._at_peers) > REMEMBERED:
            del self._at_peers[next(iter(self._at_peers))]
        return caller

    def find_fault(self, caller: Caller) -> str:
        """Return why a caller that was identified earlier is no longer accepted; empty if it still is accepted."""
        if caller.expire_time is not None and self._clock.now() >= caller.expire_time:
            return english("its certificate or token has expired")
        return self._find_denial(caller)

    def denies(self, name: str) -> bool:
        """Whether the deny-list names a caller."""
        return name in self._deny_list.names

    def _find_denial(self, caller: Caller) -> str:
        denied = self._deny_list
        if caller.serial in denied.serials:
            return english("the certificate is on the deny-list")
        if caller.name in denied.names or caller.certificate_name in denied.names:
            return english("the caller is on the deny-list")
        return ""

    def _apply_token(self, caller: Caller, context: Any, now: Instant) -> Caller:
        tokens = _bearers(context)
        if not tokens:
            return caller
        if len(tokens) > 1:
            return _unknown(caller, english("the call has several tokens"))
        if self._tokens is None:
            return _unknown(caller, english("this node accepts no tokens: HUTONG_TOKEN_KEYS_FILE is not set"))
        try:
            return self._tokens.apply(caller, tokens[0], now)
        except BadToken as error:
            return _unknown(caller, str(error))

    def subject_key(self, document: IdentityDocument) -> bytes:
        """Return the subject key of a document in a request.

        Raises:
            InvalidArgument: BAD_DOCUMENT_NUMBER, the number is impossible for its type of document.
        """
        found: list[Violation] = []
        canonical = check_document(document, "document", found)
        if canonical is None:
            raise InvalidArgument.of(found)
        return self._use_pepper().subject_key(canonical)

    def _open_files(self) -> Iterator[ReloadedFiles[Any]]:
        settings = self._settings
        if settings.tls.client_ca_file is not None:
            files = [one for one in (settings.tls.client_ca_file, settings.tls.node_ca_file) if one is not None]
            yield ReloadedFiles("HUTONG_TLS_CLIENT_CA_FILE", files, self._read_authorities, self._use_certificates)
        if settings.token_keys_file is not None:
            yield ReloadedFiles(
                "HUTONG_TOKEN_KEYS_FILE", [settings.token_keys_file], self._read_tokens, self._use_tokens
            )
        if settings.deny_file is not None:
            read = partial(read_deny_list, settings.deny_file, settings.trust_domain)
            yield ReloadedFiles("HUTONG_DENY_FILE", [settings.deny_file], read, self._use_deny_list)

    def _read_authorities(self) -> Certificates:
        tls = self._settings.tls
        return Certificates(
            self._settings.trust_domain,
            self._settings.jurisdiction,
            _read_authorities("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file),
            _read_authorities("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file),
        )

    def _read_tokens(self) -> Tokens:
        settings = self._settings
        assert settings.token_keys_file is not None
        require_own_rules("HUTONG_TOKEN_KEYS_FILE", settings.token_keys_file)
        keys = read_keys(settings.token_keys_file)
        return Tokens(settings.token_issuer, settings.token_audience, keys, self._use_pepper())

    def _use_certificates(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def _use_tokens(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def _use_deny_list(self, deny_list: DenyList) -> None:
        self._deny_list = deny_list

    def _use_pepper(self) -> Pepper:
        if self._pepper is None:
            self._pepper = self._settings.pepper()
        return self._pepper


def _read_authorities(setting: str, file: Path | None) -> Sequence[Certificate]:
    """Return the authorities in the file of a setting; none without a file. Raises BadSetting."""
    if file is None:
        return ()
    require_own_rules(setting, file)
    return read_certificates(setting, file)


def _unknown(caller: Caller, fault: str) -> Caller:
    return replace(caller, role="", name="", region="", fault=fault)


def _bearers(context: Any) -> list[str]:
    """Return the bearer tokens of a call."""
    return [
        value[len(_BEARER) :]
        for key, value in context.invocation_metadata() or ()
        if key == "authorization" and isinstance(value, str) and value[: len(_BEARER)].lower() == _BEARER
    ]
