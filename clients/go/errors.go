package hutong

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const domain = "hutong.org"

// Reason is a name of hutong.error.v1.ErrorReason without its prefix; empty if no Hutong service answered. It is an error,
// so that errors.Is(err, hutong.ReasonCursorTooOld) says whether a call failed for this reason.
type Reason string

// Error returns the name.
func (r Reason) Error() string { return string(r) }

// FieldViolation is a faulty field of a request.
type FieldViolation struct {
	// Field is its path, such as "tubes[3].persons[0].document".
	Field string
	// Reason says why the value is refused.
	Reason Reason
	// Description says what is expected.
	Description string
}

// Error is a call that failed. Its text never holds an identity.
type Error struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason says why the call failed.
	Reason Reason
	// Message is the service's text for people.
	Message string
	// Metadata has the entries that the reason's documentation lists.
	Metadata map[string]string
	// FieldViolations are the first 20 faulty fields, for InvalidArgument.
	FieldViolations []FieldViolation
	// RetryDelay is the time after which a retry can help; 0 if the service gives none.
	RetryDelay time.Duration
	// RequestID is the x-request-id under which the logs of the services have the call; empty for an item of a batch.
	RequestID string

	status *status.Status
}

// Error returns the text with code, reason and request id.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s", e.Code, e.Message)
	if e.Reason != "" {
		text = fmt.Sprintf("%s (%s): %s", e.Code, e.Reason, e.Message)
	}
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text
}

// Is says whether the target is the reason of the error, for errors.Is.
func (e *Error) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason == e.Reason
}

// GRPCStatus makes status.FromError and status.Code work on the error.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// CanBeRetried says whether the same call can succeed later, unchanged.
func (e *Error) CanBeRetried() bool {
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	case codes.ResourceExhausted:
		// Without a reason, gRPC itself has refused a message that is too large.
		return e.Reason != ""
	case codes.Unknown, codes.Internal, codes.Canceled:
		// gRPC reports these codes if a connection breaks during a call. A service that returns one adds a reason.
		return e.Reason == ""
	default:
		return false
	}
}

// HasReason says whether an error has a reason, such as ReasonCursorTooOld.
func HasReason(err error, reason Reason) bool { return errors.Is(err, reason) }

// FromError returns the error of a failed call as an *Error; nil, io.EOF and a context's own error stay as they are.
func FromError(err error) error {
	var known *Error
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &known) {
		return err
	}
	found, ok := status.FromError(err)
	if !ok {
		return err
	}
	return fromStatus(found)
}

// FromStatus returns the error item of a batch as an *Error.
func FromStatus(item *spb.Status) *Error { return fromStatus(status.FromProto(item)) }

func fromStatus(found *status.Status) *Error {
	made := &Error{Code: found.Code(), Message: found.Message(), status: found}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				made.Reason, made.Metadata = Reason(detail.GetReason()), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				made.FieldViolations = append(made.FieldViolations, FieldViolation{
					Field: each.GetField(), Reason: Reason(each.GetReason()), Description: each.GetDescription(),
				})
			}
		case *errdetails.RetryInfo:
			made.RetryDelay = detail.GetRetryDelay().AsDuration()
		}
	}
	return made
}

// requestIDKey is the metadata key of a call's id.
const requestIDKey = "x-request-id"

// withCallID returns a context whose call has an x-request-id, and the id.
func withCallID(ctx context.Context) (context.Context, string) {
	if sent, ok := metadata.FromOutgoingContext(ctx); ok {
		if ids := sent.Get(requestIDKey); len(ids) > 0 {
			return ctx, ids[0]
		}
	}
	id := uuid.NewString()
	return metadata.AppendToOutgoingContext(ctx, requestIDKey, id), id
}

// failed returns the error of a call with its id.
func failed(err error, id string) error {
	err = FromError(err)
	var found *Error
	if errors.As(err, &found) && found.RequestID == "" {
		found.RequestID = id
	}
	return err
}

func mapUnary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	ctx, id := withCallID(ctx)
	return failed(invoke(ctx, method, request, reply, conn, options...), id)
}

func mapStream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, id := withCallID(ctx)
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		return nil, failed(err, id)
	}
	return mappedStream{stream, id}, nil
}

type mappedStream struct {
	grpc.ClientStream
	id string
}

func (s mappedStream) SendMsg(message any) error {
	return failed(s.ClientStream.SendMsg(message), s.id)
}

func (s mappedStream) RecvMsg(message any) error {
	return failed(s.ClientStream.RecvMsg(message), s.id)
}
