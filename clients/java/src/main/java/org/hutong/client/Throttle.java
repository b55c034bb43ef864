package org.hutong.client;

import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/**
 * Decides which calls of one method are sent, by the ends of earlier calls. Calls may end in any thread.
 *
 * <p>A refusal costs a service about a quarter of what an answer costs. So a client that was refused ends a part of its
 * further calls itself (Site Reliability Engineering, O'Reilly 2016, chapter 21, "client-side throttling").
 */
final class Throttle {
  /**
   * How many calls are sent for each answered call. With fewer calls a client would notice later that the overload is
   * over. With more calls the service would spend more time on refusals.
   */
  static final double SENT_FOR_EACH_ANSWER = 2;

  /** The greatest share of calls that is held back, so that a client with few calls notices the end of an overload. */
  private static final double MOST_HELD = 0.9;

  /** The time after which a call counts half. So all calls are sent again some seconds after an overload. */
  private static final double HALF_NANOS = 1e9;

  private final LongSupplier now;
  private final DoubleSupplier chance;
  private long time;
  private double all;
  private double answered;

  /**
   * Makes a throttle for one method.
   *
   * @param now a clock in nanoseconds
   * @param chance returns random numbers from 0 to 1
   */
  Throttle(LongSupplier now, DoubleSupplier chance) {
    this.now = now;
    this.chance = chance;
    this.time = now.getAsLong();
  }

  /** Returns whether the next call is held back. A call that is held back is not sent, and counts as refused. */
  synchronized boolean holds() {
    age();
    double share = (all - SENT_FOR_EACH_ANSWER * answered) / (all + 1);
    if (chance.getAsDouble() >= Math.min(share, MOST_HELD)) {
      return false;
    }
    all++;
    return true;
  }

  /** Counts the end of a call that was sent. */
  synchronized void note(boolean isRefused) {
    age();
    all++;
    if (!isRefused) {
      answered++;
    }
  }

  private void age() {
    long instant = now.getAsLong();
    double weight = Math.pow(0.5, (instant - time) / HALF_NANOS);
    time = instant;
    all *= weight;
    answered *= weight;
  }
}
