package org.hutong.client.examples;

import com.google.protobuf.Timestamp;
import io.grpc.ManagedChannel;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.hutong.client.Connections;
import org.hutong.client.UploadSession;
import org.hutong.results.v1.Rejection;
import org.hutong.results.v1.Tube;
import org.hutong.results.v1.TubePerson;
import org.hutong.type.v1.DocumentType;
import org.hutong.type.v1.IdentityDocument;
import org.hutong.type.v1.Outcome;

/** Uploads a few results as a laboratory does, and prints what became of them: {@code mvn exec:java@lab}. */
public final class Lab {
  private static final int COUNT = 10;

  private Lab() {}

  public static void main(String[] arguments) throws InterruptedException {
    String address = Arguments.of(arguments, "results", "HUTONG_RESULTS_ADDRESS", "localhost:50051");
    String lab = Arguments.of(arguments, "lab", "", "labs/91220502MA000LAB8G");
    Instant now = Instant.now();
    ManagedChannel channel = Connections.dial(address);
    UploadSession session = new UploadSession(channel, lab, "java-" + now.toEpochMilli());
    Iterator<Tube> tubes = IntStream.range(0, COUNT).mapToObj(index -> tube(index, now)).iterator();
    int[] counts = new int[2];
    try {
      session.send(
          UploadSession.batchesOf(tubes),
          0,
          batch -> {
            counts[0] += batch.response().getAcceptedCount();
            counts[1] += batch.response().getRejectedCount();
            for (Rejection rejection : batch.response().getRejectionsList()) {
              long at = batch.offset() + rejection.getTubeIndex();
              rejection
                  .getViolationsList()
                  .forEach(each -> System.out.printf("tube %d: %s %s%n", at, each.getField(), each.getReason()));
            }
          });
      System.out.printf("accepted %d, rejected %d%n", counts[0], counts[1]);
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  /** Returns the tube of one person. The last one has its report before its test, which is rejected. */
  private static Tube tube(int index, Instant now) {
    return Tube.newBuilder()
        .setTubeCode("JV" + now.toEpochMilli() + "-" + index)
        .setPoolSize(1)
        .setSampleRegion("220502")
        .setSampleTime(before(now, 6))
        .setReceiveTime(before(now, 5))
        .setTestTime(before(now, 3))
        .setReportTime(before(now, index == COUNT - 1 ? 10 : 1))
        .setOutcome(Outcome.OUTCOME_NEGATIVE)
        .addPersons(
            TubePerson.newBuilder()
                .setDocument(
                    IdentityDocument.newBuilder()
                        .setType(DocumentType.DOCUMENT_TYPE_PASSPORT)
                        .setNumber(String.format("JV%07d", index))
                        .setIssuingCountry("DEU"))
                .setReportNumber("JV-" + now.toEpochMilli() + "-" + index))
        .build();
  }

  private static Timestamp before(Instant now, long hours) {
    Instant instant = now.minus(Duration.ofHours(hours));
    return Timestamp.newBuilder().setSeconds(instant.getEpochSecond()).build();
  }
}
