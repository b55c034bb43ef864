// The adapter of the TypeScript client on Node. tests/conformance/README.md describes the protocol.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { create, type DescMessage, type DescService, fromJson, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";

import {
  DEFAULT_SILENCE_MS,
  HutongError,
  MAX_BATCH_BYTES,
  MAX_TUBES,
  UploadSession,
  batchesOf,
  letsIn,
  pages,
  watch,
} from "hutong-client";
import type { Status } from "hutong-client/google/rpc/status_pb";
import { LabService } from "hutong-client/hutong/results/v1/lab_service_pb";
import {
  ResultsService,
  WatchResultsRequestSchema,
  WatchResultsResponseSchema,
} from "hutong-client/hutong/results/v1/results_service_pb";
import { type Tube, TubeSchema, UploadSchema } from "hutong-client/hutong/results/v1/upload_pb";
import { UploadResultsResponseSchema, UploadService } from "hutong-client/hutong/results/v1/upload_service_pb";
import { type Decision, DecisionSchema } from "hutong-client/hutong/verification/v1/decision_pb";
import { RefusalService } from "hutong-client/hutong/verification/v1/refusal_service_pb";
import {
  StreamVerifyRequestSchema,
  VerificationService,
  VerifyRequestSchema,
} from "hutong-client/hutong/verification/v1/verification_service_pb";
import { type Connection, dial } from "hutong-client/node";

const SERVICES: DescService[] = [LabService, ResultsService, UploadService, VerificationService, RefusalService];

interface Command {
  id: number;
  op: string;
  of: number;
  channel: string;
  address: string;
  tls?: { ca: string; certificate: string; key: string } | null;
  method: string;
  request: JsonValue;
  requests: JsonValue[];
  timeout_ms: number;
  lab: string;
  upload_id: string;
  tubes: JsonValue[];
  batch: number;
  offset?: number;
  hold?: boolean;
  items?: string[];
  silence_ms?: number | null;
  questions: { correlation_id: string; request: JsonValue }[];
}

type Fields = Record<string, unknown>;

/** A command under way. */
class Operation {
  readonly controller = new AbortController();
  readonly #batches: (Tube[] | undefined)[] = [];
  #wake = () => {};

  constructor(readonly id: number) {}

  /** Give one more batch, or undefined to end the source. */
  put(batch: Tube[] | undefined): void {
    this.#batches.push(batch);
    this.#wake();
  }

