// Page asks through Envoy whether a person's result is recognised, and shows the answer or the error.
//
//     npm run page    # serves it on http://127.0.0.1:8081, beside `make envoy`

import { createClient } from "@connectrpc/connect";

import { HutongError } from "hutong-client";
import { DocumentType } from "hutong-client/hutong/type/v1/identity_pb";
import { Purpose } from "hutong-client/hutong/type/v1/purpose_pb";
import { DecisionOutcome, DecisionReason } from "hutong-client/hutong/verification/v1/decision_pb";
import { VerificationService } from "hutong-client/hutong/verification/v1/verification_service_pb";
import { dialWeb } from "hutong-client/web";

const form = document.querySelector("form")!;
const output = document.querySelector("output")!;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = (name: string) => String(new FormData(form).get(name));
  const verification = createClient(VerificationService, dialWeb(given("envoy"), { token: given("token") }));
  try {
    const { decision } = await verification.verify(
      {
        who: {
          case: "document",
          value: { type: DocumentType.RESIDENT_ID_CARD, number: given("number"), name: given("name") },
        },
        region: given("region"),
        purpose: Purpose.HOTEL,
      },
      { timeoutMs: 5000 },
    );
    const { outcome, reason, actionText } = decision!;
    output.textContent = `${DecisionOutcome[outcome]}, ${DecisionReason[reason]}: ${actionText}`;
  } catch (error) {
    const faults = error instanceof HutongError ? error.fieldViolations.map((each) => `${each.field} ${each.reason}`) : [];
    output.textContent = [String(error), ...faults].join("\n");
  }
});
