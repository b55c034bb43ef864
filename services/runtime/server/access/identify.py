"""Finds out who calls: a local caller, or the caller of a certificate and a token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hutong.type.v1.identity_pb2 import IdentityDocument

from services.domain.errors import InvalidArgument, Violation
from services.domain.fields import check_document
from services.domain.subject import Pepper
from services.runtime.caller import LOCAL, Caller
from services.runtime.certificates import read_certificates
from services.runtime.clock import Clock
from services.runtime.server.access.certificates import Certificates, Identity
from services.runtime.server.access.tokens import BadToken, Tokens, read_keys
from services.runtime.settings import Settings

_BEARER = "bearer "


class Identifier:
    """Identifies the callers of one server.

    A server that asks for no certificates is on loopback and under HUTONG_INSECURE (`server.start` checks both), so
    all its callers are local.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        tls = settings.tls
        self.is_open = tls.client_ca_file is None
        self._clock = clock
        self._settings = settings
        self._pepper: Pepper | None = None
        self._certificates = Certificates(
            settings.trust_domain,
            settings.jurisdiction,
            read_certificates("HUTONG_TLS_NODE_CA_FILE", tls.node_ca_file) if tls.node_ca_file else (),
            read_certificates("HUTONG_TLS_CLIENT_CA_FILE", tls.client_ca_file) if tls.client_ca_file else (),
        )
        self._tokens: Tokens | None = None
        if settings.token_keys_file is not None:
            keys = read_keys(settings.token_keys_file)
            self._tokens = Tokens(settings.token_issuer, settings.token_audience, keys, self._use_pepper())

    def identify(self, context: Any) -> Caller:
        """Return the caller of a call from its context, a grpc.aio.ServicerContext."""
        peer: str = context.peer()
        if self.is_open:
            return Caller(LOCAL, LOCAL, peer=peer)
        identity: Identity = self._certificates.identify(context.auth_context())
        caller = identity.caller
        caller = Caller(caller.role, caller.name, caller.region, peer, caller.certificate_hash, None, caller.fault)
        if not caller.role:
            return caller
        now = self._clock.now()
        if now >= identity.expire_time:
            return _unknown(caller, "the certificate has expired")
        token = _bearer(context)
        if not token:
            return caller
        if self._tokens is None:
            return _unknown(caller, "this node accepts no tokens: HUTONG_TOKEN_KEYS_FILE is not set")
        try:
            return self._tokens.apply(caller, token, now)
        except BadToken as error:
            return _unknown(caller, str(error))

    def subject_key(self, document: IdentityDocument) -> bytes:
        """Return the subject key of a document in a request.

        Raises:
            InvalidArgument: BAD_DOCUMENT_NUMBER, the number is not valid for its type of document.
        """
        found: list[Violation] = []
        canonical = check_document(document, "document", found)
        if canonical is None:
            raise InvalidArgument.of(found)
        return self._use_pepper().subject_key(canonical)

    def _use_pepper(self) -> Pepper:
        if self._pepper is None:
            self._pepper = self._settings.pepper()
        return self._pepper


def _unknown(caller: Caller, fault: str) -> Caller:
    return replace(caller, role="", name="", region="", fault=fault)


def _bearer(context: Any) -> str:
    """Return the bearer token of a call; empty without one."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :]
    return ""
