import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";

import {
  HutongError,
  MAX_BATCH_BYTES,
  MAX_TUBES,
  UploadLost,
  UploadSession,
  type UploadOptions,
  type WatchOptions,
  batchesOf,
  hasReason,
  watch,
} from "hutong-client";
import { ErrorInfoSchema } from "hutong-client/google/rpc/error_details_pb";
import { StatusSchema } from "hutong-client/google/rpc/status_pb";
import { ResultsService } from "hutong-client/hutong/results/v1/results_service_pb";
import { type Tube, TubeSchema } from "hutong-client/hutong/results/v1/upload_pb";
import { UploadService } from "hutong-client/hutong/results/v1/upload_service_pb";
import { RefusalService } from "hutong-client/hutong/verification/v1/refusal_service_pb";
import { dial } from "hutong-client/node";

import { Fake, failure } from "./fake.js";

let fake = new Fake();
afterEach(() => {
  fake.close();
  fake = new Fake();
});

function batches(count: number): Tube[][] {
  return Array.from({ length: count }, (_, index) =>
    [2 * index, 2 * index + 1].map((each) => create(TubeSchema, { tubeCode: `T${each}` })),
  );
}

async function session(options: Partial<UploadOptions> = {}): Promise<UploadSession> {
  return new UploadSession(createClient(UploadService, await fake.serve()), { lab: "labs/1", id: "u1", ...options });
}

describe("an upload", () => {
  for (const window of [1, 3]) {
    test(`survives cuts with a window of ${window}`, async () => {
      fake.breakBefore = new Set([2, 7]);
      fake.breakAfter = new Set([4]);
      const offsets: bigint[] = [];
      for await (const { offset } of (await session({ window })).send(batches(6))) {
        offsets.push(offset);
      }
      assert.deepEqual(offsets, [0n, 2n, 4n, 6n, 8n, 10n]);
      assert.deepEqual(fake.tubes, batches(6).flat().map((tube) => tube.tubeCode));
    });
  }

  test("is acknowledged while the source waits", async () => {
    let acknowledge = () => {};
    const acknowledged = new Promise<void>((resolve) => (acknowledge = resolve));
    async function* source() {
      yield batches(1)[0]!;
      await acknowledged;
    }
    for await (const { tubes } of (await session()).send(source())) {
      assert.equal(tubes.length, 2);
      acknowledge();
    }
  });

  test("finds that the service was restored", async () => {
    fake.breakBefore = new Set([4]);
    await assert.rejects(async () => {
      for await (const { offset } of (await session({ window: 1 })).send(batches(6))) {
        if (offset === 4n) {
          fake.tubes.length = 2;
        }
      }
    }, UploadLost);
  });

  test("throws an error of its source after the acknowledgements", async () => {
    function* source() {
      yield batches(1)[0]!;
      throw new TypeError("row 3");
    }
    const offsets: bigint[] = [];
    await assert.rejects(async () => {
      for await (const { offset } of (await session()).send(source())) {
        offsets.push(offset);
      }
    }, TypeError);
    assert.deepEqual(offsets, [0n]);
  });

  test("that only validates fails at the first break", async () => {
    fake.breakBefore = new Set([1]);
    await assert.rejects(
      async () => (await session({ validateOnly: true })).send(batches(1)).next(),
      (error) => hasReason(error, "OVERLOADED"),
    );
    assert.equal(fake.batches, 1);
  });

  test("is cut into batches that the service takes", async () => {
    const cut = async (size: number, count: number) => {
      const tube = create(TubeSchema, { tubeCode: "x".repeat(size) });
      const sizes: number[] = [];
      for await (const batch of batchesOf(Array<Tube>(count).fill(tube))) {
        sizes.push(batch.length);
      }
      return sizes;
    };
    assert.deepEqual(await cut(1, 2500), [MAX_TUBES, MAX_TUBES, 500]);
    assert.deepEqual(await cut(MAX_BATCH_BYTES / 2 - 100, 5), [2, 2, 1]);
  });
});

async function watched(count: number, options: WatchOptions = {}): Promise<string[]> {
  const results = createClient(ResultsService, await fake.serve());
  const seen: string[] = [];
  for await (const { cursor } of watch((cursor, call) => results.watchResults({ cursor }, call), options)) {
    if (seen.push(cursor) === count) {
      break;
    }
  }
  return seen;
}

