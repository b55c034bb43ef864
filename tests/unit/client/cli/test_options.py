"""Options of the command line, each read in every spelling."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hutong.type.v1 import channel_pb2, outcome_pb2, purpose_pb2
from hutong_client.cli.commands.policies.show import list_policies, resolve
from hutong_client.cli.commands.verify import verify
from hutong_client.cli.evidence import EvidenceOf
from hutong_client.cli.options import PURPOSE, NodeCommand, read_instant


def test_words_are_taken_in_every_spelling() -> None:
    """Words are accepted as people write them and as the contract does."""
    for text in ("public-venue", "PUBLIC_VENUE", "PURPOSE_PUBLIC_VENUE"):
        assert PURPOSE.convert(text, None, None) == purpose_pb2.PURPOSE_PUBLIC_VENUE


def test_instant_without_a_zone_is_of_china() -> None:
    """A time without a zone is read in Asia/Shanghai, in which all times are shown; a day alone is no instant."""
    assert read_instant("2022-08-11T09:30:00+08:00").seconds == 1_660_181_400
    assert read_instant("2022-08-11 09:30") == read_instant("2022-08-11T01:30:00Z")
    with pytest.raises(ValueError, match="write a time"):
        read_instant("2022-08-11")


def test_evidence_is_read_part_by_part() -> None:
    """A code alone is a laboratory; negative is meant when nothing is said; JSON is taken too."""
    text = "channel=paper-report,lab=91220502MA000LAB8G,report_number=R1,report_time=2022-08-11T09:30:00+08:00"
    evidence = EvidenceOf().convert(text, None, None)
    assert evidence.channel == channel_pb2.CHANNEL_PAPER_REPORT
    assert evidence.lab == "labs/91220502MA000LAB8G"
    assert evidence.outcome == outcome_pb2.OUTCOME_NEGATIVE
    assert evidence.report_time.seconds == 1_660_181_400
    assert EvidenceOf().convert('{"report_number": "R1"}', None, None).report_number == "R1"
    named = EvidenceOf().convert("channel=paper-report,lab_name=通化 示例检验所", None, None)
    assert (named.lab_name, named.lab, named.report_number) == ("通化 示例检验所", "", "")
    for wrong in ("channel=carrier-pigeon", "colour=red", "{"):
        with pytest.raises(click.UsageError):
            EvidenceOf().convert(wrong, None, None)


@pytest.mark.parametrize(
    ("command", "former", "present"),
    [
        (resolve, "--at", "--effective-time"),
        (resolve, "--known", "--as-of-time"),
        (list_policies, "--in-force", "--effective-time"),
        (verify, "--record", "--store-decision"),
    ],
)
def test_former_options_are_understood_and_in_no_help(command: NodeCommand, former: str, present: str) -> None:
    """Existing scripts keep working."""
    (parameter,) = (it for it in command.params if present in it.opts)
    value = [] if getattr(parameter, "is_flag", False) else ["2022-08-11T09:30:00+08:00"]
    given = [
        command.make_context("it", [option, *value, *_needed(command)], resilient_parsing=False).params[parameter.name]
        for option in (former, present)
    ]
    assert given[0] == given[1] not in (None, False)
    assert f"{former} " not in CliRunner().invoke(command, ["--help"]).stdout


def _needed(command: NodeCommand) -> list[str]:
    return ["--region", "410105", "--purpose", "hotel"] if command is resolve else []
