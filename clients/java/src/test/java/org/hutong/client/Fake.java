package org.hutong.client;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.hutong.results.v1.GetUploadRequest;
import org.hutong.results.v1.GetUploadResponse;
import org.hutong.results.v1.ResultsServiceGrpc;
import org.hutong.results.v1.Tube;
import org.hutong.results.v1.TubeBatch;
import org.hutong.results.v1.Upload;
import org.hutong.results.v1.UploadResultsRequest;
import org.hutong.results.v1.UploadResultsResponse;
import org.hutong.results.v1.UploadServiceGrpc;
import org.hutong.results.v1.WatchResultsRequest;
import org.hutong.results.v1.WatchResultsResponse;
import org.hutong.verification.v1.RefusalServiceGrpc;
import org.hutong.verification.v1.ReportRefusalRequest;
import org.hutong.verification.v1.ReportRefusalResponse;

/** A server that keeps one upload in memory by the contract's rules, and breaks where a test says so. */
final class Fake implements AutoCloseable {
  Set<Integer> breakBefore = Set.of();
  Set<Integer> breakAfter = Set.of();
  final List<String> tubes = new ArrayList<>();
  final List<String> cursors = new ArrayList<>();
  /** The messages of the first watches; a negative number for CURSOR_TOO_OLD. */
  List<Integer> watchBreaks = List.of();
  boolean silent;
  StatusRuntimeException refuse;
  final List<String> requestIds = new ArrayList<>();
  int failRefusals;

  private int batches;
  private Server server;
  private ManagedChannel channel;

  /** Serves on a free port until it is closed, and returns a connection. */
  ManagedChannel serve() throws IOException {
    server =
        NettyServerBuilder.forPort(0).addService(new Uploads()).addService(new Results()).addService(new Refusals())
            .build().start();
    channel = Connections.dial("localhost:" + server.getPort());
    return channel;
  }

  @Override
  public void close() {
    channel.shutdownNow();
    server.shutdownNow();
  }

  static StatusRuntimeException failure(Code code, String reason) {
    ErrorInfo info =
        ErrorInfo.newBuilder().setReason(reason).setDomain("hutong.org").putMetadata("field", "x").build();
    BadRequest bad =
        BadRequest.newBuilder()
            .addFieldViolations(BadRequest.FieldViolation.newBuilder().setField("region"))
            .build();
    RetryInfo retry =
        RetryInfo.newBuilder()
            .setRetryDelay(com.google.protobuf.Duration.newBuilder().setNanos(10_000_000))
            .build();
    return StatusProto.toStatusRuntimeException(
        com.google.rpc.Status.newBuilder()
            .setCode(code.getNumber())
            .setMessage("it is " + reason)
            .addDetails(Any.pack(info))
            .addDetails(Any.pack(bad))
            .addDetails(Any.pack(retry))
            .build());
  }

  private synchronized UploadResultsResponse commit(TubeBatch batch) {
    batches++;
    if (breakBefore.contains(batches)) {
      throw failure(Code.RESOURCE_EXHAUSTED, "OVERLOADED");
    }
    if (batch.getOffset() > tubes.size()) {
      throw failure(Code.OUT_OF_RANGE, "UPLOAD_GAP");
    }
    List<Tube> sent = batch.getTubesList();
    sent.subList(tubes.size() - (int) batch.getOffset(), sent.size()).forEach(tube -> tubes.add(tube.getTubeCode()));
    if (breakAfter.contains(batches)) {
      throw Status.UNKNOWN.withDescription("cut").asRuntimeException();
    }
    return UploadResultsResponse.newBuilder().setCommittedOffset(tubes.size()).build();
  }

  private final class Uploads extends UploadServiceGrpc.UploadServiceImplBase {
    @Override
    public StreamObserver<UploadResultsRequest> uploadResults(StreamObserver<UploadResultsResponse> answers) {
      return new StreamObserver<>() {
        private boolean over;

        @Override
        public void onNext(UploadResultsRequest request) {
          if (over || !request.hasBatch()) {
            return;
          }
          try {
            answers.onNext(commit(request.getBatch()));
          } catch (StatusRuntimeException error) {
            over = true;
            answers.onError(error);
          }
        }

        @Override
        public void onError(Throwable error) {}

        @Override
        public void onCompleted() {
          if (!over) {
            answers.onCompleted();
          }
        }
      };
    }

    @Override
    public void getUpload(GetUploadRequest request, StreamObserver<GetUploadResponse> answer) {
      synchronized (Fake.this) {
        if (tubes.isEmpty()) {
          answer.onError(failure(Code.NOT_FOUND, "NOT_FOUND"));
          return;
        }
        Upload upload = Upload.newBuilder().setCommittedOffset(tubes.size()).build();
        answer.onNext(GetUploadResponse.newBuilder().setUpload(upload).build());
        answer.onCompleted();
      }
    }
  }

  private final class Results extends ResultsServiceGrpc.ResultsServiceImplBase {
    @Override
    public void watchResults(WatchResultsRequest request, StreamObserver<WatchResultsResponse> answers) {
      int count;
      synchronized (Fake.this) {
        cursors.add(request.getCursor());
        count = cursors.size() <= watchBreaks.size() ? watchBreaks.get(cursors.size() - 1) : 20;
      }
      if (count < 0) {
        answers.onError(failure(Code.OUT_OF_RANGE, "CURSOR_TOO_OLD"));
        return;
      }
      int first = request.getCursor().isEmpty() ? 1 : Integer.parseInt(request.getCursor()) + 1;
      for (int number = first; number < first + count; number++) {
        answers.onNext(WatchResultsResponse.newBuilder().setCursor(String.valueOf(number)).build());
      }
      if (!silent) {
        answers.onError(failure(Code.RESOURCE_EXHAUSTED, "OVERLOADED"));
      }
    }
  }

  private final class Refusals extends RefusalServiceGrpc.RefusalServiceImplBase {
    @Override
    public void reportRefusal(ReportRefusalRequest request, StreamObserver<ReportRefusalResponse> answer) {
      synchronized (Fake.this) {
        requestIds.add(request.getRequestId());
        if (refuse != null) {
          answer.onError(refuse);
          return;
        }
        if (requestIds.size() <= failRefusals) {
          answer.onError(failure(Code.UNAVAILABLE, "DATABASE_UNAVAILABLE"));
          return;
        }
      }
      answer.onNext(ReportRefusalResponse.getDefaultInstance());
      answer.onCompleted();
    }
  }
}
