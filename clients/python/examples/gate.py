"""Ask as a gate does whether a person's result is recognised.

python examples/gate.py
"""

from __future__ import annotations

import argparse
import sys

from hutong.type.v1.identity_pb2 import DOCUMENT_TYPE_PASSPORT, IdentityDocument
from hutong.type.v1.purpose_pb2 import PURPOSE_HOTEL
from hutong.verification.v1.decision_pb2 import DecisionOutcome, DecisionReason
from hutong.verification.v1.verification_service_pb2 import VerifyRequest
from hutong_client import HutongError, connect


def main() -> int:
    """Ask, and print the decision."""
    parser = argparse.ArgumentParser(description="Ask as a gate does whether a person's result is recognised.")
    parser.add_argument("--verification", help="the address of Verification")
    parser.add_argument("--number", default="PY0000000", help="the number of a passport")
    parser.add_argument("--region", default="410105", help="the region of the gate")
    options = parser.parse_args()
    document = IdentityDocument(
        type=DOCUMENT_TYPE_PASSPORT, number=options.number, issuing_country="DEU", name="ERIKA MUSTER"
    )
    request = VerifyRequest(document=document, region=options.region, purpose=PURPOSE_HOTEL)
    with connect(verification=options.verification, timeout=5) as node:
        try:
            decision = node.verification.Verify(request).decision
        except HutongError as error:
            for fault in error.field_violations:
                print(f"{fault.field}: {fault.description}")
            print(error, file=sys.stderr)
            return 1
    outcome, reason = DecisionOutcome.Name(decision.outcome), DecisionReason.Name(decision.reason)
    print(f"{outcome}, {reason}: {decision.action_text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
