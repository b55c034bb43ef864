package org.hutong.client;

import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.function.Predicate;

/**
 * A watch that is opened again at its last cursor after a break, or after silence.
 *
 * <pre>{@code
 * Watch.from(cursor -> results.watchResults(WatchResultsRequest.newBuilder().setCursor(cursor).build()),
 *         WatchResultsResponse::getCursor)
 *     .run("", message -> handle(message));
 * }</pre>
 *
 * @param <M> the messages
 */
public final class Watch<M> {
  /** How long a watch may be silent. A heartbeat comes at least every 5 seconds. */
  public static final Duration DEFAULT_SILENCE = Duration.ofSeconds(15);

  private final Function<String, BlockingClientCall<?, M>> open;
  private final Function<M, String> cursorOf;
  private final Duration silence;
  private final Duration withoutProgress;

  private Watch(
      Function<String, BlockingClientCall<?, M>> open,
      Function<M, String> cursorOf,
      Duration silence,
      Duration withoutProgress) {
    this.open = open;
    this.cursorOf = cursorOf;
    this.silence = silence;
    this.withoutProgress = withoutProgress;
  }

  /** Returns a watch with the default limits. {@code open} begins a stream after a cursor, with a BlockingV2Stub. */
  public static <M> Watch<M> from(Function<String, BlockingClientCall<?, M>> open, Function<M, String> cursorOf) {
    return new Watch<>(open, cursorOf, DEFAULT_SILENCE, UploadSession.DEFAULT_WITHOUT_PROGRESS);
  }

  /**
   * Returns the same watch with other limits.
   *
   * @param silence the time without a message after which the stream is opened again
   * @param withoutProgress the time without a message after which the watch gives up
   */
  public Watch<M> within(Duration silence, Duration withoutProgress) {
    return new Watch<>(open, cursorOf, silence, withoutProgress);
  }

  /**
   * Gives the messages after a cursor, heartbeats included, to a handler, each once and in order, until the handler
   * returns false or the thread is interrupted.
   *
   * @throws HutongException CURSOR_TOO_OLD, after which everything must be read anew; another error that a retry cannot
   *     cure; or the last error when the watch gives up
   */
  public void run(String cursor, Predicate<M> handler) throws InterruptedException {
    Tries tries = new Tries(withoutProgress);
    String last = cursor;
    while (true) {
      BlockingClientCall<?, M> call = open.apply(last);
      HutongException failure;
      try {
        M message;
        while ((message = call.read(silence.toMillis(), TimeUnit.MILLISECONDS)) != null) {
          tries.progress();
          if (!handler.test(message)) {
            return;
          }
          last = cursorOf.apply(message);
        }
        failure = failed("the service closed the watch");
      } catch (TimeoutException silent) {
        failure = failed("the watch was silent for too long");
      } catch (StatusException error) {
        failure = HutongException.from(error);
      } finally {
        call.cancel("the watch ended", null);
      }
      tries.pause(failure);
    }
  }

  private static HutongException failed(String text) {
    return HutongException.from(Status.UNKNOWN.withDescription(text).asException());
  }
}
