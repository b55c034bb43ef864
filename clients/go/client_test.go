package hutong_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hutong "github.com/hutong/hutong/clients/go"
	resultsv1 "github.com/hutong/hutong/clients/go/hutong/results/v1"
	verificationv1 "github.com/hutong/hutong/clients/go/hutong/verification/v1"
)

// fake keeps one upload in memory by the contract's rules, and breaks where a test says so.
type fake struct {
	resultsv1.UnimplementedUploadServiceServer
	resultsv1.UnimplementedResultsServiceServer
	verificationv1.UnimplementedRefusalServiceServer

	mutex        sync.Mutex
	breakBefore  map[int]bool
	breakAfter   map[int]bool
	batches      int
	tubes        []string
	cursors      []string
	watchBreaks  map[int]int
	silent       bool
	requestIDs   []string
	failRefusals int
	refuse       error
}

func failure(code codes.Code, reason string) error {
	made, err := status.New(code, "it is "+reason).WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "hutong.org", Metadata: map[string]string{"field": "x"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "region"}}},
	)
	if err != nil {
		panic(err)
	}
	return made.Err()
}

func (f *fake) UploadResults(stream resultsv1.UploadService_UploadResultsServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		batch := request.GetBatch()
		if batch == nil {
			continue
		}
		answer, err := f.commit(batch)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (f *fake) commit(batch *resultsv1.TubeBatch) (*resultsv1.UploadResultsResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.batches++
	if f.breakBefore[f.batches] {
		return nil, failure(codes.ResourceExhausted, "OVERLOADED")
	}
	if batch.GetOffset() > int64(len(f.tubes)) {
		return nil, failure(codes.OutOfRange, "UPLOAD_GAP")
	}
	for _, tube := range batch.GetTubes()[int64(len(f.tubes))-batch.GetOffset():] {
		f.tubes = append(f.tubes, tube.GetTubeCode())
	}
	if f.breakAfter[f.batches] {
		return nil, status.Error(codes.Unknown, "cut")
	}
	return &resultsv1.UploadResultsResponse{CommittedOffset: int64(len(f.tubes))}, nil
}

func (f *fake) GetUpload(context.Context, *resultsv1.GetUploadRequest) (*resultsv1.GetUploadResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if len(f.tubes) == 0 {
		return nil, failure(codes.NotFound, "NOT_FOUND")
	}
	return &resultsv1.GetUploadResponse{Upload: &resultsv1.Upload{CommittedOffset: int64(len(f.tubes))}}, nil
}

func (f *fake) WatchResults(
	request *resultsv1.WatchResultsRequest, stream resultsv1.ResultsService_WatchResultsServer,
) error {
	f.mutex.Lock()
	f.cursors = append(f.cursors, request.GetCursor())
	count, breaks := f.watchBreaks[len(f.cursors)]
	f.mutex.Unlock()
	if !breaks {
		count = 1000
	}
	if count < 0 {
		return failure(codes.OutOfRange, "CURSOR_TOO_OLD")
	}
	first, _ := strconv.Atoi(request.GetCursor())
	for number := first + 1; number <= first+count; number++ {
		if err := stream.Send(&resultsv1.WatchResultsResponse{Cursor: strconv.Itoa(number)}); err != nil {
			return err
		}
	}
	if f.silent {
		<-stream.Context().Done()
	}
	return failure(codes.ResourceExhausted, "OVERLOADED")
}

func (f *fake) ReportRefusal(
	_ context.Context, request *verificationv1.ReportRefusalRequest,
) (*verificationv1.ReportRefusalResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.requestIDs = append(f.requestIDs, request.GetRequestId())
	if f.refuse != nil {
		return nil, f.refuse
	}
	if len(f.requestIDs) <= f.failRefusals {
		return nil, failure(codes.Unavailable, "DATABASE_UNAVAILABLE")
	}
	return &verificationv1.ReportRefusalResponse{}, nil
}

func serve(t *testing.T, service *fake) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	resultsv1.RegisterUploadServiceServer(server, service)
	resultsv1.RegisterResultsServiceServer(server, service)
	verificationv1.RegisterRefusalServiceServer(server, service)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := hutong.Dial(listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func batches(count int) [][]*resultsv1.Tube {
	made := make([][]*resultsv1.Tube, count)
	for index := range made {
		for each := range 2 {
			made[index] = append(made[index], &resultsv1.Tube{TubeCode: fmt.Sprintf("T%d", 2*index+each)})
		}
	}
	return made
}

func TestUploadSurvivesCuts(t *testing.T) {
	for _, window := range []int{1, 3} {
		service := &fake{breakBefore: map[int]bool{2: true, 7: true}, breakAfter: map[int]bool{4: true}}
		session := &hutong.UploadSession{
			Uploads: resultsv1.NewUploadServiceClient(serve(t, service)), Lab: "labs/1", ID: "u1", Window: window,
		}
		var offsets []int64
		for batch, err := range session.Send(t.Context(), slices.Values(batches(6)), 0) {
			if err != nil {
				t.Fatal(err)
			}
			offsets = append(offsets, batch.Offset)
		}
		if !slices.Equal(offsets, []int64{0, 2, 4, 6, 8, 10}) {
			t.Errorf("window %d: acknowledged %v", window, offsets)
		}
		if len(service.tubes) != 12 || service.tubes[11] != "T11" {
			t.Errorf("window %d: stored %v", window, service.tubes)
		}
	}
}

func TestAcknowledgementDoesNotWaitForTheSource(t *testing.T) {
	session := &hutong.UploadSession{
		Uploads: resultsv1.NewUploadServiceClient(serve(t, &fake{})), Lab: "labs/1", ID: "u1",
	}
	acknowledged := make(chan struct{})
	source := func(yield func([]*resultsv1.Tube) bool) {
		if yield(batches(1)[0]) {
			<-acknowledged
		}
	}
	for _, err := range session.Send(t.Context(), source, 0) {
		if err != nil {
			t.Fatal(err)
		}
		close(acknowledged)
	}
}

func TestRestoredServiceIsFound(t *testing.T) {
	service := &fake{breakBefore: map[int]bool{4: true}}
	session := &hutong.UploadSession{
		Uploads: resultsv1.NewUploadServiceClient(serve(t, service)), Lab: "labs/1", ID: "u1", Window: 1,
	}
	var last error
	for batch, err := range session.Send(t.Context(), slices.Values(batches(6)), 0) {
		if last = err; err == nil && batch.Offset == 4 {
			service.mutex.Lock()
			service.tubes = service.tubes[:2]
			service.mutex.Unlock()
		}
	}
	if !errors.Is(last, hutong.ErrUploadLost) {
		t.Errorf("ended with %v", last)
	}
}

func watch(t *testing.T, service *fake, options hutong.WatchOptions, count int) ([]string, error) {
	t.Helper()
	client := resultsv1.NewResultsServiceClient(serve(t, service))
	open := func(ctx context.Context, cursor string) (grpc.ServerStreamingClient[resultsv1.WatchResultsResponse], error) {
		return client.WatchResults(ctx, &resultsv1.WatchResultsRequest{Cursor: cursor})
	}
	var seen []string
	for message, err := range hutong.Watch(t.Context(), "", options, open) {
		if err != nil {
			return seen, err
		}
		if seen = append(seen, message.GetCursor()); len(seen) == count {
			break
		}
	}
	return seen, nil
}

func TestWatchGoesOnAfterABreak(t *testing.T) {
	for _, silent := range []bool{false, true} {
		service := &fake{watchBreaks: map[int]int{1: 3, 2: 2}, silent: silent}
		seen, err := watch(t, service, hutong.WatchOptions{Silence: 300 * time.Millisecond}, 8)
		if err != nil || !slices.Equal(seen, []string{"1", "2", "3", "4", "5", "6", "7", "8"}) {
			t.Errorf("silent %v: saw %v, %v", silent, seen, err)
		}
		// On a busy machine a stream can be silent for too long before its first message, and is opened once more.
		if !slices.Equal(service.cursors, []string{"", "3", "5"}) && !(silent && len(service.cursors) >= 3) {
			t.Errorf("silent %v: opened at %v", silent, service.cursors)
		}
	}
}

func TestCursorTooOldEndsTheWatch(t *testing.T) {
	_, err := watch(t, &fake{watchBreaks: map[int]int{1: 1, 2: -1}}, hutong.WatchOptions{}, 9)
	if !errors.Is(err, hutong.ReasonCursorTooOld) || errors.Is(err, hutong.ReasonUploadGap) {
		t.Errorf("ended with %v", err)
	}
}

func TestChangeIsRepeatedUnderOneRequestID(t *testing.T) {
	service := &fake{failRefusals: 1}
	request := &verificationv1.ReportRefusalRequest{}
	_, err := verificationv1.NewRefusalServiceClient(serve(t, service)).ReportRefusal(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(service.requestIDs) != 2 || service.requestIDs[0] == "" || service.requestIDs[0] != service.requestIDs[1] {
		t.Errorf("sent %v", service.requestIDs)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's message was changed")
	}
}

func TestErrorIsTyped(t *testing.T) {
	_, err := watch(t, &fake{watchBreaks: map[int]int{1: -1}}, hutong.WatchOptions{}, 1)
	var failed *hutong.Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if failed.Code != codes.OutOfRange || failed.Metadata["field"] != "x" || failed.FieldViolations[0].Field != "region" {
		t.Errorf("got %+v", failed)
	}
	if status.Code(err) != codes.OutOfRange || failed.CanBeRetried() {
		t.Errorf("got %v", err)
	}
	if failed.RequestID == "" || !strings.HasSuffix(err.Error(), "request "+failed.RequestID) {
		t.Errorf("got %q without its request id %q", err, failed.RequestID)
	}
}

func TestOverloadedServiceGetsFewOfTheCalls(t *testing.T) {
	const calls = 200
	for reason, isHeld := range map[hutong.Reason]bool{hutong.ReasonOverloaded: true, hutong.ReasonBudgetExceeded: false} {
		service := &fake{refuse: failure(codes.ResourceExhausted, string(reason))}
		client := verificationv1.NewRefusalServiceClient(serve(t, service))
		ids := map[string]bool{}
		for range calls {
			_, err := client.ReportRefusal(t.Context(), &verificationv1.ReportRefusalRequest{})
			var failed *hutong.Error
			if !errors.As(err, &failed) || !errors.Is(err, reason) || status.Code(err) != codes.ResourceExhausted {
				t.Fatalf("got %v", err)
			}
			ids[failed.RequestID] = true
		}
		if len(ids) != calls {
			t.Errorf("%s: %d ids of %d calls", reason, len(ids), calls)
		}
		if got := len(service.requestIDs); isHeld && got >= calls/2 || !isHeld && got != calls {
			t.Errorf("%s: %d of %d calls were sent", reason, got, calls)
		}
	}
}
