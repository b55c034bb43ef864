import { HutongError } from "./errors.js";

const FIRST_BACKOFF_MS = 200;
/** An upload continues soon after the service returns. */
const MAX_BACKOFF_MS = 10_000;
/** How long an upload or a watch goes on without an acknowledgement or a message. */
export const DEFAULT_WITHOUT_PROGRESS_MS = 5 * 60_000;
/** The deadline of the library's own calls: longer than any call of a working service takes. */
export const CALL_TIMEOUT_MS = 30_000;

/** The failures since the last progress. */
export class Tries {
  #failures = 0;
  #since = performance.now();

  constructor(
    readonly withoutProgressMs = DEFAULT_WITHOUT_PROGRESS_MS,
    readonly signal?: AbortSignal,
  ) {}

  progress(): void {
    this.#failures = 0;
    this.#since = performance.now();
  }

  /**
   * Wait before the next try. The wait doubles with each failure and is at least as long as the service asks for. If no
   * retry is allowed, throw the error at once.
   */
  async wait(error: unknown): Promise<void> {
    const isOver = performance.now() - this.#since > this.withoutProgressMs;
    if (!(error instanceof HutongError) || !error.canBeRetried || isOver || this.signal?.aborted) {
      throw error;
    }
    const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** this.#failures, MAX_BACKOFF_MS);
    this.#failures += 1;
    // Jitter, so that many laboratories do not call a restarted service in the same instant.
    await pause(Math.max(error.retryDelayMs ?? 0, backoff) * (1 + Math.random() / 4), this.signal);
  }
}

/** Wait for milliseconds. Reject with the reason of the signal if it is aborted before. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
