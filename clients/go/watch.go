package hutong

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultSilence is how long a watch may be silent. A heartbeat comes at least every 5 seconds.
const DefaultSilence = 15 * time.Second

// WatchOptions limits a watch. The zero value has the defaults.
type WatchOptions struct {
	// Silence is the time without a message after which the stream is opened again.
	Silence time.Duration
	// WithoutProgress is the time without a message after which the watch gives up.
	WithoutProgress time.Duration
}

// Watch yields the messages of a watch, heartbeats included, each once and in order, until the context ends.
//
// open begins a stream after a cursor, as
//
//	func(ctx context.Context, cursor string) (grpc.ServerStreamingClient[resultsv1.WatchResultsResponse], error) {
//		return results.WatchResults(ctx, &resultsv1.WatchResultsRequest{Cursor: cursor})
//	}
//
// After a break the stream is opened again with the cursor of the last message. Three kinds of errors
// end the watch: CURSOR_TOO_OLD, after which everything must be read anew; another error that a retry cannot cure; and
// the last error when the watch gives up.
func Watch[T any, M interface {
	*T
	GetCursor() string
}](
	ctx context.Context, cursor string, options WatchOptions,
	open func(ctx context.Context, cursor string) (grpc.ServerStreamingClient[T], error),
) iter.Seq2[M, error] {
	if options.Silence == 0 {
		options.Silence = DefaultSilence
	}
	return func(yield func(M, error) bool) {
		tries := newTries(options.WithoutProgress)
		for {
			goOn, err := watchOnce(ctx, options.Silence, func(ctx context.Context) (grpc.ServerStreamingClient[T], error) {
				return open(ctx, cursor)
			}, func(message *T) bool {
				tries.progress()
				if !yield(message, nil) {
					return false
				}
				cursor = M(message).GetCursor()
				return true
			})
			if !goOn {
				return
			}
			if err := tries.wait(ctx, err); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

func watchOnce[T any](
	ctx context.Context, silence time.Duration,
	open func(context.Context) (grpc.ServerStreamingClient[T], error), handle func(*T) bool,
) (goOn bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	stream, err := open(ctx)
	if err != nil {
		return true, FromError(err)
	}
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return true, fromStatus(status.New(codes.Unknown, "the service closed the watch"))
		}
		if err != nil {
			return true, FromError(err)
		}
		silent.Stop()
		if !handle(message) {
			return false, nil
		}
		silent.Reset(silence)
	}
}
