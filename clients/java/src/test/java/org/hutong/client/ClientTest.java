package org.hutong.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.hutong.error.v1.ErrorReason;
import org.hutong.results.v1.ResultsServiceGrpc;
import org.hutong.results.v1.Tube;
import org.hutong.results.v1.UploadStart;
import org.hutong.results.v1.WatchResultsRequest;
import org.hutong.results.v1.WatchResultsResponse;
import org.hutong.verification.v1.RefusalServiceGrpc;
import org.hutong.verification.v1.ReportRefusalRequest;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The layer above the stubs, against a server that breaks. */
@Timeout(60)
final class ClientTest {
  private final Fake fake = new Fake();

  @AfterEach
  void close() {
    fake.close();
  }

  private static List<List<Tube>> batches(int count) {
    return IntStream.range(0, count)
        .mapToObj(
            index ->
                Stream.of(2 * index, 2 * index + 1)
                    .map(each -> Tube.newBuilder().setTubeCode("T" + each).build())
                    .toList())
        .toList();
  }

  private UploadSession session(int window) throws Exception {
    UploadStart start = UploadStart.newBuilder().setLab("labs/1").setUploadId("u1").build();
    Duration minute = Duration.ofMinutes(1);
    return new UploadSession(fake.serve(), start, new UploadSession.Options(false, window, minute));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3})
  void uploadSurvivesCuts(int window) throws Exception {
    fake.breakBefore = Set.of(2, 7);
    fake.breakAfter = Set.of(4);
    List<Long> offsets = new ArrayList<>();
    session(window).send(batches(6).iterator(), 0, batch -> offsets.add(batch.offset()));
    assertEquals(List.of(0L, 2L, 4L, 6L, 8L, 10L), offsets);
    assertEquals(batches(6).stream().flatMap(List::stream).map(Tube::getTubeCode).toList(), fake.tubes);
  }

  @Test
  void acknowledgementDoesNotWaitForTheSource() throws Exception {
    CountDownLatch acknowledged = new CountDownLatch(1);
    Iterator<List<Tube>> first = batches(1).iterator();
    Iterator<List<Tube>> source =
        new Iterator<>() {
          @Override
          public boolean hasNext() {
            if (!first.hasNext()) {
              try {
                acknowledged.await();
              } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
              }
            }
            return first.hasNext();
          }

          @Override
          public List<Tube> next() {
            return first.next();
          }
        };
    session(4).send(source, 0, batch -> acknowledged.countDown());
    assertEquals(0, acknowledged.getCount());
  }

  @Test
  void restoredServiceIsFound() {
    fake.breakBefore = Set.of(4);
    assertThrows(
        UploadSession.UploadLost.class,
        () ->
            session(1)
                .send(
                    batches(6).iterator(),
                    0,
                    batch -> {
                      if (batch.offset() == 4) {
                        fake.tubes.subList(2, fake.tubes.size()).clear();
                      }
                    }));
  }

  @Test
  void errorOfTheSourceComesAfterTheAcknowledgements() throws Exception {
    List<Long> offsets = new ArrayList<>();
    Stream<List<Tube>> source =
        IntStream.range(0, 2)
            .mapToObj(
                index -> {
                  if (index == 1) {
                    throw new ArithmeticException("row 3");
                  }
                  return batches(1).get(0);
                });
    UploadSession session = session(4);
    assertThrows(
        ArithmeticException.class, () -> session.send(source.iterator(), 0, batch -> offsets.add(batch.offset())));
    assertEquals(List.of(0L), offsets);
  }

  @Test
  void uploadIsCutIntoBatchesThatTheServiceTakes() throws Exception {
    session(1);
    assertEquals(List.of(1000, 1000, 500), sizes(1, 2500));
    assertEquals(List.of(2, 2, 1), sizes(UploadSession.MAX_BATCH_BYTES / 2 - 100, 5));
  }

  private static List<Integer> sizes(int size, int count) {
    Tube tube = Tube.newBuilder().setTubeCode("x".repeat(size)).build();
    List<Integer> found = new ArrayList<>();
    UploadSession.batchesOf(Collections.nCopies(count, tube).iterator())
        .forEachRemaining(batch -> found.add(batch.size()));
    return found;
  }

  private List<String> watched(int count, Duration silence) throws Exception {
    ResultsServiceGrpc.ResultsServiceBlockingV2Stub results = ResultsServiceGrpc.newBlockingV2Stub(fake.serve());
    List<String> seen = new ArrayList<>();
    Watch.from(
            cursor -> results.watchResults(WatchResultsRequest.newBuilder().setCursor(cursor).build()),
            WatchResultsResponse::getCursor)
        .within(silence, Duration.ofMinutes(1))
        .run(
            "",
            message -> {
              seen.add(message.getCursor());
              return seen.size() < count;
            });
    return seen;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void watchGoesOnAfterABreak(boolean silent) throws Exception {
    fake.silent = silent;
    fake.watchBreaks = List.of(3, 2);
    List<String> seen = watched(8, silent ? Duration.ofMillis(500) : Watch.DEFAULT_SILENCE);
    assertEquals(List.of("1", "2", "3", "4", "5", "6", "7", "8"), seen);
    if (silent) {
      // On a busy machine a stream can be silent for too long before its first message, and is opened once more.
      assertTrue(fake.cursors.size() >= 3);
    } else {
      assertEquals(List.of("", "3", "5"), fake.cursors);
    }
  }

  @Test
  void cursorTooOldEndsTheWatchWithATypedError() {
    fake.watchBreaks = List.of(1, -1);
    HutongException error = assertThrows(HutongException.class, () -> watched(9, Watch.DEFAULT_SILENCE));
    assertEquals(ErrorReason.ERROR_REASON_CURSOR_TOO_OLD, error.reason());
    assertEquals(Status.Code.OUT_OF_RANGE, error.code());
    assertEquals("x", error.metadata().get("field"));
    assertEquals("region", error.fieldViolations().get(0).field());
    assertEquals(Duration.ofMillis(10), error.retryDelay());
    assertFalse(error.canBeRetried());
    assertTrue(error.getMessage().contains("CURSOR_TOO_OLD"));
    assertEquals(36, error.requestId().length());
  }

  @Test
  void changeIsRepeatedUnderOneRequestId() throws Exception {
    fake.failRefusals = 1;
    ManagedChannel channel = fake.serve();
    RefusalServiceGrpc.newBlockingStub(channel).reportRefusal(ReportRefusalRequest.getDefaultInstance());
    assertEquals(2, fake.requestIds.size());
    assertEquals(fake.requestIds.get(0), fake.requestIds.get(1));
    assertEquals(36, fake.requestIds.get(0).length());
  }

  @ParameterizedTest
  @ValueSource(strings = {"OVERLOADED", "BUDGET_EXCEEDED"})
  void overloadedServiceGetsFewOfTheCalls(String reason) throws Exception {
    fake.refuse = Fake.failure(Code.RESOURCE_EXHAUSTED, reason);
    RefusalServiceGrpc.RefusalServiceBlockingStub refusals = RefusalServiceGrpc.newBlockingStub(fake.serve());
    Set<String> ids = new HashSet<>();
    for (int count = 0; count < 200; count++) {
      HutongException error =
          assertThrows(
              HutongException.class,
              () -> HutongException.call(() -> refusals.reportRefusal(ReportRefusalRequest.getDefaultInstance())));
      assertEquals(reason, error.reasonName());
      assertTrue(error.retryDelay().toMillis() > 0);
      ids.add(error.requestId());
    }
    assertEquals(200, ids.size());
    if (reason.equals("OVERLOADED")) {
      assertTrue(fake.requestIds.size() < 100);
    } else {
      assertEquals(200, fake.requestIds.size());
    }
  }

  @Test
  void errorItemOfABatchBecomesATypedError() throws Exception {
    fake.serve();
    ErrorInfo info = ErrorInfo.newBuilder().setReason("A_NEW_ONE").setDomain("hutong.org").build();
    HutongException error =
        HutongException.fromStatus(
            com.google.rpc.Status.newBuilder()
                .setCode(Code.NOT_FOUND_VALUE)
                .addDetails(Any.pack(info))
                .build());
    assertEquals(Status.Code.NOT_FOUND, error.code());
    assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, error.reason());
    assertEquals("A_NEW_ONE", error.reasonName());
  }
}
