package org.hutong.client.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.ServiceDescriptor;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.ClientCalls;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.hutong.client.Connections;
import org.hutong.client.Decisions;
import org.hutong.client.HutongException;
import org.hutong.client.Pages;
import org.hutong.client.UploadSession;
import org.hutong.client.Watch;
import org.hutong.results.v1.LabServiceGrpc;
import org.hutong.results.v1.ResultsServiceGrpc;
import org.hutong.results.v1.Tube;
import org.hutong.results.v1.Upload;
import org.hutong.results.v1.UploadServiceGrpc;
import org.hutong.results.v1.UploadStart;
import org.hutong.results.v1.WatchResultsRequest;
import org.hutong.results.v1.WatchResultsResponse;
import org.hutong.verification.v1.BatchVerifyRequest;
import org.hutong.verification.v1.Decision;
import org.hutong.verification.v1.RefusalServiceGrpc;
import org.hutong.verification.v1.StreamVerifyRequest;
import org.hutong.verification.v1.StreamVerifyResponse;
import org.hutong.verification.v1.VerificationServiceGrpc;
import org.hutong.verification.v1.VerificationServiceGrpc.VerificationServiceBlockingV2Stub;
import org.hutong.verification.v1.VerifyItem;
import org.hutong.verification.v1.VerifyRequest;

/** The adapter of the Java client. tests/conformance/README.md describes the protocol. */
public final class Adapter {
  private static final List<ServiceDescriptor> SERVICES =
      List.of(
          LabServiceGrpc.getServiceDescriptor(),
          ResultsServiceGrpc.getServiceDescriptor(),
          UploadServiceGrpc.getServiceDescriptor(),
          VerificationServiceGrpc.getServiceDescriptor(),
          RefusalServiceGrpc.getServiceDescriptor());
  private static final PrintStream OUTPUT =
      new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  private final Map<String, ManagedChannel> channels = new ConcurrentHashMap<>();
  private final Map<Integer, Operation> operations = new ConcurrentHashMap<>();

  /** A command under way. */
  private static final class Operation {
    final int id;
    final BlockingQueue<Optional<List<Tube>>> batches = new LinkedBlockingQueue<>();
    volatile boolean isLeft;
    volatile Thread thread;

    Operation(int id) {
      this.id = id;
    }

    void emit(String event, JsonObject line) {
      line.addProperty("event", event);
      write(id, line);
    }
  }

  private Adapter() {}

