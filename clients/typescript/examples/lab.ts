// Lab uploads a few results as a laboratory does, and prints what became of them.
//
//     npm run lab -- --results localhost:50051

import { parseArgs } from "node:util";

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";

import { UploadSession, batchesOf } from "hutong-client";
import { type Tube, TubeSchema } from "hutong-client/hutong/results/v1/upload_pb";
import { UploadService } from "hutong-client/hutong/results/v1/upload_service_pb";
import { DocumentType } from "hutong-client/hutong/type/v1/identity_pb";
import { Outcome } from "hutong-client/hutong/type/v1/outcome_pb";
import { dial } from "hutong-client/node";

const { values } = parseArgs({
  options: {
    results: { type: "string", default: process.env["HUTONG_RESULTS_ADDRESS"] ?? "localhost:50051" },
    lab: { type: "string", default: "labs/91220502MA000LAB8G" },
    count: { type: "string", default: "10" },
  },
});
const HOUR_MS = 3_600_000;

/** Yield one tube for each person. The last one has its report before its test, which is rejected. */
function* tubes(count: number, now: number): Generator<Tube> {
  const before = (hours: number) => timestampFromMs(now - hours * HOUR_MS);
  for (let index = 0; index < count; index += 1) {
    yield create(TubeSchema, {
      tubeCode: `TS${now}-${index}`,
      poolSize: 1,
      sampleRegion: "220502",
      sampleTime: before(6),
      receiveTime: before(5),
      testTime: before(3),
      reportTime: before(index === count - 1 ? 10 : 1),
      outcome: Outcome.NEGATIVE,
      persons: [
        {
          document: {
            type: DocumentType.PASSPORT,
            number: `TS${String(index).padStart(7, "0")}`,
            issuingCountry: "DEU",
          },
          reportNumber: `TS-${now}-${index}`,
        },
      ],
    });
  }
}

const now = Date.now();
const connection = dial(values.results);
const uploads = createClient(UploadService, connection);
const session = new UploadSession(uploads, { lab: values.lab, id: `ts-${now}` });
let accepted = 0;
let rejected = 0;
for await (const { offset, response } of session.send(batchesOf(tubes(Number(values.count), now)))) {
  accepted += response.acceptedCount;
  rejected += response.rejectedCount;
  for (const { tubeIndex, violations } of response.rejections) {
    const reasons = violations.map(({ field, reason }) => `${field} ${reason}`);
    console.log(`tube ${offset + BigInt(tubeIndex)}: ${reasons.join(", ")}`);
  }
}
console.log(`accepted ${accepted}, rejected ${rejected}`);
connection.close();
