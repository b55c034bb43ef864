package org.hutong.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.hutong.error.v1.ErrorReason;

/** A call that failed. Its text never holds an identity. */
public final class HutongException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private static final String DOMAIN = "hutong.org";
  static final Metadata.Key<String> REQUEST_ID =
      Metadata.Key.of("x-request-id", Metadata.ASCII_STRING_MARSHALLER);

  /**
   * A faulty field of a request.
   *
   * @param field its path, such as "tubes[3].persons[0].document"
   * @param reason a name of {@link ErrorReason} without its prefix
   * @param description what is expected
   */
  public record FieldViolation(String field, String reason, String description) {}

  private final transient Status status;
  private final String reasonName;
  private final transient Map<String, String> metadata;
  private final transient List<FieldViolation> fieldViolations;
  private final transient Duration retryDelay;
  private final String requestId;

  private HutongException(
      Status status,
      Throwable cause,
      ErrorInfo info,
      List<FieldViolation> violations,
      Duration retryDelay,
      String requestId) {
    super(text(status, info.getReason(), requestId), cause);
    this.status = status;
    this.reasonName = info.getReason();
    this.metadata = info.getMetadataMap();
    this.fieldViolations = List.copyOf(violations);
    this.retryDelay = retryDelay;
    this.requestId = requestId;
  }

  /** Returns the exception for a failed call; one that is a HutongException already is returned as it is. */
  public static HutongException from(Throwable error) {
    if (error instanceof HutongException known) {
      return known;
    }
    Metadata trailers = Status.trailersFromThrowable(error);
    String requestId = trailers == null ? null : trailers.get(REQUEST_ID);
    com.google.rpc.Status found = StatusProto.fromThrowable(error);
    List<Any> details = found == null ? List.of() : found.getDetailsList();
    return of(Status.fromThrowable(error), error, details, requestId == null ? "" : requestId);
  }

  /** Returns the exception for the error item of a batch. */
  public static HutongException fromStatus(com.google.rpc.Status item) {
    Status status = Status.fromCodeValue(item.getCode()).withDescription(item.getMessage());
    return of(status, null, item.getDetailsList(), "");
  }

  /** Makes a call, and throws a HutongException if it fails: {@code call(() -> stub.verify(request))}. */
  public static <T> T call(Callable<T> call) {
    try {
      return call.call();
    } catch (StatusException | StatusRuntimeException error) {
      throw from(error);
    } catch (RuntimeException error) {
      throw error;
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }

  /** Returns gRPC's code. */
  public Status.Code code() {
    return status.getCode();
  }

  /** Returns why the call failed; ERROR_REASON_UNSPECIFIED if no Hutong service answered or the reason is newer. */
  public ErrorReason reason() {
    try {
      return ErrorReason.valueOf("ERROR_REASON_" + reasonName);
    } catch (IllegalArgumentException unknown) {
      return ErrorReason.ERROR_REASON_UNSPECIFIED;
    }
  }

  /** Returns the name of the reason without its prefix, a newer one too; empty if no Hutong service answered. */
  public String reasonName() {
    return reasonName;
  }

  /** Returns the entries that the documentation of the reason lists. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** Returns the first 20 faulty fields, for INVALID_ARGUMENT. */
  public List<FieldViolation> fieldViolations() {
    return fieldViolations;
  }

  /** Returns the time after which a retry can help; zero if the service gives none. */
  public Duration retryDelay() {
    return retryDelay;
  }

  /** Returns the id under which the logs of the services have the call; empty for an item of a batch. */
  public String requestId() {
    return requestId;
  }

  /** Returns whether the same call can succeed later, unchanged. */
  public boolean canBeRetried() {
    return switch (code()) {
      case UNAVAILABLE, DEADLINE_EXCEEDED -> true;
      // Without a reason, gRPC itself has refused a message that is too large.
      case RESOURCE_EXHAUSTED -> !reasonName.isEmpty();
      // gRPC reports these codes if a connection breaks during a call. A service that returns one adds a reason.
      case UNKNOWN, INTERNAL, CANCELLED -> reasonName.isEmpty();
      default -> false;
    };
  }

  private static HutongException of(Status status, Throwable cause, List<Any> details, String requestId) {
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    List<FieldViolation> violations = new ArrayList<>();
    Duration delay = Duration.ZERO;
    try {
      for (Any detail : details) {
        if (detail.is(ErrorInfo.class) && detail.unpack(ErrorInfo.class).getDomain().equals(DOMAIN)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation each : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.add(new FieldViolation(each.getField(), each.getReason(), each.getDescription()));
          }
        } else if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration asked = detail.unpack(RetryInfo.class).getRetryDelay();
          delay = Duration.ofSeconds(asked.getSeconds(), asked.getNanos());
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // A detail that cannot be read says nothing; the code and the text remain.
    }
    return new HutongException(status, cause, info, violations, delay, requestId);
  }

  private static String text(Status status, String reason, String requestId) {
    String text = status.getCode() + (reason.isEmpty() ? "" : " (" + reason + ")") + ": " + status.getDescription();
    return requestId.isEmpty() ? text : text + ", request " + requestId;
  }
}
