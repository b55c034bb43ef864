import assert from "node:assert/strict";
import { test } from "node:test";

import { SENT_FOR_EACH_ANSWER, Throttle } from "../src/throttle.js";

/** A service that answers some calls a second at most, a client that calls it, and their clock. */
class Service {
  now = 100_000;
  #state = 1;
  readonly throttle = new Throttle(
    () => this.now,
    // A linear congruential generator, so that the test draws the same numbers in each run.
    () => (this.#state = (this.#state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31,
  );

  constructor(public most: number) {}

  /** Make calls for a second. Return how many were sent and answered. */
  second(calls: number): [sent: number, answered: number] {
    let sent = 0;
    let answered = 0;
    for (let index = 0; index < calls; index += 1) {
      this.now += 1000 / calls;
      if (this.throttle.holds()) {
        continue;
      }
      sent += 1;
      // The places of a second become free one after the other.
      const isRefused = answered >= (this.most * (index + 1)) / calls;
      answered += isRefused ? 0 : 1;
      this.throttle.note(isRefused);
    }
    return [sent, answered];
  }
}

for (const times of [2, 4, 10]) {
  test(`at ${times} times the capacity little more is sent than can be answered`, () => {
    const most = 100;
    const service = new Service(most);
    assert.deepEqual(service.second(most), [most, most]);
    service.second(times * most);
    let [sent, answered] = [0, 0];
    for (let second = 0; second < 10; second += 1) {
      const counts = service.second(times * most);
      sent += counts[0];
      answered += counts[1];
    }
    assert(sent <= 1.2 * SENT_FOR_EACH_ANSWER * answered, `${sent} sent, ${answered} answered`);
    assert(answered >= 9 * most, `${answered} answered`);
    for (let second = 0; second < 10; second += 1) {
      service.second(most);
    }
    assert.deepEqual(service.second(most), [most, most]);
  });
}

test("a client that was refused everything notices the end", () => {
  const service = new Service(0);
  let sent = 0;
  for (let second = 0; second < 10; second += 1) {
    [sent] = service.second(20);
  }
  assert(sent <= 6, `${sent} sent`);
  service.most = 100;
  for (let second = 0; second < 12; second += 1) {
    service.second(20);
  }
  assert.deepEqual(service.second(20), [20, 20]);
});
