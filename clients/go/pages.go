package hutong

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// pageSize is the services' limit for a page.
const pageSize = 500

// Pages yields every page of a list (AIP-158), as
//
//	for page, err := range hutong.Pages(ctx, &resultsv1.ListLabsRequest{Region: "220000"}, labs.ListLabs) { ... }
//
// A page may be empty although others follow. The request's page fields are not read.
func Pages[R proto.Message, P interface{ GetNextPageToken() string }](
	ctx context.Context, request R, list func(context.Context, R, ...grpc.CallOption) (P, error),
) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		asked := proto.CloneOf(request)
		message := asked.ProtoReflect()
		fields := message.Descriptor().Fields()
		message.Set(fields.ByName("page_size"), protoreflect.ValueOfInt32(pageSize))
		token := ""
		for {
			message.Set(fields.ByName("page_token"), protoreflect.ValueOfString(token))
			page, err := listOnce(ctx, asked, list)
			if !yield(page, err) || err != nil {
				return
			}
			if token = page.GetNextPageToken(); token == "" {
				return
			}
		}
	}
}

func listOnce[R, P any](
	ctx context.Context, request R, list func(context.Context, R, ...grpc.CallOption) (P, error),
) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return list(ctx, request)
}
