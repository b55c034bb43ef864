package org.hutong.client;

import com.google.gson.Gson;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ConnectivityState;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;

/** Opens connections with the options that clients in all languages share. */
public final class Connections {
  private static final Table TABLE = read();

  private record Table(Options channel, Map<String, ?> serviceConfig) {}

  private record Options(
      int maxMessageBytes,
      int keepaliveTimeMillis,
      int keepaliveTimeoutMillis,
      int connectTimeoutMillis,
      int maxReconnectBackoffMillis) {}

  private Connections() {}

  /** Opens a connection in plain text, which services accept on loopback alone. */
  public static ManagedChannel dial(String target) {
    return dial(target, InsecureChannelCredentials.create());
  }

  /**
   * Opens a connection to one service, such as "localhost:50051". It connects when the first call is made.
   *
   * <p>Repeatable calls are tried again while a service is unavailable. Changes without a request_id get one, so that
   * they may be repeated. While a service refuses calls because it is overloaded, a part of the further calls of the
   * method ends at once with the last refusal, without being sent.
   */
  public static ManagedChannel dial(String target, ChannelCredentials credentials) {
    Options options = TABLE.channel();
    AtomicReference<ManagedChannel> opened = new AtomicReference<>();
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(target, credentials)
            .defaultServiceConfig(TABLE.serviceConfig())
            .enableRetry()
            .maxInboundMessageSize(options.maxMessageBytes())
            .keepAliveTime(options.keepaliveTimeMillis(), TimeUnit.MILLISECONDS)
            .keepAliveTimeout(options.keepaliveTimeoutMillis(), TimeUnit.MILLISECONDS)
            .withOption(ChannelOption.CONNECT_TIMEOUT_MILLIS, options.connectTimeoutMillis())
            .intercept(
                new HoldBack(), new Manners(), new QuickReconnect(opened, options.maxReconnectBackoffMillis()))
            .build();
    opened.set(channel);
    return channel;
  }

  private static Table read() {
    try (InputStream file = Connections.class.getResourceAsStream("service-config.json");
        Reader text = new InputStreamReader(file, StandardCharsets.UTF_8)) {
      return new Gson().fromJson(text, Table.class);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Gives each call an x-request-id, and each change a request_id (AIP-155). */
  private static final class Manners implements ClientInterceptor {
    @Override
    public <I, O> ClientCall<I, O> interceptCall(MethodDescriptor<I, O> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<O> listener, Metadata headers) {
          if (!headers.containsKey(HutongException.REQUEST_ID)) {
            headers.put(HutongException.REQUEST_ID, UUID.randomUUID().toString());
          }
          String requestId = headers.get(HutongException.REQUEST_ID);
          super.start(
              new SimpleForwardingClientCallListener<>(listener) {
                @Override
                public void onClose(Status status, Metadata trailers) {
                  if (!status.isOk()) {
                    trailers.discardAll(HutongException.REQUEST_ID);
                    trailers.put(HutongException.REQUEST_ID, requestId);
                  }
                  super.onClose(status, trailers);
                }
              },
              headers);
        }

        @Override
        public void sendMessage(I message) {
          super.sendMessage(withRequestId(message));
        }
      };
    }

    @SuppressWarnings("unchecked")
    private static <I> I withRequestId(I sent) {
      if (sent instanceof Message message) {
        FieldDescriptor field = message.getDescriptorForType().findFieldByName("request_id");
        if (field != null && message.getField(field).equals("")) {
          return (I) message.toBuilder().setField(field, UUID.randomUUID().toString()).build();
        }
      }
      return sent;
    }
  }

  /** Lets a call connect anew at once. gRPC for Java has no option for its backoff, which grows to two minutes. */
  private record QuickReconnect(AtomicReference<ManagedChannel> opened, long backoffMillis, AtomicLong last)
      implements ClientInterceptor {
    QuickReconnect(AtomicReference<ManagedChannel> opened, long backoffMillis) {
      this(opened, backoffMillis, new AtomicLong(System.nanoTime()));
    }

    @Override
    public <I, O> ClientCall<I, O> interceptCall(MethodDescriptor<I, O> method, CallOptions options, Channel next) {
      ManagedChannel channel = opened.get();
      long before = last.get();
      long now = System.nanoTime();
      if (channel != null
          && channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE
          && now - before > TimeUnit.MILLISECONDS.toNanos(backoffMillis)
          && last.compareAndSet(before, now)) {
        channel.resetConnectBackoff();
      }
      return next.newCall(method, options);
    }
  }
}
