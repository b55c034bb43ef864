import { Code, ConnectError } from "@connectrpc/connect";

import { HutongError } from "./errors.js";

/**
 * How many calls are sent for each answered call. With fewer calls a client would notice later that the overload is over.
 * With more calls the service would spend more time on refusals.
 */
export const SENT_FOR_EACH_ANSWER = 2;
/** The greatest share of calls that is held back, so that a client with few calls notices the end of an overload. */
const MOST_HELD = 0.9;
/** The time after which a call counts half. So all calls are sent again some seconds after an overload. */
const HALF_MS = 1000;

/**
 * Decides which calls of one method are sent, by the ends of earlier calls.
 *
 * A refusal costs a service about a quarter of what an answer costs. So a client that was refused ends a part of its
 * further calls itself (Site Reliability Engineering, O'Reilly 2016, chapter 21, "client-side throttling").
 */
export class Throttle {
  #time: number;
  #all = 0;
  #answered = 0;

  /** `now` is a clock in milliseconds, and `chance` returns random numbers from 0 to 1. */
  constructor(
    readonly now: () => number = () => performance.now(),
    readonly chance: () => number = Math.random,
  ) {
    this.#time = now();
  }

  /** Return whether the next call is held back. A call that is held back is not sent, and counts as refused. */
  holds(): boolean {
    this.#age();
    const share = (this.#all - SENT_FOR_EACH_ANSWER * this.#answered) / (this.#all + 1);
    if (this.chance() >= Math.min(share, MOST_HELD)) {
      return false;
    }
    this.#all += 1;
    return true;
  }

  /** Count the end of a call that was sent. */
  note(isRefused: boolean): void {
    this.#age();
    this.#all += 1;
    this.#answered += isRefused ? 0 : 1;
  }

  #age(): void {
    const now = this.now();
    const weight = 0.5 ** ((now - this.#time) / HALF_MS);
    this.#time = now;
    this.#all *= weight;
    this.#answered *= weight;
  }
}

/**
 * The refusals of one method because of the service's load. Other errors, and budgets of the caller, hold no calls back.
 */
export class Refusals {
  readonly #throttle = new Throttle();
  #last: HutongError | undefined;

  /** Return the error with which the next call ends without being sent; undefined if it is sent. */
  ofNext(requestId: string): HutongError | undefined {
    if (this.#last === undefined || !this.#throttle.holds()) {
      return undefined;
    }
    const { rawMessage, code, metadata, details } = this.#last;
    const held = new ConnectError(rawMessage, code, metadata);
    held.details = details;
    return new HutongError(held, requestId);
  }

  /** Note the end of a call that was sent, with its error. */
  note(error?: HutongError): void {
    const isRefused = error?.code === Code.ResourceExhausted && error.reason === "OVERLOADED";
    if (isRefused) {
      this.#last = error;
    }
    this.#throttle.note(isRefused);
  }
}
