"""`hutong profile`: keep the settings of source systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from hutong_texts import list_words, tr

from hutong_client.cli.help import Group, help_text
from hutong_client.cli.kept.store import NAME
from hutong_client.cli.options import ENCODING, ITEM, LAB, REGION, Node, NodeCommand, json_option, yes_option
from hutong_client.cli.output import confirm, echo, print_json, print_table, say
from hutong_client.cli.profiles.columns import column_option, parse_columns
from hutong_client.cli.profiles.guess import Guess, guess, region_of
from hutong_client.cli.profiles.profile import PROFILES, Profile, read_profile
from hutong_client.cli.uploads.source import open_readable
from hutong_client.cli.zones import parse_timezone, timezone_option
from hutong_client.tables.open import open_table
from hutong_client.tables.rows import NotATable


@click.group(cls=Group)
def profile() -> None:
    """Keep the settings of source systems for `hutong upload --profile NAME`."""


@profile.command(
    cls=NodeCommand, example="lis day.xlsx --lab 91220502MA000LAB8G --results results.jl.example:443 --tls-ca ca.pem"
)
@click.argument("name", type=NAME, shell_complete=PROFILES.complete)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--lab", type=LAB, required=True, help="The laboratory, labs/{uscc} or its code alone.")
@timezone_option(help_text("Zone of the times without one.  [default: Asia/Shanghai if the file's times have none]"))
@click.option(
    "--region",
    type=REGION,
    default="",
    help="GB/T 2260 code of the place of sampling, for rows without one.  [default: that of the laboratory's code if"
    " the file has no such column]",
)
@click.option("--encoding", type=ENCODING, default="", help="Encoding of text files, as big5.  [default: detected]")
@click.option(
    "--item",
    "items",
    type=ITEM,
    multiple=True,
    help="An item that files may hold besides nucleic acid of SARS-CoV-2.  [default: those that the file names]",
)
@column_option
@yes_option
@json_option
@click.pass_obj
def create(
    node: Node,
    name: str,
    file: Path,
    lab: str,
    timezone: str,
    region: str,
    encoding: str,
    items: Sequence[str],
    columns: Sequence[str],
    yes: bool,
    as_json: bool,
) -> None:
    """Guess the settings of a source system from a first FILE of it, ask, and keep them as NAME.

    The file is only read. The addresses and TLS files that are given are kept too, not those of the environment.
    """
    parse_timezone(timezone)
    with open_readable(file) as readable:
        found = guess(readable, encoding, columns)
        made = Profile(
            lab=lab,
            timezone=timezone or ("" if found.has_zone else "Asia/Shanghai"),
            region=region or ("" if found.has_region else region_of(lab)),
            encoding=encoding,
            items=items or found.items,
            columns=[*columns, *found.columns],
        ).with_node(node)
        _check_header(readable, made)
    if not as_json:
        _show_titles(found)
        _show(made)
    if not yes:
        question = (
            tr("Replace the kept profile of this name?") if name in PROFILES.names() else tr("Keep this profile?")
        )
        confirm(question)
    path = PROFILES.write(name, made.content())
    if as_json:
        print_json({"name": name, "file": str(path), **made.content()})
    else:
        say(tr("Kept as {path}", path=path))


@profile.command("list", cls=NodeCommand, example="--json")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the kept profiles."""
    profiles = [(name, read_profile(name)) for name in PROFILES.names()]
    if as_json:
        print_json({"profiles": [{"name": name, **made.content()} for name, made in profiles]})
    else:
        print_table((tr("name"), tr("lab"), tr("results")), ((name, made.lab, made.results) for name, made in profiles))


@profile.command(cls=NodeCommand, example="lis")
@click.argument("name", type=NAME, shell_complete=PROFILES.complete)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a kept profile."""
    made = read_profile(name)
    if as_json:
        print_json({"name": name, **made.content()})
    else:
        _show(made)


@profile.command(cls=NodeCommand, example="lis --yes")
@click.argument("name", type=NAME, shell_complete=PROFILES.complete)
@yes_option
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a kept profile."""
    if not yes:
        confirm(tr("Remove the profile {name}?", name=name))
    PROFILES.remove(name)
    if as_json:
        print_json({"name": name})
    else:
        say(tr("Removed {name}", name=name))


def _check_header(file: Path, made: Profile) -> None:
    """Open the file with the profile's columns; fail with a usage error that names the columns still missing."""
    try:
        with open_table(file, parse_columns(made.columns), made.encoding):
            return
    except NotATable as error:
        raise click.UsageError(
            tr("{error}; or say what a title means with --column TITLE=COLUMN", error=error)
        ) from None


def _show_titles(found: Guess) -> None:
    guessed = {text.rpartition("=")[0] for text in found.columns}
    rows = [
        (title, column or "-", tr("guessed from its cells") if title in guessed else "" if column else tr("not read"))
        for title, column in found.titles
    ]
    print_table((tr("title"), tr("column"), ""), rows)


def _show(made: Profile) -> None:
    for name, value in made.content().items():
        echo(f"{name}: {list_words(value) if isinstance(value, list) else value}")
