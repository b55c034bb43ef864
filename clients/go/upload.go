package hutong

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	resultsv1 "github.com/hutong/hutong/clients/go/hutong/results/v1"
)

const (
	// MaxTubes is the service's limit of tubes in one batch.
	MaxTubes = 1_000
	// MaxBatchBytes is the service's limit of 1 MiB for one batch, less 4 KiB for the fields around the tubes.
	MaxBatchBytes = 1024*1024 - 4096
	// DefaultWindow is how many batches may wait for their acknowledgement: the service commits one, validates one and
	// queues one while the client writes one.
	DefaultWindow = 4
	callTimeout   = 30 * time.Second
)

// ErrUploadLost means that the service holds fewer tubes than it acknowledged, because its database was restored. Start a
// new upload.
var ErrUploadLost = errors.New("the service holds fewer tubes than it acknowledged")

// UploadSession is one upload of one laboratory. A session with the same ID resumes it.
type UploadSession struct {
	// Uploads is the service.
	Uploads resultsv1.UploadServiceClient
	// Lab is "labs/{uscc}".
	Lab string
	// ID is chosen by the sender.
	ID string
	// Items are the items that the upload admits besides the default item, as "items/sars-cov-2-antigen".
	Items []string
	// ValidateOnly makes a dry run: everything is validated and nothing stored. It fails at the first break.
	ValidateOnly bool
	// Window is the greatest number of batches that may wait for their acknowledgement; 0 for DefaultWindow.
	Window int
	// WithoutProgress is the time without an acknowledgement after which the session gives up; 0 for
	// DefaultWithoutProgress.
	WithoutProgress time.Duration
}

// Acknowledged is a batch that is durable.
type Acknowledged struct {
	// Offset is the position of its first tube in the upload.
	Offset int64
	// Tubes are the batch as it was sent.
	Tubes []*resultsv1.Tube
	// Response is the service's acknowledgement, with the rejections.
	Response *resultsv1.UploadResultsResponse
}

// Name returns the upload's resource name, "labs/{uscc}/uploads/{upload_id}".
func (s *UploadSession) Name() string { return s.Lab + "/uploads/" + s.ID }

// Get returns the upload as the service knows it; nil if no batch of it was committed.
func (s *UploadSession) Get(ctx context.Context) (*resultsv1.Upload, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := s.Uploads.GetUpload(ctx, &resultsv1.GetUploadRequest{Name: s.Name()})
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	return response.GetUpload(), FromError(err)
}

// Send sends batches from an offset on, and yields each once, in order, when it is durable. A goroutine takes batches from
// the source and holds at most one beyond the window. Transient failures are retried; an error ends the upload.
func (s *UploadSession) Send(
	ctx context.Context, batches iter.Seq[[]*resultsv1.Tube], offset int64,
) iter.Seq2[Acknowledged, error] {
	return func(yield func(Acknowledged, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		window := s.Window
		if window == 0 {
			window = DefaultWindow
		}
		flight := newFlight(batches, window, offset)
		defer flight.stop()
		tries := newTries(s.WithoutProgress)
		for {
			goOn, err := s.stream(ctx, flight, func(acknowledged Acknowledged) bool {
				offset = acknowledged.Offset + int64(len(acknowledged.Tubes))
				tries.progress()
				return yield(acknowledged, nil)
			})
			if !goOn {
				return
			}
			for err != nil {
				if s.ValidateOnly {
					yield(Acknowledged{}, err)
					return
				}
				if err = tries.wait(ctx, err); err != nil {
					yield(Acknowledged{}, err)
					return
				}
				err = s.isBack(ctx, offset)
			}
		}
	}
}

// isBack checks that the service answers again and has everything that it acknowledged.
func (s *UploadSession) isBack(ctx context.Context, offset int64) error {
	upload, err := s.Get(ctx)
	if err != nil {
		return err
	}
	if upload.GetCommittedOffset() < offset {
		return ErrUploadLost
	}
	return nil
}

// stream sends over one stream: first the unacknowledged batches of the previous stream, then new ones.
func (s *UploadSession) stream(
	ctx context.Context, flight *flight, handle func(Acknowledged) bool,
) (goOn bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.Uploads.UploadResults(ctx)
	if err != nil {
		return true, FromError(err)
	}
	start := &resultsv1.UploadStart{Lab: s.Lab, UploadId: s.ID, ValidateOnly: s.ValidateOnly, Items: s.Items}
	frames := flight.open(&resultsv1.UploadResultsRequest{Frame: &resultsv1.UploadResultsRequest_Start{Start: start}})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		sendAll(ctx, stream, frames)
	}()
	defer func() {
		cancel()
		flight.close()
		<-sent
	}()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if flight.isFinished() {
				return false, nil
			}
			text := "the service closed the stream before all batches were acknowledged"
			return true, fromStatus(status.New(codes.Unknown, text))
		}
		if err != nil {
			// Once every batch is acknowledged, an error at the end of the stream changes nothing.
			return !flight.isFinished(), FromError(err)
		}
		first := flight.first()
		first.Response = response
		if !handle(first) {
			return false, nil
		}
		flight.removeFirst()
	}
}

