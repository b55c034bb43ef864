"""`hutong report`: reports that a laboratory signs, made and verified without a network."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import click
import segno
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from google.protobuf.timestamp_pb2 import Timestamp
from hutong.type.v1 import identity_pb2, outcome_pb2
from hutong_texts import english, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.help import Command, Group, help_text
from hutong_client.cli.options import INSTANT, ITEM, LAB, document_options, json_option, read_secret
from hutong_client.cli.output import echo, print_json
from hutong_client.cli.words import Word
from hutong_client.formatting import enum_name, mask, moment, word
from hutong_client.private_files import open_privately
from hutong_client.reports import signed as signed_reports
from hutong_client.reports.signed import BadSignedReport, SignedReport

OUTCOME = Word(outcome_pb2.Outcome, "OUTCOME_")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_LABELS = {
    "signature": english("signature"),
    "key_id": english("key"),
    "lab": english("lab"),
    "report_number": english("report number"),
    "item": english("item"),
    "outcome": english("outcome"),
    "sample_time": english("sample time"),
    "report_time": english("report time"),
    "masked_name": english("masked name"),
    "masked_number": english("masked number"),
    "holder": english("holder"),
}
"""The words for each part of a signed report."""
_GOOD, _NOT_GOOD = english("good"), english("not good with these keys")
_THIS_DOCUMENT, _ANOTHER_DOCUMENT = english("this document"), english("another document")


@click.group(cls=Group)
def report() -> None:
    """Sign reports as QR codes, and verify signed ones. Nothing is sent."""


@report.command("new-key", cls=Command, example="lab.key lab.pub")
@click.argument("key_file", type=_NEW_FILE)
@click.argument("public_file", type=_NEW_FILE)
@json_option
def new_key(key_file: Path, public_file: Path, as_json: bool) -> ExitCode:
    """Make a key of Ed25519: KEY_FILE signs and stays secret, PUBLIC_FILE is registered by the supervisor."""
    key = Ed25519PrivateKey.generate()
    # An existing key is never overwritten.
    with open(key_file, "xb", opener=open_privately) as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public_file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    named = signed_reports.key_id(signed_reports.to_der(key.public_key())).hex()
    if as_json:
        print_json({"key_id": named})
    else:
        echo(tr("key {key}", key=named))
    return ExitCode.DONE


@report.command(
    cls=Command,
    example="--key lab.key --lab 91220502MA000LAB8G --report-number R7 --outcome negative"
    " --report-time 2022-08-10T12:00:00+08:00 --number - --qr R7.svg",
)
@click.option(
    "--key", "key_file", type=_FILE, required=True, help="The private key in PEM, readable by its owner alone."
)
@click.option("--lab", type=LAB, required=True, help="The laboratory.")
@click.option("--report-number", required=True, help="The number of the report.")
@click.option("--item", type=ITEM, help="What it is a test for.  [default: nucleic acid]")
@click.option("--outcome", type=OUTCOME, required=True, help=help_text("The outcome: {words}.", words=OUTCOME))
@click.option("--sample-time", type=INSTANT, help="When the specimen was taken.")
@click.option("--report-time", type=INSTANT, help="When the report was issued.")
@document_options()
@click.option("--qr", "qr_file", type=_NEW_FILE, help="Write the QR code to this file, .svg or .png.")
@json_option
def sign(
    key_file: Path,
    lab: str,
    report_number: str,
    item: str | None,
    outcome: int,
    sample_time: Timestamp | None,
    report_time: Timestamp | None,
    document: identity_pb2.IdentityDocument,
    qr_file: Path | None,
    as_json: bool,
) -> ExitCode:
    """Sign a report for its holder. Prints the text of the QR code, which also goes into a field of evidence."""
    unsigned = SignedReport(
        lab.removeprefix("labs/"),
        report_number,
        (item or "").removeprefix("items/"),
        outcome,
        _seconds(sample_time),
        _seconds(report_time),
    )
    name, number = document.name, document.number
    held = signed_reports.for_holder(unsigned, number, mask(name), mask(number, 2, 2))
    try:
        text = signed_reports.sign(held, signed_reports.load_private_key(_read_private(key_file)))
        signed_reports.read(text)
    except BadSignedReport as error:
        raise click.ClickException(tr("the report cannot be signed: {fault}", fault=error.text)) from error
    if qr_file is not None:
        segno.make(text, error="m").save(str(qr_file), scale=4)
    if as_json:
        print_json({"signed_report": text})
    else:
        echo(text)
    return ExitCode.DONE


@report.command(cls=Command, example="- --public-key lab.pub < scanned.txt")
@click.argument("text", metavar="TEXT")
@click.option(
    "--public-key", "public_files", type=_FILE, multiple=True, required=True, help="A key of the laboratory in PEM."
)
@click.option("--number", help="The number of the holder's document, to be compared; - reads it from standard input.")
@json_option
def verify(text: str, public_files: tuple[Path, ...], number: str | None, as_json: bool) -> ExitCode:
    """Verify the signed report TEXT; - reads it from standard input. Compare its masked name with the document."""
    if text == "-" and number == "-":
        raise click.UsageError(tr("only one of TEXT and --number can be -"))
    try:
        sealed = signed_reports.read(read_secret("TEXT", text))
    except BadSignedReport as error:
        raise click.ClickException(tr("TEXT is no signed report: it {fault}", fault=error.text)) from error
    keys = [read_public_key(file) for file in public_files]
    is_good = any(key and signed_reports.is_signed_with(sealed, key) for key in keys)
    found = sealed.report
    holder = None if number is None else found.is_for(read_secret("--number", number))
    shown = {
        "signature": _GOOD if is_good else _NOT_GOOD,
        "key_id": sealed.key_id.hex(),
        "lab": f"labs/{found.lab}",
        "report_number": found.report_number,
        "item": f"items/{found.item}" if found.item else "",
        "outcome": enum_name(outcome_pb2.Outcome, found.outcome),
        "sample_time": _moment(found.sample_time),
        "report_time": _moment(found.report_time),
        "masked_name": found.masked_name,
        "masked_number": found.masked_number,
    }
    if holder is not None:
        shown["holder"] = _THIS_DOCUMENT if holder else _ANOTHER_DOCUMENT
    if as_json:
        print_json(shown)
    else:
        shown["outcome"] = word(outcome_pb2.Outcome, found.outcome, "OUTCOME_")
        for name, value in shown.items():
            if value:
                echo(tr("{name}: {value}", name=_LABELS[name], value=value))
    return ExitCode.DONE if is_good and holder is not False else ExitCode.FAILED


def _read_private(file: Path) -> bytes:
    """Return the bytes of a key file. A file that others can use is refused."""
    with open(file, "rb") as opened:
        if os.name == "posix" and os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise click.ClickException(tr("other users can use {file}: chmod 600 {file}", file=file))
        return opened.read()


def read_public_key(file: Path) -> bytes:
    """Return a laboratory's public key in DER from a file in PEM; fail if no report can be signed with it."""
    try:
        key: Any = load_pem_public_key(file.read_bytes())
        return signed_reports.to_der(signed_reports.load_public_key(signed_reports.to_der(key)))
    except (UnsupportedAlgorithm, ValueError) as error:
        raise click.ClickException(
            tr("{file} is no public key of Ed25519 or ECDSA on P-256 in PEM", file=file)
        ) from error


def _seconds(time: Timestamp | None) -> int | None:
    return None if time is None else time.seconds


def _moment(seconds: int | None) -> str:
    return "" if seconds is None else moment(Timestamp(seconds=seconds))
