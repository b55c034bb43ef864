package org.hutong.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import org.hutong.error.v1.ErrorReason;

/**
 * Holds back the unary calls of one connection that an overloaded service would refuse. Other errors, and budgets of the
 * caller, hold no calls back.
 */
final class HoldBack implements ClientInterceptor {
  private final Map<String, Refusals> methods = new ConcurrentHashMap<>();

  private record Refusal(Status status, Metadata trailers) {}

  /** The refusals of one method. */
  private static final class Refusals {
    private final Throttle throttle =
        new Throttle(System::nanoTime, () -> ThreadLocalRandom.current().nextDouble());
    private volatile Refusal last;

    /** Returns the refusal with which the next call ends without being sent; null if it is sent. */
    Refusal ofNext() {
      Refusal known = last;
      return known == null || !throttle.holds() ? null : known;
    }

    void note(Status status, Metadata trailers) {
      boolean isRefused =
          status.getCode() == Status.Code.RESOURCE_EXHAUSTED
              && HutongException.from(status.asRuntimeException(trailers)).reason()
                  == ErrorReason.ERROR_REASON_OVERLOADED;
      if (isRefused) {
        last = new Refusal(status, copyOf(trailers));
      }
      throttle.note(isRefused);
    }
  }

  /** A call that ends with the last refusal when it is started. */
  private static final class HeldCall<I, O> extends ClientCall<I, O> {
    private final Refusal refusal;

    HeldCall(Refusal refusal) {
      this.refusal = refusal;
    }

    @Override
    public void start(Listener<O> listener, Metadata headers) {
      listener.onClose(refusal.status(), copyOf(refusal.trailers()));
    }

    @Override
    public void request(int count) {}

    @Override
    public void cancel(String message, Throwable cause) {}

    @Override
    public void halfClose() {}

    @Override
    public void sendMessage(I message) {}
  }

  private static Metadata copyOf(Metadata metadata) {
    Metadata copy = new Metadata();
    copy.merge(metadata);
    return copy;
  }

  @Override
  public <I, O> ClientCall<I, O> interceptCall(MethodDescriptor<I, O> method, CallOptions options, Channel next) {
    if (method.getType() != MethodType.UNARY) {
      return next.newCall(method, options);
    }
    Refusals refusals = methods.computeIfAbsent(method.getFullMethodName(), name -> new Refusals());
    Refusal refusal = refusals.ofNext();
    if (refusal != null) {
      return new HeldCall<>(refusal);
    }
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<O> listener, Metadata headers) {
        super.start(
            new SimpleForwardingClientCallListener<>(listener) {
              @Override
              public void onClose(Status status, Metadata trailers) {
                refusals.note(status, trailers);
                super.onClose(status, trailers);
              }
            },
            headers);
      }
    };
  }
}