// sendAll sends frames until they end. A failure to send is returned by Recv.
func sendAll(
	ctx context.Context, stream grpc.BidiStreamingClient[resultsv1.UploadResultsRequest, resultsv1.UploadResultsResponse],
	frames <-chan *resultsv1.UploadResultsRequest,
) {
	for {
		select {
		case frame, more := <-frames:
			if !more {
				_ = stream.CloseSend()
				return
			}
			if stream.Send(frame) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// flight holds the batches that are not acknowledged yet. A goroutine takes them from the source, so that a slow source
// delays no acknowledgement.
type flight struct {
	mutex   sync.Mutex
	free    chan struct{}
	stopped chan struct{}
	batches []Acknowledged
	frames  chan *resultsv1.UploadResultsRequest
	drained bool
	window  int
	source  iter.Seq[[]*resultsv1.Tube]
	offset  int64
	begun   bool
}

func newFlight(source iter.Seq[[]*resultsv1.Tube], window int, offset int64) *flight {
	return &flight{
		source: source, window: window, offset: offset,
		free: make(chan struct{}, window), stopped: make(chan struct{}),
	}
}

// open returns the frames of a new stream: the start, the batches in flight, then new ones until the source ends.
func (f *flight) open(start *resultsv1.UploadResultsRequest) <-chan *resultsv1.UploadResultsRequest {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	// The channel can hold the start and all batches in flight, so that putting a frame never waits.
	f.frames = make(chan *resultsv1.UploadResultsRequest, f.window*2+1)
	f.frames <- start
	for _, batch := range f.batches {
		f.frames <- frameOf(batch)
	}
	opened := f.frames
	if f.drained {
		close(f.frames)
		f.frames = nil
	}
	if !f.begun {
		f.begun = true
		go f.take()
	}
	return opened
}

func (f *flight) take() {
	f.source(func(tubes []*resultsv1.Tube) bool {
		select {
		case f.free <- struct{}{}:
		case <-f.stopped:
			return false
		}
		f.mutex.Lock()
		defer f.mutex.Unlock()
		batch := Acknowledged{Offset: f.offset, Tubes: tubes}
		f.offset += int64(len(tubes))
		f.batches = append(f.batches, batch)
		if f.frames != nil {
			f.frames <- frameOf(batch)
		}
		return true
	})
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.drained = true
	if f.frames != nil {
		close(f.frames)
		f.frames = nil
	}
}

func (f *flight) first() Acknowledged {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.batches[0]
}

func (f *flight) removeFirst() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.batches = f.batches[1:]
	<-f.free
}

func (f *flight) isFinished() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.drained && len(f.batches) == 0
}

// close detaches the stream: later batches are not put on its frames.
func (f *flight) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.frames = nil
}

// stop lets the goroutine end after the batch that it is taking.
func (f *flight) stop() { close(f.stopped) }

func frameOf(batch Acknowledged) *resultsv1.UploadResultsRequest {
	made := &resultsv1.TubeBatch{Offset: batch.Offset, Tubes: batch.Tubes}
	return &resultsv1.UploadResultsRequest{Frame: &resultsv1.UploadResultsRequest_Batch{Batch: made}}
}
