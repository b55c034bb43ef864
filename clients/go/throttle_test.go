package hutong

import (
	"math/rand/v2"
	"testing"
	"time"
)

// overloaded is a service that answers some calls a second at most, a client that calls it, and their clock.
type overloaded struct {
	most     int
	now      time.Time
	throttle throttle
}

func newOverloaded(most int) *overloaded {
	start := time.Unix(100, 0)
	chance := rand.New(rand.NewPCG(1, 2)).Float64
	return &overloaded{most: most, now: start, throttle: throttle{chance: chance, at: start}}
}

// second makes calls for a second, and returns how many were sent and answered.
func (o *overloaded) second(calls int) (sent, answered int) {
	for index := range calls {
		o.now = o.now.Add(time.Second / time.Duration(calls))
		if o.throttle.holds(o.now) {
			continue
		}
		sent++
		// The places of a second become free one after the other.
		isRefused := answered*calls >= o.most*(index+1)
		if !isRefused {
			answered++
		}
		o.throttle.note(o.now, isRefused)
	}
	return sent, answered
}

func TestLittleMoreIsSentThanCanBeAnswered(t *testing.T) {
	const most = 100
	for _, times := range []int{2, 4, 10} {
		service := newOverloaded(most)
		if sent, answered := service.second(most); sent != most || answered != most {
			t.Errorf("before the overload %d were sent and %d answered", sent, answered)
		}
		service.second(times * most)
		allSent, allAnswered := 0, 0
		for range 10 {
			sent, answered := service.second(times * most)
			allSent, allAnswered = allSent+sent, allAnswered+answered
		}
		if float64(allSent) > 1.2*sentForEachAnswer*float64(allAnswered) || allAnswered < 9*most {
			t.Errorf("at %d times, %d were sent and %d answered", times, allSent, allAnswered)
		}
		for range 10 {
			service.second(most)
		}
		if sent, answered := service.second(most); sent != most || answered != most {
			t.Errorf("after the overload %d were sent and %d answered", sent, answered)
		}
	}
}

func TestClientThatWasRefusedEverythingNoticesTheEnd(t *testing.T) {
	service := newOverloaded(0)
	sent := 0
	for range 10 {
		sent, _ = service.second(20)
	}
	if sent > 6 {
		t.Errorf("%d were sent", sent)
	}
	service.most = 100
	for range 12 {
		service.second(20)
	}
	if sent, answered := service.second(20); sent != 20 || answered != 20 {
		t.Errorf("%d were sent and %d answered", sent, answered)
	}
}
