package hutong

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const (
	// sentForEachAnswer is how many calls are sent for each answered call. With fewer calls a client would notice later
	// that the overload is over. With more calls the service would spend more time on refusals.
	sentForEachAnswer = 2.0
	// mostHeld is the greatest share of calls that is held back, so that a client with few calls notices the end of an
	// overload.
	mostHeld = 0.9
	// halfTime is the time after which a call counts half. So all calls are sent again some seconds after an overload.
	halfTime = time.Second
)

// throttle decides which calls of one method are sent, by the ends of earlier calls.
//
// A refusal costs a service about a quarter of what an answer costs. So a client that was refused ends a part of its
// further calls itself (Site Reliability Engineering, O'Reilly 2016, chapter 21, "client-side throttling").
type throttle struct {
	chance   func() float64
	at       time.Time
	all      float64
	answered float64
}

// holds says whether the next call is held back. A call that is held back is not sent, and counts as refused.
func (t *throttle) holds(now time.Time) bool {
	t.age(now)
	share := (t.all - sentForEachAnswer*t.answered) / (t.all + 1)
	if t.chance() >= min(share, mostHeld) {
		return false
	}
	t.all++
	return true
}

// note counts the end of a call that was sent.
func (t *throttle) note(now time.Time, isRefused bool) {
	t.age(now)
	t.all++
	if !isRefused {
		t.answered++
	}
}

func (t *throttle) age(now time.Time) {
	weight := math.Exp2(-float64(now.Sub(t.at)) / float64(halfTime))
	t.at, t.all, t.answered = now, t.all*weight, t.answered*weight
}

// refusals holds back the unary calls of one connection that an overloaded service would refuse. Other errors, and
// budgets of the caller, hold no calls back.
type refusals struct {
	mutex   sync.Mutex
	methods map[string]*refusedMethod
}

type refusedMethod struct {
	throttle throttle
	// last is the last refusal; nil before the first one.
	last *Error
}

func newRefusals() *refusals {
	return &refusals{methods: map[string]*refusedMethod{}}
}

func (r *refusals) unary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	ctx, id := withCallID(ctx)
	if held := r.ofNext(method, id); held != nil {
		return held
	}
	err := invoke(ctx, method, request, reply, conn, options...)
	r.note(method, err)
	return err
}

// ofNext returns the error with which the next call ends without being sent; nil if it is sent.
func (r *refusals) ofNext(method, id string) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := r.methods[method]
	if found == nil || found.last == nil || !found.throttle.holds(time.Now()) {
		return nil
	}
	held := *found.last
	held.RequestID = id
	return &held
}

func (r *refusals) note(method string, err error) {
	var failed *Error
	isRefused := errors.As(err, &failed) && failed.Code == codes.ResourceExhausted && failed.Reason == ReasonOverloaded
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := r.methods[method]
	if found == nil {
		found = &refusedMethod{throttle: throttle{chance: rand.Float64, at: time.Now()}}
		r.methods[method] = found
	}
	if isRefused {
		found.last = failed
	}
	found.throttle.note(time.Now(), isRefused)
}
