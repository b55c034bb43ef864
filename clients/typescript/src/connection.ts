import { clone, create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor, type StreamResponse, type Transport } from "@connectrpc/connect";

import { HutongError } from "./errors.js";
import { table } from "./gen/service-config.js";
import { pause } from "./retry.js";
import { Refusals } from "./throttle.js";

const REQUEST_ID = "x-request-id";
/** The trailer in which a service names the milliseconds until the next attempt (gRPC proposal A6). */
const PUSHBACK = "grpc-retry-pushback-ms";

/** The options that Node and browsers share. */
export interface ConnectionOptions {
  /** The bearer token of each call, or a function that returns a fresh one. */
  token?: string | (() => string | Promise<string>);
  /** Interceptors of the caller. They see a repeated call once. */
  interceptors?: Interceptor[];
}

interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoff: string;
  readonly maxBackoff: string;
  readonly backoffMultiplier: number;
  readonly retryableStatusCodes: readonly string[];
}

const POLICIES = new Map<string, RetryPolicy>(
  table.serviceConfig.methodConfig.flatMap(({ name, retryPolicy }) =>
    name.map(({ service, method }) => [`${service}/${method}`, retryPolicy] as const),
  ),
);

/**
 * Repeats a unary call that the contract allows to repeat, as service-config.json says. The service's own delay goes
 * before the table's, and a negative one forbids a repeat. The deadline of the caller holds for all attempts together.
 */
const repeat: Interceptor = (next) => async (request) => {
  const policy = request.stream ? undefined : POLICIES.get(`${request.service.typeName}/${request.method.name}`);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await next(request);
    } catch (error) {
      const failure = ConnectError.from(error);
      // Connect names this one code otherwise than gRPC and the table.
      const code = failure.code === Code.Canceled ? "CANCELLED" : (Code[failure.code]?.toUpperCase() ?? "");
      const asked = failure.metadata.get(PUSHBACK);
      if (
        !policy?.retryableStatusCodes.includes(code) ||
        attempt >= policy.maxAttempts ||
        request.signal.aborted ||
        (asked !== null && !/^\d+$/.test(asked))
      ) {
        throw error;
      }
      const backoff = millis(policy.initialBackoff) * policy.backoffMultiplier ** (attempt - 1);
      const usual = Math.min(backoff, millis(policy.maxBackoff)) * (0.8 + 0.4 * Math.random());
      await pause(asked === null ? usual : Number(asked), request.signal);
    }
  }
};

/** Return the interceptors of a connection, outermost first. */
export function interceptorsOf(options: ConnectionOptions): Interceptor[] {
  return [...(options.interceptors ?? []), repeat];
}

/**
 * Return a transport whose failed calls throw a HutongError. It adds the token, an `x-request-id`, and a `request_id` to
 * changes that have none, so that they may be repeated. While a service refuses calls because it is overloaded, a part of
 * the further calls of the method ends at once with the last refusal, without being sent.
 */
export function withManners(transport: Transport, options: ConnectionOptions): Transport {
  const refusals = new Map<unknown, Refusals>();
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const { headers, requestId } = await prepare(header, options);
      const ofMethod = refusals.get(method) ?? new Refusals();
      refusals.set(method, ofMethod);
      const held = ofMethod.ofNext(requestId);
      if (held) {
        throw held;
      }
      try {
        const message = withRequestId(method.input, input);
        const answer = await transport.unary(method, signal, timeoutMs, headers, message, contextValues);
        ofMethod.note();
        return answer;
      } catch (error) {
        const failure = HutongError.from(error, requestId);
        ofMethod.note(failure);
        throw failure;
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const { headers, requestId } = await prepare(header, options);
      try {
        const response = await transport.stream(method, signal, timeoutMs, headers, input, contextValues);
        return { ...response, message: mapped(response.message, requestId) } as StreamResponse<any, any>;
      } catch (error) {
        throw HutongError.from(error, requestId);
      }
    },
  };
}

function mapped<T>(messages: AsyncIterable<T>, requestId: string): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = messages[Symbol.asyncIterator]();
      const fail = (error: unknown) => {
        throw HutongError.from(error, requestId);
      };
      return {
        next: () => iterator.next().catch(fail),
        return: async (value) => (await iterator.return?.(value)) ?? { done: true, value },
      };
    },
  };
}

async function prepare(header: HeadersInit | undefined, options: ConnectionOptions) {
  const headers = new Headers(header);
  const requestId = headers.get(REQUEST_ID) ?? newId();
  headers.set(REQUEST_ID, requestId);
  if (options.token !== undefined && !headers.has("authorization")) {
    const token = typeof options.token === "string" ? options.token : await options.token();
    headers.set("authorization", `Bearer ${token}`);
  }
  return { headers, requestId };
}

function withRequestId<I extends DescMessage>(schema: I, input: MessageInitShape<I>): MessageInitShape<I> {
  if (!schema.fields.some((field) => field.name === "request_id")) {
    return input;
  }
  const message = create(schema, input) as { requestId?: string };
  if (message.requestId) {
    return message as MessageInitShape<I>;
  }
  const named = clone(schema, message as never) as { requestId?: string };
  named.requestId = newId();
  return named as MessageInitShape<I>;
}

/** Return a new UUID. `crypto.randomUUID` is missing in pages that were loaded without TLS. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function millis(duration: string): number {
  return Number.parseFloat(duration) * 1000;
}
