package hutong

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const domain = "hutong.org"

// FieldViolation is a faulty field of a request.
type FieldViolation struct {
	// Field is its path, such as "tubes[3].persons[0].document".
	Field string
	// Reason is a name of hutong.error.v1.ErrorReason.
	Reason string
	// Description says what is expected.
	Description string
}

// Error is a call that failed. Its text never holds an identity.
type Error struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason is a name of hutong.error.v1.ErrorReason without its prefix; empty if no Hutong service answered.
	Reason string
	// Message is the service's text for people.
	Message string
	// Metadata has the entries that the reason's documentation lists.
	Metadata map[string]string
	// FieldViolations are the first 20 faulty fields, for InvalidArgument.
	FieldViolations []FieldViolation
	// RetryDelay is the time after which a retry can help; 0 if the service gives none.
	RetryDelay time.Duration

	status *status.Status
}

// Error returns the text with code and reason.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s (%s): %s", e.Code, e.Reason, e.Message)
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

// HasReason says whether an error has a reason, such as "CURSOR_TOO_OLD".
func HasReason(err error, reason string) bool {
	var found *Error
	return errors.As(err, &found) && found.Reason == reason
}

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
				made.Reason, made.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				made.FieldViolations = append(made.FieldViolations, FieldViolation{
					Field: each.GetField(), Reason: each.GetReason(), Description: each.GetDescription(),
				})
			}
		case *errdetails.RetryInfo:
			made.RetryDelay = detail.GetRetryDelay().AsDuration()
		}
	}
	return made
}

func mapUnary(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	return FromError(invoke(ctx, method, request, reply, conn, options...))
}

func mapStream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		return nil, FromError(err)
	}
	return mappedStream{stream}, nil
}

type mappedStream struct{ grpc.ClientStream }

func (s mappedStream) SendMsg(message any) error { return FromError(s.ClientStream.SendMsg(message)) }

func (s mappedStream) RecvMsg(message any) error { return FromError(s.ClientStream.RecvMsg(message)) }