  /** Yield batches until the source is ended. */
  async *batches(): AsyncGenerator<Tube[]> {
    for (;;) {
      while (this.#batches.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      const batch = this.#batches.shift();
      if (batch === undefined) {
        return;
      }
      yield batch;
    }
  }

  emit(event: string, fields: Fields): void {
    write({ id: this.id, event, ...fields });
  }
}

const connections = new Map<string, Connection>();
const operations = new Map<number, Operation>();

const handlers: Record<string, (command: Command, operation: Operation) => Promise<Fields | void> | Fields | void> = {
  dial({ channel, address, tls }) {
    const read = (file: string) => readFileSync(file, "utf-8");
    const files = tls && { tls: { ca: read(tls.ca), cert: read(tls.certificate), key: read(tls.key) } };
    connections.set(channel, dial(address, files ?? {}));
  },

  close({ channel }) {
    connections.get(channel)?.close();
  },

  constants() {
    return { max_tubes: MAX_TUBES, max_batch_bytes: MAX_BATCH_BYTES, silence_ms: DEFAULT_SILENCE_MS };
  },

  async call({ channel, method, request, timeout_ms: timeoutMs }) {
    const { call, input, output } = methodOf(channel, method);
    return { response: toJson(output, await call(fromJson(input, request), { timeoutMs })) };
  },

  async pages({ channel, method, request }, operation) {
    const { call, input, output } = methodOf(channel, method);
    for await (const page of pages(call, fromJson(input, request))) {
      operation.emit("page", { page: toJson(output, page) });
    }
  },

  async upload(command, operation) {
    const tubes = command.tubes.map((tube) => fromJson(TubeSchema, tube));
    async function* source(): AsyncGenerator<Tube[]> {
      if (command.batch > 0) {
        for (let at = 0; at < tubes.length; at += command.batch) {
          yield tubes.slice(at, at + command.batch);
        }
      } else {
        yield* batchesOf(tubes);
      }
      if (command.hold) {
        yield* operation.batches();
      }
    }
    for await (const { offset, tubes: sent, response } of sessionOf(command).send(source(), BigInt(command.offset ?? 0))) {
      const answer = toJson(UploadResultsResponseSchema, response);
      operation.emit("acknowledged", { offset: Number(offset), tubes: sent.length, response: answer });
    }
  },

  more({ of, tubes }) {
    operations.get(of)?.put(tubes.map((tube) => fromJson(TubeSchema, tube)));
  },

  finish({ of }) {
    operations.get(of)?.put(undefined);
  },

  async upload_state(command) {
    const upload = await sessionOf(command).get();
    return { upload: upload ? toJson(UploadSchema, upload) : null };
  },

  async watch(command, operation) {
    const client = createClient(ResultsService, connectionOf(command.channel));
    const asked = fromJson(WatchResultsRequestSchema, command.request);
    const { signal } = operation.controller;
    const limits = command.silence_ms == null ? {} : { silenceMs: command.silence_ms };
    const opened = watch((cursor, options) => client.watchResults({ ...asked, cursor }, options), {
      cursor: asked.cursor,
      signal,
      ...limits,
    });
    for await (const message of opened) {
      operation.emit("message", { message: toJson(WatchResultsResponseSchema, message) });
    }
  },

  cancel({ of }) {
    operations.get(of)?.controller.abort();
  },

  async gate({ channel, request, timeout_ms: timeoutMs }) {
    const client = createClient(VerificationService, connectionOf(channel));
    const { decision } = await client.verify(fromJson(VerifyRequestSchema, request), { timeoutMs });
    return { opens: letsIn(decision ?? create(DecisionSchema)) };
  },

  async batch_verify({ channel, requests, timeout_ms: timeoutMs }) {
    const client = createClient(VerificationService, connectionOf(channel));
    const asked = { requests: requests.map((request) => fromJson(VerifyRequestSchema, request)) };
    const { items } = await client.batchVerify(asked, { timeoutMs });
    return { items: items.map(({ item }) => answer(item)) };
  },

  async stream_verify({ channel, questions }, operation) {
    const client = createClient(VerificationService, connectionOf(channel));
    async function* asked() {
      for (const { correlation_id: correlationId, request } of questions) {
        yield create(StreamVerifyRequestSchema, { correlationId, request: fromJson(VerifyRequestSchema, request) });
      }
    }
    for await (const { correlationId, item } of client.streamVerify(asked())) {
      operation.emit("answer", { correlation_id: correlationId, ...answer(item) });
    }
  },
};

type Item = { case: "decision"; value: Decision } | { case: "error"; value: Status } | { case: undefined; value?: undefined };

function answer(item: Item): Fields {
  if (item.case === "error") {
    return { error: describe(HutongError.fromStatus(item.value)) };
  }
  return { decision: toJson(DecisionSchema, item.value ?? create(DecisionSchema)) };
}

function connectionOf(channel: string): Connection {
  const found = connections.get(channel);
  if (found === undefined) {
    throw new Error(`no channel ${channel}`);
  }
  return found;
}

function sessionOf({ channel, lab, upload_id: id, items = [] }: Command): UploadSession {
  return new UploadSession(createClient(UploadService, connectionOf(channel)), { lab, id, items });
}

type Call = (request: Message, options?: object) => Promise<Message & { nextPageToken: string }>;

/** Return a unary method of a client, such as "hutong.results.v1.LabService/GetLab". */
function methodOf(channel: string, path: string): { call: Call; input: DescMessage; output: DescMessage } {
  const [name, methodName] = path.split("/");
  const service = SERVICES.find((each) => each.typeName === name);
  const method = service?.methods.find((each) => each.name === methodName);
  if (service === undefined || method === undefined) {
    throw new Error(`no method ${path}`);
  }
  const client = createClient(service, connectionOf(channel)) as unknown as Record<string, Call>;
  return { call: client[method.localName]!, input: method.input, output: method.output };
}

/** Return an error as the protocol has it. */
function describe(error: unknown): Fields {
  if (!(error instanceof HutongError)) {
    return { message: String(error), type: typeof error };
  }
  const code = Code[error.code] ?? "";
  return {
    typed: true,
    type: error.constructor.name,
    code: code.replace(/(?!^)[A-Z]/g, "_$&").toUpperCase(),
    reason: error.reason,
    message: error.message,
    metadata: error.info,
    field_violations: error.fieldViolations.map(({ field, reason }) => ({ field, reason })),
    retry_delay_ms: error.retryDelayMs ?? 0,
    can_be_retried: error.canBeRetried,
  };
}

function write(fields: Fields): void {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

async function carryOut(command: Command): Promise<void> {
  const operation = new Operation(command.id);
  operations.set(command.id, operation);
  try {
    const handle = handlers[command.op];
    if (handle === undefined) {
      throw new Error(`unknown op ${command.op}`);
    }
    write({ id: command.id, result: (await handle(command, operation)) ?? {} });
  } catch (error) {
    if (operation.controller.signal.aborted) {
      write({ id: command.id, result: {} });
    } else {
      write({ id: command.id, error: describe(error) });
    }
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  void carryOut(JSON.parse(line) as Command);
}
process.exit(0);
