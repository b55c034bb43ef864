"""Evidence as a command-line argument."""

from __future__ import annotations

import json
from typing import Any

import click
from google.protobuf.json_format import ParseDict, ParseError
from hutong.type.v1 import channel_pb2, outcome_pb2
from hutong.verification.v1.evidence_pb2 import PresentedEvidence
from hutong_texts import list_words, tr

from hutong_client.cli.options import INSTANT, ITEM, LAB
from hutong_client.cli.words import Word

_PARTS: dict[str, Any] = {
    "channel": Word(channel_pb2.Channel, "CHANNEL_"),
    "lab": LAB,
    "lab_name": click.STRING,
    "report_number": click.STRING,
    "item": ITEM,
    "outcome": Word(outcome_pb2.Outcome, "OUTCOME_"),
    "sample_time": INSTANT,
    "report_time": INSTANT,
    "signed_report": click.STRING,
}


class EvidenceOf(click.ParamType):  # type: ignore[type-arg] # generic only in its newest versions
    """Parser of "channel=paper-report,lab=...,report_number=...,outcome=negative,report_time=..." or a JSON object."""

    name = "evidence"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PresentedEvidence:
        """Return the message; fail with a usage error if a part cannot be read."""
        if isinstance(value, PresentedEvidence):
            return value
        if value.startswith("{"):
            try:
                return ParseDict(json.loads(value), PresentedEvidence())
            except (ParseError, ValueError):
                self.fail(tr("not a PresentedEvidence in JSON"), param, ctx)
        parts: dict[str, Any] = {}
        for part in value.split(","):
            key, _, text = part.partition("=")
            if key.strip() not in _PARTS:
                self.fail(tr("parts are {parts}, each with = and its value", parts=list_words(_PARTS)), param, ctx)
            parts[key.strip()] = _PARTS[key.strip()].convert(text.strip(), param, ctx)
        if "signed_report" not in parts:
            parts.setdefault("outcome", outcome_pb2.OUTCOME_NEGATIVE)
        return PresentedEvidence(**parts)


evidence_option = click.option(
    "--evidence",
    type=EvidenceOf(),
    multiple=True,
    help="A result that the holder shows: channel=paper-report,lab=...,report_number=...,outcome=negative,"
    "sample_time=...,report_time=..., and item=sars-cov-2-antigen for another test than nucleic acid. lab_name=... is"
    " the laboratory's name as printed, in place of its code. What it does not show is left out, but a laboratory or"
    " the number is needed. signed_report=... is the text of a QR code that the laboratory signed; it needs"
    " channel=... alone beside it. Can be repeated.",
)
