package hutong

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 200 * time.Millisecond
	// maxBackoff lets an upload continue soon after the service returns.
	maxBackoff = 10 * time.Second
	// DefaultWithoutProgress is how long an upload or a watch goes on without an acknowledgement or a message.
	DefaultWithoutProgress = 5 * time.Minute
)

// tries counts failures since the last progress.
type tries struct {
	withoutProgress time.Duration
	failures        int
	since           time.Time
}

func newTries(withoutProgress time.Duration) *tries {
	if withoutProgress == 0 {
		withoutProgress = DefaultWithoutProgress
	}
	return &tries{withoutProgress: withoutProgress, since: time.Now()}
}

func (t *tries) progress() {
	t.failures, t.since = 0, time.Now()
}

// wait waits before the next try. The wait doubles with each failure and is at least as long as the service asks for. If
// no retry is allowed, wait returns the error at once.
func (t *tries) wait(ctx context.Context, err error) error {
	var failed *Error
	if !errors.As(err, &failed) || !failed.CanBeRetried() || time.Since(t.since) > t.withoutProgress {
		return err
	}
	backoff := min(firstBackoff<<min(t.failures, 10), maxBackoff)
	t.failures++
	// Jitter, so that many laboratories do not call a restarted service in the same instant.
	pause := time.Duration(float64(max(failed.RetryDelay, backoff)) * (1 + rand.Float64()/4))
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
