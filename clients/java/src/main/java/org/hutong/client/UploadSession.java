package org.hutong.client;

import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.hutong.results.v1.GetUploadRequest;
import org.hutong.results.v1.Tube;
import org.hutong.results.v1.TubeBatch;
import org.hutong.results.v1.Upload;
import org.hutong.results.v1.UploadResultsRequest;
import org.hutong.results.v1.UploadResultsResponse;
import org.hutong.results.v1.UploadServiceGrpc;
import org.hutong.results.v1.UploadStart;

/** One upload of one laboratory. It resumes after every break, and so does a session with the same id. */
public final class UploadSession {
  /** The service's limit of tubes in one batch. */
  public static final int MAX_TUBES = 1_000;
  /** The service's limit of 1 MiB for one batch, less 4 KiB for the fields around the tubes. */
  public static final int MAX_BATCH_BYTES = 1024 * 1024 - 4096;
  /**
   * How many batches may wait for their acknowledgement: the service commits one, validates one and queues one while the
   * client writes one.
   */
  public static final int DEFAULT_WINDOW = 4;
  /** How long an upload or a watch goes on without an acknowledgement or a message. */
  public static final Duration DEFAULT_WITHOUT_PROGRESS = Duration.ofMinutes(5);

  private static final long CALL_SECONDS = 30;
  /** The tag and the length of a tube inside its batch. */
  private static final int FRAME_BYTES = 8;

  /**
   * A batch that is durable.
   *
   * @param offset the position of its first tube in the upload
   * @param tubes the batch as it was sent
   * @param response the service's acknowledgement, with the rejections
   */
  public record Acknowledged(long offset, List<Tube> tubes, UploadResultsResponse response) {}

  /** The service holds fewer tubes than it acknowledged, because its database was restored. Start a new upload. */
  public static final class UploadLost extends RuntimeException {
    private static final long serialVersionUID = 1L;

    UploadLost() {
      super("the service holds fewer tubes than it acknowledged");
    }
  }

  /**
   * The limits of a session.
   *
   * @param validateOnly a dry run: everything is validated and nothing stored; it fails at the first break
   * @param window the greatest number of batches that may wait for their acknowledgement
   * @param withoutProgress the time without an acknowledgement after which the session gives up
   */
  public record Options(boolean validateOnly, int window, Duration withoutProgress) {
    /** The defaults. */
    public static final Options DEFAULT = new Options(false, DEFAULT_WINDOW, DEFAULT_WITHOUT_PROGRESS);
  }

  private final UploadServiceGrpc.UploadServiceBlockingV2Stub uploads;
  private final UploadStart start;
  private final Options options;

  /** Makes a session of a laboratory, "labs/{uscc}", with an id that the sender chooses. */
  public UploadSession(Channel channel, String lab, String id) {
    this(channel, UploadStart.newBuilder().setLab(lab).setUploadId(id).build(), Options.DEFAULT);
  }

  /** Makes a session that begins with a frame. The options, and not the frame, say whether it is a dry run. */
  public UploadSession(Channel channel, UploadStart start, Options options) {
    this.uploads = UploadServiceGrpc.newBlockingV2Stub(channel);
    this.start = start.toBuilder().setValidateOnly(options.validateOnly()).build();
    this.options = options;
  }

  /** Returns the upload's resource name, "labs/{uscc}/uploads/{upload_id}". */
  public String name() {
    return start.getLab() + "/uploads/" + start.getUploadId();
  }

