package org.hutong.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ThrottleTest {
  private record Counts(int sent, int answered) {}

  /** A service that answers some calls a second at most, a client that calls it, and their clock. */
  private static final class Service {
    private int most;
    private long now = 100_000_000_000L;
    private final Throttle throttle = new Throttle(() -> now, new Random(1)::nextDouble);

    Service(int most) {
      this.most = most;
    }

    /** Makes calls for a second. */
    Counts second(int calls) {
      int sent = 0;
      int answered = 0;
      for (int index = 0; index < calls; index++) {
        now += 1_000_000_000L / calls;
        if (throttle.holds()) {
          continue;
        }
        sent++;
        // The places of a second become free one after the other.
        boolean isRefused = answered * calls >= most * (index + 1);
        if (!isRefused) {
          answered++;
        }
        throttle.note(isRefused);
      }
      return new Counts(sent, answered);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 4, 10})
  void littleMoreIsSentThanCanBeAnswered(int times) {
    int most = 100;
    Service service = new Service(most);
    assertEquals(new Counts(most, most), service.second(most));
    service.second(times * most);
    int sent = 0;
    int answered = 0;
    for (int second = 0; second < 10; second++) {
      Counts counts = service.second(times * most);
      sent += counts.sent();
      answered += counts.answered();
    }
    assertTrue(sent <= 1.2 * Throttle.SENT_FOR_EACH_ANSWER * answered, sent + " sent, " + answered + " answered");
    assertTrue(answered >= 9 * most, answered + " answered");
    for (int second = 0; second < 10; second++) {
      service.second(most);
    }
    assertEquals(new Counts(most, most), service.second(most));
  }

  @Test
  void clientThatWasRefusedEverythingNoticesTheEnd() {
    Service service = new Service(0);
    Counts last = new Counts(0, 0);
    for (int second = 0; second < 10; second++) {
      last = service.second(20);
    }
    assertTrue(last.sent() <= 6, last.sent() + " sent");
    service.most = 100;
    for (int second = 0; second < 12; second++) {
      service.second(20);
    }
    assertEquals(new Counts(20, 20), service.second(20));
  }
}
