// Gate asks whether a person's result is recognised, and prints what a gate does.
//
//     npm run gate -- --verification localhost:50053

import { parseArgs } from "node:util";

import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import { HutongError } from "hutong-client";
import { DocumentType } from "hutong-client/hutong/type/v1/identity_pb";
import { Purpose } from "hutong-client/hutong/type/v1/purpose_pb";
import { DecisionOutcome, DecisionReason } from "hutong-client/hutong/verification/v1/decision_pb";
import { VerificationService, VerifyRequestSchema } from "hutong-client/hutong/verification/v1/verification_service_pb";
import { dial } from "hutong-client/node";

const { values } = parseArgs({
  options: {
    verification: { type: "string", default: process.env["HUTONG_VERIFICATION_ADDRESS"] ?? "localhost:50053" },
    number: { type: "string", default: "TS0000000" },
    region: { type: "string", default: "410105" },
  },
});

const connection = dial(values.verification);
try {
  const request = create(VerifyRequestSchema, {
    who: {
      case: "document",
      value: { type: DocumentType.PASSPORT, number: values.number, issuingCountry: "DEU", name: "ERIKA MUSTER" },
    },
    region: values.region,
    purpose: Purpose.HOTEL,
  });
  const { decision } = await createClient(VerificationService, connection).verify(request, { timeoutMs: 5000 });
  if (decision) {
    const { outcome, reason, actionText } = decision;
    console.log(`${DecisionOutcome[outcome]}, ${DecisionReason[reason]}: ${actionText}`);
  }
} catch (error) {
  if (!(error instanceof HutongError)) {
    throw error;
  }
  for (const { field, description } of error.fieldViolations) {
    console.log(`${field}: ${description}`);
  }
  console.error(error.message);
  process.exitCode = 1;
} finally {
  connection.close();
}
