package org.hutong.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** The failures since the last progress. */
final class Tries {
  private static final long FIRST_BACKOFF_MILLIS = 200;
  /** An upload continues soon after the service returns. */
  private static final long MAX_BACKOFF_MILLIS = 10_000;

  private final Duration withoutProgress;
  private int failures;
  private long since = System.nanoTime();

  Tries(Duration withoutProgress) {
    this.withoutProgress = withoutProgress;
  }

  void progress() {
    failures = 0;
    since = System.nanoTime();
  }

  /**
   * Waits before the next try. The wait doubles with each failure and is at least as long as the service asks for. If no
   * retry is allowed, throws the exception at once.
   */
  void pause(HutongException failure) throws InterruptedException {
    if (!failure.canBeRetried() || System.nanoTime() - since > withoutProgress.toNanos()) {
      throw failure;
    }
    long backoff = Math.min(FIRST_BACKOFF_MILLIS << Math.min(failures, 10), MAX_BACKOFF_MILLIS);
    failures++;
    // Jitter, so that many laboratories do not call a restarted service in the same instant.
    double jitter = ThreadLocalRandom.current().nextDouble(1.0, 1.25);
    Thread.sleep((long) (Math.max(failure.retryDelay().toMillis(), backoff) * jitter));
  }
}
