package org.hutong.client.examples;

import io.grpc.ManagedChannel;
import java.util.concurrent.TimeUnit;
import org.hutong.client.Connections;
import org.hutong.client.HutongException;
import org.hutong.type.v1.DocumentType;
import org.hutong.type.v1.IdentityDocument;
import org.hutong.type.v1.Purpose;
import org.hutong.verification.v1.Decision;
import org.hutong.verification.v1.VerificationServiceGrpc;
import org.hutong.verification.v1.VerificationServiceGrpc.VerificationServiceBlockingStub;
import org.hutong.verification.v1.VerifyRequest;

/** Asks whether a person's result is recognised, and prints what a gate does: {@code mvn exec:java@gate}. */
public final class Gate {
  private Gate() {}

  public static void main(String[] arguments) throws InterruptedException {
    String address = Arguments.of(arguments, "verification", "HUTONG_VERIFICATION_ADDRESS", "localhost:50053");
    VerifyRequest request =
        VerifyRequest.newBuilder()
            .setDocument(
                IdentityDocument.newBuilder()
                    .setType(DocumentType.DOCUMENT_TYPE_PASSPORT)
                    .setNumber(Arguments.of(arguments, "number", "", "JV0000000"))
                    .setIssuingCountry("DEU")
                    .setName("ERIKA MUSTER"))
            .setRegion(Arguments.of(arguments, "region", "", "410105"))
            .setPurpose(Purpose.PURPOSE_HOTEL)
            .build();
    ManagedChannel channel = Connections.dial(address);
    VerificationServiceBlockingStub verification = VerificationServiceGrpc.newBlockingStub(channel);
    boolean failed = false;
    try {
      Decision decision =
          HutongException.call(() -> verification.withDeadlineAfter(20, TimeUnit.SECONDS).verify(request)).getDecision();
      System.out.printf("%s, %s: %s%n", decision.getOutcome(), decision.getReason(), decision.getActionText());
    } catch (HutongException error) {
      error.fieldViolations().forEach(each -> System.out.println(each.field() + ": " + each.description()));
      System.err.println(error.getMessage());
      failed = true;
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
    if (failed) {
      System.exit(1);
    }
  }
}
