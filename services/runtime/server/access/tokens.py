"""Bearer tokens (JWT, RFC 7519).

A token names the person behind an app or a console, or the caller behind an edge proxy.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hutong.type.v1.identity_pb2 import DocumentType, IdentityDocument
from hutong_texts import english
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.domain.base64url import encode_base64url
from services.domain.document import Document, canonical_document
from services.domain.instant import SECOND, Instant
from services.domain.subject import Pepper
from services.runtime.caller import EDGE, Caller
from services.runtime.configuration.unreadable import unreadable
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.access.names import parse_caller

MAX_LIFE_SECONDS = 600
"""The longest time between a token's `iat` and `exp`. A stolen token is therefore of little use."""
LEEWAY_SECONDS = 30
"""How many seconds the clock of the issuer and the clock of this node may differ."""
MAX_BYTES = 8192
"""Longer tokens are refused unread. A token of Keycloak has about 1,500 bytes."""
MAX_OTHER_DOCUMENTS = 15
"""The most documents of one person besides the first one. Together they are as many as one subject may have linked."""
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""The accepted algorithms. All of them sign with a private key. With a shared secret this node could make tokens
itself."""
REMEMBERED = 10_000
"""How many verified tokens are kept. Checking a signature takes about 50 µs."""


_OF_ANOTHER_CERTIFICATE = "the token is bound to another certificate, or to none (cnf.x5t#S256)"


class BadToken(ValueError):
    """A token that is not accepted. The text gives the cause and contains no part of the token."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an accepted token states. It holds the subject key in place of the user's document.

    Attributes:
        expire_time: when the token expires.
        certificate: `cnf.x5t#S256`, which names the certificate that the token is bound to; empty for none.
        name: the name of the caller behind an edge, such as "gates/410100/7"; empty for none.
        role: the role that the name must have.
        region: the region that the name must have.
        user: the subject key of the signed-in person; None without one.
        other_documents: the subject keys of further documents. The issuer has checked that they are that person's.
        person: the hash of `sub`. Two tokens of one person have the same hash. Empty without `sub`.
        other_keys: the keys of all these documents under the other key version, if there is one.
    """

    expire_time: Instant
    certificate: str
    name: str
    role: str
    region: str
    user: bytes | None
    other_documents: tuple[bytes, ...] = ()
    person: str = ""
    other_keys: tuple[bytes, ...] = ()

    @property
    def end(self) -> Instant:
        """The instant from which this node no longer accepts the token."""
        return self.expire_time + LEEWAY_SECONDS * SECOND


class Tokens:
    """Verifies tokens of one issuer."""

    def __init__(self, issuer: str, audience: str, keys: KeySet, pepper: Pepper) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._pepper = pepper
        self._remembered: OrderedDict[str, Token] = OrderedDict()

    def apply(self, caller: Caller, text: str, now: Instant) -> Caller:
        """Return the caller with what its token states: the signed-in user, or the caller behind an edge.

        Raises:
            BadToken: the token cannot be accepted.
        """
        token = self._read(text, now)
        is_bound = token.certificate == _thumbprint(caller.certificate_hash)
        if caller.role == EDGE:
            # A token that a proxy shows need not be bound. One that is bound to another certificate was stolen from its
            # holder.
            if token.certificate and not is_bound:
                raise BadToken(_OF_ANOTHER_CERTIFICATE)
            found = parse_caller(token.name)
            if found is None or found != (token.role, token.region) or token.role in {EDGE, "node", "verification"}:
                raise BadToken("the claims hutong_role, hutong_name and hutong_region name no caller of an edge")
            return replace(
                caller,
                role=token.role,
                name=token.name,
                region=token.region,
                expire_time=_earlier(caller.expire_time, token),
                user=token.user,
                other_documents=token.other_documents,
                person=token.person,
                other_keys=token.other_keys,
            )
        if not is_bound:
            raise BadToken(_OF_ANOTHER_CERTIFICATE)
        return replace(
            caller,
            expire_time=_earlier(caller.expire_time, token),
            user=token.user,
            other_documents=token.other_documents,
            person=token.person,
            other_keys=token.other_keys,
        )

    def _read(self, text: str, now: Instant) -> Token:
        if len(text) > MAX_BYTES:
            raise BadToken(f"the token has more than {MAX_BYTES} bytes")
        token = self._remembered.get(text)
        if token is None:
            token = self._verify(text, now)
            self._remembered[text] = token
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        if now >= token.end:
            raise BadToken("the token has expired")
        return token

    def _verify(self, text: str, now: Instant) -> Token:
        try:
            claims = jwt.decode(text, self._keys, algorithms=ALGORITHMS).claims
            registry = jwt.JWTClaimsRegistry(
                now=now // SECOND,
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._audience},
                exp={"essential": True},
                iat={"essential": True},
            )
            registry.validate(claims)
        except JoseError as error:
            raise BadToken(f"the token cannot be verified: {error.error}") from None
        except (ValueError, TypeError, KeyError):
            raise BadToken("the token cannot be verified") from None
        expire = claims["exp"]
        if not expire - claims["iat"] <= MAX_LIFE_SECONDS:
            raise BadToken(f"the token is good for more than {MAX_LIFE_SECONDS} seconds")
        bound = claims.get("cnf")
        user = _user(claims.get("hutong_document"))
        others = _other_documents(claims.get("hutong_other_documents", []))
        documents = [*([] if user is None else [user]), *others]
        return Token(
            expire_time=int(expire) * SECOND,
            certificate=str(bound.get("x5t#S256", "")) if isinstance(bound, Mapping) else "",
            name=_text(claims, "hutong_name"),
            role=_text(claims, "hutong_role"),
            region=_text(claims, "hutong_region"),
            user=None if user is None else self._pepper.subject_key(user),
            other_documents=tuple(map(self._pepper.subject_key, others)),
            person=_hash(_text(claims, "sub")),
            other_keys=tuple(key for one in documents for key in self._pepper.subject_keys(one)[1:]),
        )


def _user(stated: Any) -> Document | None:
    return None if stated is None else _document("hutong_document", stated)


def _other_documents(stated: Any) -> list[Document]:
    if not isinstance(stated, list) or len(stated) > MAX_OTHER_DOCUMENTS:
        raise BadToken(f"the claim hutong_other_documents is no list of at most {MAX_OTHER_DOCUMENTS} documents")
    return [_document("hutong_other_documents", one) for one in stated]


def _document(claim: str, stated: Any) -> Document:
    try:
        message = IdentityDocument(
            type=DocumentType.Value(f"DOCUMENT_TYPE_{stated['type']}"),
            number=stated["number"],
            issuing_country=stated.get("issuing_country", ""),
        )
        return canonical_document(message.type, message.number, message.issuing_country)
    except (ValueError, TypeError, KeyError, AttributeError):
        # The exception is raised without its cause, because the cause may contain the document's number.
        raise BadToken(f"the claim {claim} has no type and number of a document") from None


def _earlier(end: Instant | None, token: Token) -> Instant:
    return token.end if end is None else min(end, token.end)


def read_keys(path: Path) -> KeySet:
    """Return the public keys of a JWKS file.

    Raises:
        BadSetting: the file cannot be read, or holds no key set, or a secret key.
    """
    try:
        keys = KeySet.import_key_set(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadSetting(
            english("{name} {fault}", name="HUTONG_TOKEN_KEYS_FILE", fault=unreadable(path, error))
        ) from None
    except (ValueError, KeyError, TypeError, JoseError):
        raise BadSetting(
            english("HUTONG_TOKEN_KEYS_FILE holds no JSON Web Key Set (RFC 7517): get it from the issuer of the tokens")
        ) from None
    if not keys.keys or any(key.key_type not in {"RSA", "EC"} for key in keys.keys):
        raise BadSetting(english("HUTONG_TOKEN_KEYS_FILE must hold RSA or EC keys only"))
    return keys


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    return value if isinstance(value, str) else ""


def _hash(text: str) -> str:
    """Return the hash of a text as hexadecimal; empty for an empty text."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _thumbprint(fingerprint: str) -> str:
    """Convert a certificate's SHA-256 from hexadecimal to the form of RFC 8705."""
    return encode_base64url(bytes.fromhex(fingerprint))