  public static void main(String[] arguments) throws IOException {
    Adapter adapter = new Adapter();
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      JsonObject command = JsonParser.parseString(line).getAsJsonObject();
      Operation operation = new Operation(command.get("id").getAsInt());
      adapter.operations.put(operation.id, operation);
      Thread thread = new Thread(() -> adapter.carryOut(operation, command), "operation-" + operation.id);
      thread.setDaemon(true);
      operation.thread = thread;
      thread.start();
    }
    System.exit(0);
  }

  private void carryOut(Operation operation, JsonObject command) {
    JsonObject line = new JsonObject();
    try {
      line.add("result", perform(operation, command));
    } catch (Exception error) {
      if (operation.isLeft) {
        line.add("result", new JsonObject());
      } else {
        line.add("error", describe(error));
      }
    }
    write(operation.id, line);
  }

  private JsonObject perform(Operation operation, JsonObject command) throws Exception {
    return switch (text(command, "op")) {
      case "dial" -> dial(command);
      case "close" -> close(command);
      case "constants" -> constants();
      case "call" -> call(command);
      case "pages" -> pages(operation, command);
      case "upload" -> upload(operation, command);
      case "more" -> put(command, Optional.of(tubes(command)));
      case "finish" -> put(command, Optional.empty());
      case "upload_state" -> uploadState(command);
      case "watch" -> watch(operation, command);
      case "cancel" -> cancel(command);
      case "gate" -> gate(command);
      case "batch_verify" -> batchVerify(command);
      case "stream_verify" -> streamVerify(operation, command);
      default -> throw new IllegalArgumentException("unknown op " + text(command, "op"));
    };
  }

  private JsonObject dial(JsonObject command) throws IOException {
    String address = text(command, "address");
    JsonElement tls = command.get("tls");
    ManagedChannel channel;
    if (tls == null || tls.isJsonNull()) {
      channel = Connections.dial(address);
    } else {
      JsonObject files = tls.getAsJsonObject();
      channel =
          Connections.dial(
              address,
              TlsChannelCredentials.newBuilder()
                  .trustManager(new File(text(files, "ca")))
                  .keyManager(new File(text(files, "certificate")), new File(text(files, "key")))
                  .build());
    }
    channels.put(text(command, "channel"), channel);
    return new JsonObject();
  }

  private JsonObject close(JsonObject command) {
    channel(command).shutdownNow();
    return new JsonObject();
  }

  private static JsonObject constants() {
    JsonObject found = new JsonObject();
    found.addProperty("max_tubes", UploadSession.MAX_TUBES);
    found.addProperty("max_batch_bytes", UploadSession.MAX_BATCH_BYTES);
    found.addProperty("silence_ms", Watch.DEFAULT_SILENCE.toMillis());
    return found;
  }

  private JsonObject call(JsonObject command) throws Exception {
    MethodDescriptor<Message, Message> method = method(command);
    Message request = read(command.get("request"), prototype(method).newBuilderForType());
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(millis(command), TimeUnit.MILLISECONDS);
    Message response =
        HutongException.call(() -> ClientCalls.blockingUnaryCall(channel(command), method, options, request));
    return with("response", json(response));
  }

  private JsonObject pages(Operation operation, JsonObject command) throws Exception {
    MethodDescriptor<Message, Message> method = method(command);
    Message request = read(command.get("request"), prototype(method).newBuilderForType());
    Pages.Method<Message, Message> list =
        asked -> ClientCalls.blockingUnaryCall(channel(command), method, CallOptions.DEFAULT, asked);
    for (Message page : Pages.of(request, list)) {
      operation.emit("page", with("page", json(page)));
    }
    return new JsonObject();
  }

  private JsonObject upload(Operation operation, JsonObject command) throws Exception {
    List<Tube> tubes = tubes(command);
    int size = command.get("batch").getAsInt();
    Iterator<List<Tube>> batches =
        size > 0
            ? Stream.iterate(0, at -> at < tubes.size(), at -> at + size)
                .map(at -> tubes.subList(at, Math.min(at + size, tubes.size())))
                .iterator()
            : UploadSession.batchesOf(tubes.iterator());
    boolean isHeld = command.has("hold") && command.get("hold").getAsBoolean();
    long offset = command.has("offset") ? command.get("offset").getAsLong() : 0;
    session(command)
        .send(
            isHeld ? held(batches, operation) : batches,
            offset,
            acknowledged -> {
              JsonObject event = with("response", json(acknowledged.response()));
              event.addProperty("offset", acknowledged.offset());
              event.addProperty("tubes", acknowledged.tubes().size());
              operation.emit("acknowledged", event);
            });
    return new JsonObject();
  }

  /** Returns batches, and after them those that the driver gives, until it ends the source. */
  private static Iterator<List<Tube>> held(Iterator<List<Tube>> batches, Operation operation) {
    return new Iterator<>() {
      private Optional<List<Tube>> following;

      @Override
      public boolean hasNext() {
        if (batches.hasNext()) {
          return true;
        }
        if (following == null) {
          try {
            following = operation.batches.take();
          } catch (InterruptedException interrupted) {
            following = Optional.empty();
          }
        }
        return following.isPresent();
      }

      @Override
      public List<Tube> next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        if (batches.hasNext()) {
          return batches.next();
        }
        List<Tube> batch = following.get();
        following = null;
        return batch;
      }
    };
  }

  private JsonObject put(JsonObject command, Optional<List<Tube>> batch) {
    operations.get(command.get("of").getAsInt()).batches.add(batch);
    return new JsonObject();
  }

  private JsonObject uploadState(JsonObject command) {
    Optional<Upload> found = session(command).get();
    return with("upload", found.map(Adapter::json).orElse(null));
  }

  private JsonObject watch(Operation operation, JsonObject command) throws Exception {
    WatchResultsRequest.Builder request = WatchResultsRequest.newBuilder();
    read(command.get("request"), request);
    ResultsServiceGrpc.ResultsServiceBlockingV2Stub results = ResultsServiceGrpc.newBlockingV2Stub(channel(command));
    Watch<WatchResultsResponse> watch =
        Watch.from(
            cursor -> results.watchResults(request.setCursor(cursor).build()), WatchResultsResponse::getCursor);
    JsonElement silence = command.get("silence_ms");
    if (silence != null && !silence.isJsonNull()) {
      watch = watch.within(Duration.ofMillis(silence.getAsLong()), UploadSession.DEFAULT_WITHOUT_PROGRESS);
    }
    watch.run(
        request.getCursor(),
        message -> {
          operation.emit("message", with("message", json(message)));
          return true;
        });
    return new JsonObject();
  }

  private JsonObject cancel(JsonObject command) {
    Operation operation = operations.get(command.get("of").getAsInt());
    operation.isLeft = true;
    operation.thread.interrupt();
    return new JsonObject();
  }

  private JsonObject gate(JsonObject command) throws Exception {
    VerifyRequest.Builder request = VerifyRequest.newBuilder();
    read(command.get("request"), request);
    Decision decision = HutongException.call(() -> verification(command).verify(request.build())).getDecision();
    JsonObject result = new JsonObject();
    result.addProperty("opens", Decisions.letsIn(decision));
    return result;
  }

  private JsonObject batchVerify(JsonObject command) throws Exception {
    BatchVerifyRequest.Builder request = BatchVerifyRequest.newBuilder();
    for (JsonElement each : command.getAsJsonArray("requests")) {
      read(each, request.addRequestsBuilder());
    }
    JsonArray items = new JsonArray();
    for (VerifyItem item :
        HutongException.call(() -> verification(command).batchVerify(request.build())).getItemsList()) {
      items.add(item.hasError() ? failed(item.getError()) : with("decision", json(item.getDecision())));
    }
    return with("items", items);
  }

  private JsonObject streamVerify(Operation operation, JsonObject command) throws Exception {
    BlockingClientCall<StreamVerifyRequest, StreamVerifyResponse> call =
        VerificationServiceGrpc.newBlockingV2Stub(channel(command)).streamVerify();
    for (JsonElement each : command.getAsJsonArray("questions")) {
      JsonObject question = each.getAsJsonObject();
      StreamVerifyRequest.Builder asked = StreamVerifyRequest.newBuilder();
      asked.setCorrelationId(text(question, "correlation_id"));
      read(question.get("request"), asked.getRequestBuilder());
      call.write(asked.build());
    }
    call.halfClose();
    StreamVerifyResponse answer;
    while ((answer = call.read()) != null) {
      JsonObject event =
          answer.hasError() ? failed(answer.getError()) : with("decision", json(answer.getDecision()));
      event.addProperty("correlation_id", answer.getCorrelationId());
      operation.emit("answer", event);
    }
    return new JsonObject();
  }

  private ManagedChannel channel(JsonObject command) {
    return channels.get(text(command, "channel"));
  }

  private VerificationServiceBlockingV2Stub verification(JsonObject command) {
    return VerificationServiceGrpc.newBlockingV2Stub(channel(command))
        .withDeadlineAfter(millis(command), TimeUnit.MILLISECONDS);
  }

  private UploadSession session(JsonObject command) {
    UploadStart.Builder start =
        UploadStart.newBuilder().setLab(text(command, "lab")).setUploadId(text(command, "upload_id"));
    if (command.has("items")) {
      command.getAsJsonArray("items").forEach(item -> start.addItems(item.getAsString()));
    }
    return new UploadSession(channel(command), start.build(), UploadSession.Options.DEFAULT);
  }

  @SuppressWarnings("unchecked")
  private static MethodDescriptor<Message, Message> method(JsonObject command) {
    String name = text(command, "method");
    for (ServiceDescriptor service : SERVICES) {
      for (MethodDescriptor<?, ?> method : service.getMethods()) {
        if (method.getFullMethodName().equals(name)) {
          return (MethodDescriptor<Message, Message>) method;
        }
      }
    }
    throw new IllegalArgumentException("no method " + name);
  }

  private static Message prototype(MethodDescriptor<Message, Message> method) {
    return ((MethodDescriptor.PrototypeMarshaller<Message>) method.getRequestMarshaller()).getMessagePrototype();
  }

  private static List<Tube> tubes(JsonObject command) throws InvalidProtocolBufferException {
    List<Tube> tubes = new ArrayList<>();
    for (JsonElement each : command.getAsJsonArray("tubes")) {
      tubes.add((Tube) read(each, Tube.newBuilder()));
    }
    return tubes;
  }

  private static JsonObject failed(com.google.rpc.Status item) {
    return with("error", describe(HutongException.fromStatus(item)));
  }

  /** Returns an error as the protocol has it. */
  private static JsonObject describe(Exception error) {
    JsonObject made = new JsonObject();
    Exception found =
        error instanceof StatusException || error instanceof StatusRuntimeException
            ? HutongException.from(error)
            : error;
    made.addProperty("message", String.valueOf(found.getMessage()));
    made.addProperty("type", found.getClass().getSimpleName());
    if (found instanceof HutongException failed) {
      made.addProperty("typed", true);
      made.addProperty("code", failed.code().name());
      made.addProperty("reason", failed.reasonName());
      JsonObject metadata = new JsonObject();
      failed.metadata().forEach(metadata::addProperty);
      made.add("metadata", metadata);
      JsonArray violations = new JsonArray();
      for (HutongException.FieldViolation each : failed.fieldViolations()) {
        JsonObject violation = new JsonObject();
        violation.addProperty("field", each.field());
        violation.addProperty("reason", each.reason());
        violations.add(violation);
      }
      made.add("field_violations", violations);
      made.addProperty("retry_delay_ms", failed.retryDelay().toMillis());
      made.addProperty("can_be_retried", failed.canBeRetried());
    }
    return made;
  }

  private static String text(JsonObject object, String name) {
    return object.get(name).getAsString();
  }

  private static long millis(JsonObject command) {
    return command.get("timeout_ms").getAsLong();
  }

  private static JsonObject with(String name, JsonElement value) {
    JsonObject made = new JsonObject();
    made.add(name, value);
    return made;
  }

  private static Message read(JsonElement value, Message.Builder builder) throws InvalidProtocolBufferException {
    JsonFormat.parser().merge(value.toString(), builder);
    return builder.build();
  }

  private static JsonElement json(Message message) {
    try {
      return JsonParser.parseString(JsonFormat.printer().print(message));
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalStateException(error);
    }
  }

  private static void write(int id, JsonObject line) {
    line.addProperty("id", id);
    synchronized (OUTPUT) {
      OUTPUT.println(line);
    }
  }
}
