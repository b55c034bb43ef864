package hutong

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// addRequestID sends a copy of the request with a new request_id (AIP-155) if the request has none.
func addRequestID(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	if message, ok := request.(proto.Message); ok {
		if field := requestID(message); field != nil && message.ProtoReflect().Get(field).String() == "" {
			named := proto.Clone(message)
			named.ProtoReflect().Set(field, protoreflect.ValueOfString(uuid.NewString()))
			request = named
		}
	}
	return invoke(ctx, method, request, reply, conn, options...)
}

func requestID(message proto.Message) protoreflect.FieldDescriptor {
	return message.ProtoReflect().Descriptor().Fields().ByName("request_id")
}