  /** Returns the upload as the service knows it; empty if no batch of it was committed. */
  public Optional<Upload> get() {
    GetUploadRequest request = GetUploadRequest.newBuilder().setName(name()).build();
    try {
      return Optional.of(uploads.withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS).getUpload(request).getUpload());
    } catch (StatusException error) {
      if (error.getStatus().getCode() == Status.Code.NOT_FOUND) {
        return Optional.empty();
      }
      throw HutongException.from(error);
    }
  }

  /**
   * Sends batches from an offset on, and gives each once, in order, to a handler when it is durable. A thread takes
   * batches from the source, and holds at most one beyond the window. Transient failures are retried.
   *
   * @throws HutongException another failure of the service
   * @throws UploadLost if the service was restored
   */
  public void send(Iterator<List<Tube>> batches, long offset, Consumer<Acknowledged> handler)
      throws InterruptedException {
    Flight flight = new Flight(batches, options.window(), offset);
    Tries tries = new Tries(options.withoutProgress());
    long[] committed = {offset};
    try {
      while (true) {
        HutongException failure = stream(flight, handler, tries, committed);
        if (failure == null) {
          return;
        }
        while (failure != null) {
          if (options.validateOnly()) {
            throw failure;
          }
          tries.pause(failure);
          failure = lookBack(committed[0]);
        }
      }
    } finally {
      flight.stop();
    }
  }

  /** Checks that the service answers again and has everything that it acknowledged. */
  private HutongException lookBack(long offset) {
    try {
      if (get().map(Upload::getCommittedOffset).orElse(0L) < offset) {
        throw new UploadLost();
      }
      return null;
    } catch (HutongException failure) {
      return failure;
    }
  }

  /** Sends over one stream: first the unacknowledged batches of the previous stream, then new ones. */
  private HutongException stream(Flight flight, Consumer<Acknowledged> handler, Tries tries, long[] committed)
      throws InterruptedException {
    BlockingClientCall<UploadResultsRequest, UploadResultsResponse> call = uploads.uploadResults();
    Thread sender = new Thread(() -> sendAll(call, flight), "hutong-upload-send");
    sender.setDaemon(true);
    sender.start();
    try {
      UploadResultsResponse response;
      while ((response = call.read()) != null) {
        Flight.Batch first = flight.first();
        handler.accept(new Acknowledged(first.offset(), first.tubes(), response));
        flight.removeFirst();
        committed[0] = first.offset() + first.tubes().size();
        tries.progress();
      }
      if (flight.isFinished()) {
        flight.throwFailure();
        return null;
      }
      String text = "the service closed the stream before all batches were acknowledged";
      return HutongException.from(Status.UNKNOWN.withDescription(text).asException());
    } catch (StatusException error) {
      if (flight.isFinished()) {
        // Once every batch is acknowledged, an error at the end of the stream changes nothing.
        flight.throwFailure();
        return null;
      }
      return HutongException.from(error);
    } finally {
      call.cancel("the stream ended", null);
      sender.interrupt();
      sender.join();
    }
  }

  /** Sends frames until they end. A failure to send is thrown by the read. */
  private void sendAll(BlockingClientCall<UploadResultsRequest, UploadResultsResponse> call, Flight flight) {
    try {
      boolean goesOn = call.write(UploadResultsRequest.newBuilder().setStart(start).build());
      for (long position = flight.firstPosition(); goesOn; position++) {
        Flight.Batch batch = flight.await(position);
        if (batch == null) {
          call.halfClose();
          return;
        }
        TubeBatch made = TubeBatch.newBuilder().setOffset(batch.offset()).addAllTubes(batch.tubes()).build();
        goesOn = call.write(UploadResultsRequest.newBuilder().setBatch(made).build());
      }
    } catch (InterruptedException | StatusException | RuntimeException ended) {
      // The stream is over.
    }
  }

  /** Returns tubes as batches within the service's limits of tubes and bytes. */
  public static Iterator<List<Tube>> batchesOf(Iterator<Tube> tubes) {
    return new Iterator<>() {
      private Tube held;

      @Override
      public boolean hasNext() {
        return held != null || tubes.hasNext();
      }

      @Override
      public List<Tube> next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        List<Tube> batch = new ArrayList<>();
        int bytes = 0;
        while (batch.size() < MAX_TUBES && hasNext()) {
          Tube tube = held != null ? held : tubes.next();
          held = tube;
          bytes += tube.getSerializedSize() + FRAME_BYTES;
          if (!batch.isEmpty() && bytes > MAX_BATCH_BYTES) {
            return batch;
          }
          batch.add(tube);
          held = null;
        }
        return batch;
      }
    };
  }
}
