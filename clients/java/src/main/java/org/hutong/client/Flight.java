package org.hutong.client;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.hutong.results.v1.Tube;

/**
 * The batches that are not acknowledged yet. A thread takes them from the source, so that a slow source delays no
 * acknowledgement.
 */
final class Flight {
  record Batch(long offset, List<Tube> tubes) {}

  private final List<Batch> batches = new ArrayList<>();
  private final int window;
  private long removed;
  private boolean drained;
  private boolean stopped;
  private RuntimeException failure;

  Flight(Iterator<List<Tube>> source, int window, long offset) {
    this.window = window;
    Thread taker = new Thread(() -> take(source, offset), "hutong-upload-take");
    taker.setDaemon(true);
    taker.start();
  }

  /** Returns the position of the oldest batch, counted from the beginning of the session. */
  synchronized long firstPosition() {
    return removed;
  }

  /** Returns the batch at a position as soon as it is there; null once the source has ended before it. */
  synchronized Batch await(long position) throws InterruptedException {
    while (position - removed >= batches.size()) {
      if (drained) {
        return null;
      }
      wait();
    }
    return batches.get((int) (position - removed));
  }

  synchronized Batch first() {
    if (batches.isEmpty()) {
      throw new IllegalStateException("the service acknowledged a batch that was not sent");
    }
    return batches.get(0);
  }

  synchronized void removeFirst() {
    batches.remove(0);
    removed++;
    notifyAll();
  }

  /** Returns whether the source has ended and every batch of it is acknowledged. */
  synchronized boolean isFinished() {
    return drained && batches.isEmpty();
  }

  /** Throws the exception of the source, if there is one. */
  synchronized void throwFailure() {
    if (failure != null) {
      throw failure;
    }
  }

  /** Takes no more batches from the source. */
  synchronized void stop() {
    stopped = true;
    notifyAll();
  }

  private void take(Iterator<List<Tube>> source, long first) {
    RuntimeException thrown = null;
    try {
      long offset = first;
      while (source.hasNext()) {
        List<Tube> tubes = source.next();
        if (!add(new Batch(offset, tubes))) {
          return;
        }
        offset += tubes.size();
      }
    } catch (InterruptedException interrupted) {
      return;
    } catch (RuntimeException error) {
      thrown = error;
    }
    end(thrown);
  }

  private synchronized boolean add(Batch batch) throws InterruptedException {
    while (batches.size() >= window && !stopped) {
      wait();
    }
    batches.add(batch);
    notifyAll();
    return !stopped;
  }

  private synchronized void end(RuntimeException thrown) {
    failure = thrown;
    drained = true;
    notifyAll();
  }
}
