import { createServer, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";

import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { type Connection, dial } from "hutong-client/node";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "hutong-client/google/rpc/error_details_pb";
import { ResultsService } from "hutong-client/hutong/results/v1/results_service_pb";
import type { TubeBatch } from "hutong-client/hutong/results/v1/upload_pb";
import { UploadService } from "hutong-client/hutong/results/v1/upload_service_pb";
import { RefusalService } from "hutong-client/hutong/verification/v1/refusal_service_pb";

/** Return an error with the details that a service sends. */
export function failure(code: Code, reason: string): ConnectError {
  return new ConnectError(`it is ${reason}`, code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "hutong.org", metadata: { field: "x" } } },
    { desc: BadRequestSchema, value: { fieldViolations: [{ field: "region" }] } },
    { desc: RetryInfoSchema, value: { retryDelay: { nanos: 10_000_000 } } },
  ]);
}

/** A server that keeps one upload in memory by the contract's rules, and breaks where a test says so. */
export class Fake {
  breakBefore = new Set<number>();
  breakAfter = new Set<number>();
  batches = 0;
  tubes: string[] = [];
  cursors: string[] = [];
  /** The messages of the first watches; a negative number for CURSOR_TOO_OLD. */
  watchBreaks: number[] = [];
  isSilent = false;
  requestIds: string[] = [];
  headers: Headers[] = [];
  failRefusals = 0;
  /** The error of the refusals that fail. */
  refusalFailure = failure(Code.Unavailable, "DATABASE_UNAVAILABLE");
  refuse: ConnectError | undefined;

  readonly #closing: (() => void)[] = [];

  /** Serve on a free port until `close`, and return a connection. */
  async serve(): Promise<Connection> {
    const server: Http2Server = createServer(connectNodeAdapter({ routes: (router) => this.#routes(router) }));
    const sessions = new Set<{ destroy(): void }>();
    server.on("session", (session) => sessions.add(session));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const connection = dial(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    this.#closing.push(
      () => connection.close(),
      () => sessions.forEach((session) => session.destroy()),
      () => server.close(),
    );
    return connection;
  }

  close(): void {
    this.#closing.forEach((close) => close());
  }

  #routes(router: ConnectRouter): void {
    const fake = this;
    router.service(UploadService, {
      async *uploadResults(requests) {
        for await (const { frame } of requests) {
          if (frame.case === "batch") {
            yield { committedOffset: fake.#commit(frame.value) };
          }
        }
      },
      getUpload() {
        if (fake.tubes.length === 0) {
          throw failure(Code.NotFound, "NOT_FOUND");
        }
        return { upload: { committedOffset: BigInt(fake.tubes.length) } };
      },
    });
    router.service(ResultsService, {
      async *watchResults({ cursor }, { signal }) {
        fake.cursors.push(cursor);
        const count = fake.watchBreaks[fake.cursors.length - 1] ?? 20;
        if (count < 0) {
          throw failure(Code.OutOfRange, "CURSOR_TOO_OLD");
        }
        const first = Number(cursor) + 1;
        for (let number = first; number < first + count; number += 1) {
          yield { cursor: String(number) };
        }
        if (fake.isSilent) {
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
        }
        throw failure(Code.ResourceExhausted, "OVERLOADED");
      },
    });
    router.service(RefusalService, {
      reportRefusal(request, { requestHeader }) {
        fake.requestIds.push(request.requestId);
        fake.headers.push(requestHeader);
        if (fake.refuse) {
          throw fake.refuse;
        }
        if (fake.requestIds.length <= fake.failRefusals) {
          throw fake.refusalFailure;
        }
        return {};
      },
    });
  }

  #commit(batch: TubeBatch): bigint {
    this.batches += 1;
    if (this.breakBefore.has(this.batches)) {
      throw failure(Code.ResourceExhausted, "OVERLOADED");
    }
    if (batch.offset > this.tubes.length) {
      throw failure(Code.OutOfRange, "UPLOAD_GAP");
    }
    this.tubes.push(...batch.tubes.slice(this.tubes.length - Number(batch.offset)).map((tube) => tube.tubeCode));
    if (this.breakAfter.has(this.batches)) {
      throw new ConnectError("cut", Code.Unknown);
    }
    return BigInt(this.tubes.length);
  }
}
