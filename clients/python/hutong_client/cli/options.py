"""Options and argument types that the commands of `hutong` share: addresses, enums, instants and documents."""

from __future__ import annotations

import codecs
import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1 import identity_pb2, purpose_pb2

from hutong_client.cli.kept.contexts import context_option, find_context, merge_context
from hutong_client.connection import DEFAULT_ADDRESSES, Connection, Tls, connect
from hutong_client.formatting import Enum
from hutong_client.tables.faults import BadCell
from hutong_client.tables.times import parse_time
from hutong_client.tables.values import find_document_type

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Node:
    """Addresses and TLS files of a node. Values that are missing are taken from the context, then the environment."""

    addresses: dict[str, str] = field(default_factory=dict)
    tls: Tls = field(default_factory=Tls)
    context: Mapping[str, str] = field(default_factory=dict)

    def connect(self) -> Connection:
        """Connect to the node."""
        addresses, tls = merge_context(self.context, self.addresses, self.tls)
        return connect(tls=tls if tls != Tls() else None, **addresses)  # type: ignore[arg-type]


class NodeCommand(click.Command):
    """A command that calls a node. It accepts the node's options after its own name too.

    Args:
        former: the new name of each renamed option. The old names still work and are not shown in the help.
        example: the arguments of a call that the help shows, without "hutong" and the command's own name.
    """

    def __init__(self, *args: Any, former: Mapping[str, str] | None = None, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params += node_params()
        self._former = former or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after replacing old names of options by the new ones."""
        return super().parse_args(ctx, [self._rename(argument) for argument in args])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        super().format_epilog(ctx, formatter)
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':{formatter.current_indent}}{ctx.command_path} {self.example}\n")

    def _rename(self, argument: str) -> str:
        option, equals, value = argument.partition("=")
        return self._former.get(option, option) + equals + value


def node_params() -> list[click.Option]:
    """Return the options for the addresses and TLS files of a node."""
    addresses = [
        click.Option(
            [f"--{service}"],
            metavar="HOST:PORT",
            expose_value=False,
            callback=functools.partial(_keep_address, service),
            help=f"The {service} service; default: HUTONG_{service.upper()}_ADDRESS, then {default}.",
        )
        for service, default in DEFAULT_ADDRESSES.items()
    ]
    files = {
        "ca_file": ("--tls-ca", "Authorities to trust, PEM; default: HUTONG_TLS_SERVER_CA_FILE."),
        "certificate_file": ("--tls-certificate", "Own certificate, PEM; default: HUTONG_TLS_CERTIFICATE_FILE."),
        "key_file": ("--tls-key", "Its private key, PEM; default: HUTONG_TLS_KEY_FILE."),
    }
    tls = [
        click.Option(
            [flag],
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            expose_value=False,
            callback=functools.partial(_keep_tls, name),
            help=text,
        )
        for name, (flag, text) in files.items()
    ]
    return [context_option(_keep_context), *addresses, *tls]


def _keep_context(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    node = context.ensure_object(Node)
    if settings := find_context(value, is_chosen=bool(node.context)):
        context.obj = replace(node, context=settings)


def _keep_address(service: str, context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    node = context.ensure_object(Node)
    if value:
        context.obj = replace(node, addresses=node.addresses | {service: value})


def _keep_tls(name: str, context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    node = context.ensure_object(Node)
    if value:
        context.obj = replace(node, tls=replace(node.tls, **{name: value}))


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: the answer's fields as in the contract."
)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


html_option = click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write one self-contained page with charts to this file instead.",
)


class Word(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for an enum of the contract.

    A word is the name of a value without the enum's prefix, as "public-venue". The full name, as
    "PURPOSE_PUBLIC_VENUE", is accepted too.
    """

    name = "word"

    def __init__(self, enum: Enum, prefix: str) -> None:
        self._values = {
            name.removeprefix(prefix).lower().replace("_", "-"): number for name, number in enum.items() if number
        }
        self._prefix = prefix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the enum's number. The error never repeats the word, which could be a misplaced document number."""
        if isinstance(value, int):
            return value
        word = str(value).upper().replace("-", "_").removeprefix(self._prefix).lower().replace("_", "-")
        if word not in self._values:
            self.fail("not a known word; one of " + ", ".join(self._values), param, ctx)
        return int(self._values[word])

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        """Return the enum's words for the help if there are at most six, otherwise "WORD"."""
        return "[" + "|".join(self._values) + "]" if len(self._values) <= 6 else "WORD"

    @property
    def words(self) -> Iterable[str]:
        """The words of all values of the enum."""
        return self._values


class DocumentTypeWord(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for a kind of document, as "resident-id-card", "passport" or 居民身份证."""

    name = "word"
    words = tuple(
        name.removeprefix("DOCUMENT_TYPE_").lower().replace("_", "-")
        for name, number in identity_pb2.DocumentType.items()
        if number
    )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the enum's number."""
        kind = value if isinstance(value, int) else find_document_type(str(value).replace("-", "_"))
        if kind is None:
            self.fail("not a known kind of document; one of " + ", ".join(self.words), param, ctx)
        return int(kind)


class InstantOf(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for an instant: a date and a time of day with their zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """Return the instant; fail with a usage error if the time has no zone."""
        if isinstance(value, Timestamp):
            return value
        try:
            return read_instant(str(value))
        except BadCell as error:
            self.fail(error.description, param, ctx)


def read_instant(text: str) -> Timestamp:
    """Read an instant, "2022-08-11T09:30:00+08:00" or "now"; raise BadCell for anything else."""
    if text == "now":
        stamp = Timestamp()
        stamp.FromDatetime(datetime.now().astimezone())
        return stamp
    try:
        return parse_time(text, None)
    except BadCell:
        raise BadCell("write a time with its zone, as 2022-08-11T09:30:00+08:00, or now") from None


INSTANT = InstantOf()
PURPOSE = Word(purpose_pb2.Purpose, "PURPOSE_")


class LabName(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for a laboratory: "labs/{uscc}" or the code alone."""

    name = "lab"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the resource name."""
        return lab_name(str(value))


def lab_name(text: str) -> str:
    """Return the resource name "labs/{uscc}" for a code or for the name itself."""
    return text if text.startswith("labs/") else f"labs/{text}"


LAB = LabName()


class ItemName(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for a test item: "items/{item}" or the id alone."""

    name = "item"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the resource name; fail with a usage error if it cannot be one."""
        name = f"items/{str(value).removeprefix('items/')}"
        if not re.fullmatch(r"items/[a-z0-9-]{1,63}", name):
            self.fail("an item is 1 to 63 small letters, digits and hyphens, as sars-cov-2-antigen", param, ctx)
        return name


ITEM = ItemName()


class EncodingName(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for the encoding of a text file."""

    name = "encoding"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return Python's name of the encoding; fail with a usage error if it is no encoding of text."""
        if not value:
            return ""
        try:
            found = codecs.lookup(str(value)).name
            "阴".encode(found, "ignore")
        except (LookupError, UnicodeError):
            self.fail("not a known encoding; one as utf-8, gb18030, big5, shift_jis, euc_kr or cp1251", param, ctx)
        # GB 18030 extends GB2312 and GBK, so it reads both.
        return "gb18030" if found in {"gb2312", "gbk"} else found


ENCODING = EncodingName()


def document_options(needed: bool = True, prefix: str = "", whose: str = "") -> Callable[[Command], Command]:
    """Return a decorator that adds the options for a person's document.

    The command receives them as `document`, which is None if no number was given.

    Args:
        needed: whether the number must be given.
        prefix: a word before each option and before `document`: with "linked", "--linked-number" and `linked_document`.
        whose: words for the help that say which document it is.
    """
    flag = f"--{prefix}-" if prefix else "--"
    own = f"{prefix}_" if prefix else ""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(f"{own}{name}") for name in ("document_type", "number", "country", "name")}
            return command(*args, **{f"{own}document": _document(f"{flag}number", **given)}, **kwargs)

        for option in (
            click.option(f"{flag}name", f"{own}name", default="", help=f"The holder's name as printed{whose}."),
            click.option(
                f"{flag}country",
                f"{own}country",
                default="",
                help="The issuing country of a passport, ISO 3166-1 alpha-3, as FRA.",
            ),
            click.option(
                f"{flag}number",
                f"{own}number",
                required=needed,
                help=f"The document's number{whose}; - reads it from standard input, to keep it out of the shell's"
                " history.",
            ),
            click.option(
                f"{flag}type",
                f"{own}document_type",
                type=DocumentTypeWord(),
                default="resident-id-card",
                show_default=True,
                help=f"The kind of document{whose}: " + ", ".join(DocumentTypeWord.words) + ", or its Chinese name.",
            ),
        ):
            call = option(call)
        return call  # type: ignore[return-value]

    return decorate


def _document(
    flag: str, document_type: int, number: str | None, country: str, name: str
) -> identity_pb2.IdentityDocument | None:
    if number is None:
        return None
    return identity_pb2.IdentityDocument(
        type=identity_pb2.DocumentType.ValueType(document_type),
        number=read_secret(flag, number),
        issuing_country=country,
        name=name,
    )


def read_secret(flag: str, given: str) -> str:
    """Return the value of an option. If it is "-", return the next line of standard input, which must not be empty."""
    if given != "-":
        return given
    line = sys.stdin.readline().strip()
    if not line:
        raise click.UsageError(f"{flag} -: standard input is empty")
    return line


def hide_identities(text: str) -> str:
    """Return a message in which everything that could be a document's number is replaced by an ellipsis."""
    return re.sub(r"[A-Za-z]?\d[\dA-Za-z]{6,}", "…", text)