describe("a watch", () => {
  for (const isSilent of [false, true]) {
    test(`goes on after ${isSilent ? "silence" : "a break"}`, async () => {
      Object.assign(fake, { isSilent, watchBreaks: [3, 2] });
      assert.deepEqual(await watched(8, isSilent ? { silenceMs: 300 } : {}), ["1", "2", "3", "4", "5", "6", "7", "8"]);
      if (isSilent) {
        // On a busy machine a stream can be silent for too long before its first message, and is opened once more.
        assert(fake.cursors.length >= 3);
      } else {
        assert.deepEqual(fake.cursors, ["", "3", "5"]);
      }
    });
  }

  test("ends when its cursor is too old", async () => {
    fake.watchBreaks = [1, -1];
    await assert.rejects(watched(9), (error) => hasReason(error, "CURSOR_TOO_OLD"));
  });

  test("ends with its signal", async () => {
    Object.assign(fake, { isSilent: true, watchBreaks: [1] });
    const controller = new AbortController();
    const results = createClient(ResultsService, await fake.serve());
    const open = (cursor: string, call: object) => results.watchResults({ cursor }, call);
    await assert.rejects(async () => {
      for await (const _ of watch(open, { signal: controller.signal })) {
        setImmediate(() => controller.abort());
      }
    });
    assert.equal(fake.cursors.length, 1);
  });
});

describe("a call", () => {
  test("that changes something is repeated under one request id", async () => {
    fake.failRefusals = 1;
    const request = { requestId: "" };
    await createClient(RefusalService, await fake.serve()).reportRefusal(request);
    assert.equal(fake.requestIds.length, 2);
    assert.equal(fake.requestIds[0], fake.requestIds[1]);
    assert.match(fake.requestIds[0]!, /^[0-9a-f-]{36}$/);
    assert.equal(request.requestId, "");
  });

  test("is repeated that a stopping server has cancelled", async () => {
    fake.failRefusals = 1;
    fake.refusalFailure = new ConnectError("is being stopped", Code.Canceled);
    await createClient(RefusalService, await fake.serve()).reportRefusal({});
    assert.equal(fake.requestIds.length, 2);
  });

  test("is given up after four attempts", async () => {
    fake.failRefusals = 9;
    const call = createClient(RefusalService, await fake.serve()).reportRefusal({});
    await assert.rejects(call, (error) => hasReason(error, "DATABASE_UNAVAILABLE"));
    assert.equal(fake.requestIds.length, 4);
  });

  test("throws a typed error with the id of its request", async () => {
    fake.refuse = failure(Code.InvalidArgument, "REGION_UNKNOWN");
    const call = createClient(RefusalService, await fake.serve()).reportRefusal({});
    await assert.rejects(call, (error) => {
      assert(error instanceof HutongError);
      assert.equal(error.code, Code.InvalidArgument);
      assert.equal(error.reason, "REGION_UNKNOWN");
      assert.deepEqual({ ...error.info }, { field: "x" });
      assert.equal(error.fieldViolations[0]?.field, "region");
      assert.equal(error.retryDelayMs, 10);
      assert.equal(error.canBeRetried, false);
      assert.equal(error.requestId, fake.headers[0]?.get("x-request-id"));
      assert(error.message.includes("REGION_UNKNOWN") && error.message.includes(error.requestId));
      return true;
    });
  });

  for (const [reason, isHeld] of [["OVERLOADED", true], ["BUDGET_EXCEEDED", false]] as const) {
    test(`is ${isHeld ? "mostly held back" : "always sent"} while the service refuses all with ${reason}`, async () => {
      fake.refuse = failure(Code.ResourceExhausted, reason);
      const refusals = createClient(RefusalService, await fake.serve());
      const ids = new Set<string>();
      for (let count = 0; count < 200; count += 1) {
        await assert.rejects(refusals.reportRefusal({}), (error) => {
          assert(error instanceof HutongError && hasReason(error, reason));
          assert.equal(error.code, Code.ResourceExhausted);
          assert.equal(error.retryDelayMs, 10);
          ids.add(error.requestId);
          return true;
        });
      }
      assert.equal(ids.size, 200);
      assert(isHeld ? fake.requestIds.length < 100 : fake.requestIds.length === 200);
    });
  }

  test("that reaches nobody or ends at its deadline has a typed error without a reason", async () => {
    const nobody = createClient(RefusalService, dial("127.0.0.1:1"));
    await assert.rejects(nobody.reportRefusal({}, { timeoutMs: 100 }), (error) => {
      assert(error instanceof HutongError);
      assert(error.code === Code.Unavailable || error.code === Code.DeadlineExceeded);
      return error.reason === "" && error.canBeRetried;
    });
  });
});

test("the error item of a batch becomes a typed error", () => {
  const info = create(ErrorInfoSchema, { reason: "A_NEW_ONE", domain: "hutong.org" });
  const error = HutongError.fromStatus(
    create(StatusSchema, { code: Code.NotFound, message: "none", details: [anyPack(ErrorInfoSchema, info)] }),
  );
  assert.equal(error.code, Code.NotFound);
  assert.equal(error.reason, "A_NEW_ONE");
});
