"""Options and argument types that the commands of `hutong` share: addresses, enums, instants and documents."""

from __future__ import annotations

import codecs
import functools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1 import identity_pb2, purpose_pb2
from hutong_texts import english, tr

from hutong_client.cli.help import Command as HutongCommand
from hutong_client.cli.help import help_text
from hutong_client.cli.kept.contexts import context_option, find_context, merge_context
from hutong_client.cli.words import DocumentTypeWord, Word
from hutong_client.connection import DEFAULT_ADDRESSES, Connection, Tls, connect
from hutong_client.formatting import SHANGHAI
from hutong_client.tables.faults import BadCell
from hutong_client.tables.regions import read_region
from hutong_client.tables.times import parse_time

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


class NodeCommand(HutongCommand):
    """A command that calls a node. It accepts the node's options after its own name too.

    Args:
        former: the new name of each renamed option. The old names still work and are not shown in the help.
    """

    def __init__(self, *args: Any, former: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += node_params()
        self._former = former or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after replacing old names of options by the new ones."""
        return super().parse_args(ctx, [self._rename(argument) for argument in args])

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
            help=help_text(
                "The {service} service; default: HUTONG_{upper}_ADDRESS, then {default}.",
                service=service,
                upper=service.upper(),
                default=default,
            ),
        )
        for service, default in DEFAULT_ADDRESSES.items()
    ]
    files = {
        "ca_file": ("--tls-ca", english("Authorities to trust, PEM; default: HUTONG_TLS_SERVER_CA_FILE.")),
        "certificate_file": (
            "--tls-certificate",
            english("Own certificate, PEM; default: HUTONG_TLS_CERTIFICATE_FILE."),
        ),
        "key_file": ("--tls-key", english("Its private key, PEM; default: HUTONG_TLS_KEY_FILE.")),
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


class InstantOf(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for an instant: a date and a time of day, in Asia/Shanghai if they have no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """Return the instant; fail with a usage error if it is none."""
        if isinstance(value, Timestamp):
            return value
        try:
            return read_instant(str(value))
        except BadCell as error:
            self.fail(error.description, param, ctx)


def read_instant(text: str) -> Timestamp:
    """Read an instant, "2022-08-11T09:30:00+08:00" or "now"; raise BadCell for anything else.

    A time without a zone is read in Asia/Shanghai, the zone in which all times are shown.
    """
    if text == "now":
        stamp = Timestamp()
        stamp.FromDatetime(datetime.now().astimezone())
        return stamp
    try:
        return parse_time(text, SHANGHAI)
    except BadCell:
        raise BadCell(
            tr("write a time as 2022-08-11T09:30:00+08:00, or without its zone if it is Asia/Shanghai's, or now")
        ) from None


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
        """Return the resource name; fail with a usage error if the text cannot be a resource name."""
        name = f"items/{str(value).removeprefix('items/')}"
        if not re.fullmatch(r"items/[a-z0-9-]{1,63}", name):
            self.fail(tr("an item is 1 to 63 small letters, digits and hyphens, as sars-cov-2-antigen"), param, ctx)
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
            self.fail(tr("not a known encoding; one as utf-8, gb18030, big5, shift_jis, euc_kr or cp1251"), param, ctx)
        # GB 18030 extends GB2312 and GBK, so it reads both.
        return "gb18030" if found in {"gb2312", "gbk"} else found


ENCODING = EncodingName()


class RegionCode(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Argument type for a region: its GB/T 2260 code or its name, as 郑州 or 郑州金水区."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the code; fail with a usage error if several regions have the name, or none has it."""
        try:
            return read_region(str(value))
        except BadCell as error:
            self.fail(error.description, param, ctx)


REGION = RegionCode()
DOCUMENT_TYPE = DocumentTypeWord()


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
            click.option(
                f"{flag}name",
                f"{own}name",
                default="",
                help=help_text("The holder's name as printed{whose}.", whose=whose),
            ),
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
                help=help_text(
                    "The document's number{whose}; - reads it from standard input, to keep it out of the "
                    "shell's history.",
                    whose=whose,
                ),
            ),
            click.option(
                f"{flag}type",
                f"{own}document_type",
                type=DOCUMENT_TYPE,
                default="resident-id-card",
                help=help_text(
                    "The kind of document{whose}: {words}, or its Chinese name; default: the first.",
                    whose=whose,
                    words=DOCUMENT_TYPE,
                ),
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
        raise click.UsageError(tr("{flag} -: standard input is empty", flag=flag))
    return line


def hide_identities(text: str) -> str:
    """Return a message in which everything that could be a document's number is replaced by an ellipsis."""
    return re.sub(r"[A-Za-z]?\d[\dA-Za-z]{6,}", "…", text)
