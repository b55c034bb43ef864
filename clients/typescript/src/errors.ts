import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import type { ErrorReason } from "./gen/hutong/error/v1/error_reason_pb.js";

const DOMAIN = "hutong.org";

/** A name of `hutong.error.v1.ErrorReason` without its prefix. A newer service may have further names. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED"> | (string & {});

/** A faulty field of a request. */
export interface FieldViolation {
  /** The path of the field, such as "tubes[3].persons[0].document". */
  readonly field: string;
  /** Why the value is refused. */
  readonly reason: Reason;
  /** What is expected. */
  readonly description: string;
}

/**
 * A call that failed. Its text never holds an identity.
 *
 *     if (error instanceof HutongError) {
 *       switch (error.reason) {
 *         case "CURSOR_TOO_OLD": ...
 *
 * It is a `ConnectError` too, with its code and metadata.
 */
export class HutongError extends ConnectError {
  /** Why the call failed; empty if no Hutong service answered. */
  readonly reason: Reason;
  /** The entries that the documentation of the reason lists. */
  readonly info: Readonly<Record<string, string>>;
  /** The first 20 faulty fields, for `Code.InvalidArgument`. */
  readonly fieldViolations: readonly FieldViolation[];
  /** The time in milliseconds after which a retry can help; undefined if the service gives none. */
  readonly retryDelayMs: number | undefined;
  /** The `x-request-id` under which the logs of the services have the call; empty for an item of a batch. */
  readonly requestId: string;

  constructor(error: ConnectError, requestId = "") {
    super(error.rawMessage, error.code, error.metadata, undefined, error.cause ?? error);
    this.details = error.details;
    this.requestId = requestId;
    const info = error.findDetails(ErrorInfoSchema).find((each) => each.domain === DOMAIN);
    this.reason = info?.reason ?? "";
    this.info = info?.metadata ?? {};
    this.fieldViolations = error
      .findDetails(BadRequestSchema)
      .flatMap((each) => each.fieldViolations)
      .map(({ field, reason, description }) => ({ field, reason, description }));
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryDelayMs = delay && durationMs(delay);
    if (this.reason) {
      this.message = `${this.message} (${this.reason})`;
    }
    if (requestId) {
      this.message = `${this.message}, request ${requestId}`;
    }
  }

  /** Return the error of a failed call as a HutongError. */
  static override from(error: unknown, requestId?: string | Code): HutongError {
    if (error instanceof HutongError) {
      return error;
    }
    return new HutongError(ConnectError.from(error), typeof requestId === "string" ? requestId : "");
  }

  /** Return the error item of a batch as a HutongError. */
  static fromStatus(item: Status): HutongError {
    const made = new ConnectError(item.message, item.code);
    made.details = item.details.map(({ typeUrl, value }) => ({
      type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
    return new HutongError(made);
  }

  /** Whether the same call can succeed later, unchanged. */
  get canBeRetried(): boolean {
    switch (this.code) {
      case Code.Unavailable:
      case Code.DeadlineExceeded:
        return true;
      case Code.ResourceExhausted:
        // Without a reason, gRPC itself has refused a message that is too large.
        return this.reason !== "";
      case Code.Unknown:
      case Code.Internal:
      case Code.Canceled:
      case Code.Aborted:
        // These codes are reported if a connection breaks during a call. A service that returns one adds a reason.
        return this.reason === "";
      default:
        return false;
    }
  }

  // ConnectError accepts every error with its name and fields as its instance. HutongError accepts only its own.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this, value);
  }
}

/** Return whether an error is a failed call with a reason, such as "CURSOR_TOO_OLD". */
export function hasReason(error: unknown, reason: Reason): boolean {
  return error instanceof HutongError && error.reason === reason;
}

/** The service holds fewer tubes than it acknowledged, because its database was restored. Start a new upload. */
export class UploadLost extends Error {
  override name = "UploadLost";

  constructor() {
    super("the service holds fewer tubes than it acknowledged");
  }
}
