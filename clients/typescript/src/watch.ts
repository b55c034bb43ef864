import { type CallOptions, Code, ConnectError } from "@connectrpc/connect";

import { HutongError } from "./errors.js";
import { Tries } from "./retry.js";

/** How long a watch may be silent. A heartbeat comes at least every 5 seconds. */
export const DEFAULT_SILENCE_MS = 15_000;

/** The limits of a watch. */
export interface WatchOptions {
  /** The cursor after which the watch begins; without it, at the start that the contract names for an empty cursor. */
  cursor?: string;
  /** The time in milliseconds without a message after which the stream is opened again. */
  silenceMs?: number;
  /** The time in milliseconds without a message after which the watch gives up. */
  withoutProgressMs?: number;
  /** Ends the watch. */
  signal?: AbortSignal;
}

/**
 * Yield the messages of a watch, heartbeats included, each once and in order, until the loop is left or the signal is
 * aborted. `open` begins a stream after a cursor:
 *
 *     for await (const message of watch((cursor, options) => results.watchResults({ cursor }, options))) { ... }
 *
 * After a break the stream is opened again with the cursor of the last message. Three kinds of errors end the watch:
 * CURSOR_TOO_OLD, after which everything must be read anew; another error that a retry cannot cure; and the last error
 * when the watch gives up.
 */
export async function* watch<M extends { cursor: string }>(
  open: (cursor: string, options: CallOptions) => AsyncIterable<M>,
  options: WatchOptions = {},
): AsyncGenerator<M, never> {
  const silenceMs = options.silenceMs ?? DEFAULT_SILENCE_MS;
  const tries = new Tries(options.withoutProgressMs, options.signal);
  let cursor = options.cursor ?? "";
  for (;;) {
    const controller = new AbortController();
    const stop = () => controller.abort(options.signal?.reason);
    const silent = () => controller.abort(new ConnectError("the watch was silent for too long", Code.Canceled));
    options.signal?.addEventListener("abort", stop, { once: true });
    if (options.signal?.aborted) {
      stop();
    }
    let timer = setTimeout(silent, silenceMs);
    let failure: unknown;
    try {
      for await (const message of open(cursor, { signal: controller.signal })) {
        clearTimeout(timer);
        tries.progress();
        yield message;
        cursor = message.cursor;
        timer = setTimeout(silent, silenceMs);
      }
      failure = HutongError.from(new ConnectError("the service closed the watch", Code.Unknown));
    } catch (error) {
      failure = error;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", stop);
      controller.abort();
    }
    await tries.wait(failure);
  }
}
