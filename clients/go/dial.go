// Package hutong connects to the Hutong services, and adds what their generated stubs lack: shared channel options,
// typed errors, uploads that resume and watches that go on after a break.
//
// The stubs are in the packages hutong/results/v1, hutong/policy/v1 and hutong/verification/v1.
package hutong

import (
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// serviceConfig is the table of channel options and retries for clients in every language, made from the contract.
//
//go:embed service-config.json
var serviceConfig []byte

type channelTable struct {
	Channel struct {
		MaxMessageBytes               int
		KeepaliveTimeMillis           int
		KeepaliveTimeoutMillis        int
		ConnectTimeoutMillis          int
		InitialReconnectBackoffMillis int
		MaxReconnectBackoffMillis     int
	}
	ServiceConfig json.RawMessage
}

// Dial opens a connection to one service, such as "localhost:50051". It connects when the first call is made.
//
// A nil config means plain text, which services accept on loopback alone. Every call that fails returns an *Error.
// Changes without a request_id get one, so that gRPC may repeat them. While a service refuses calls because it is overloaded,
// a part of the further calls of the method ends at once with the last refusal, without being sent.
func Dial(target string, config *tls.Config, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	var table channelTable
	if err := json.Unmarshal(serviceConfig, &table); err != nil {
		return nil, fmt.Errorf("service-config.json: %w", err)
	}
	security := insecure.NewCredentials()
	if config != nil {
		security = credentials.NewTLS(config)
	}
	channel := table.Channel
	shared := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(string(table.ServiceConfig)),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(channel.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(channel.MaxMessageBytes),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:    millis(channel.KeepaliveTimeMillis),
			Timeout: millis(channel.KeepaliveTimeoutMillis),
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  millis(channel.InitialReconnectBackoffMillis),
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   millis(channel.MaxReconnectBackoffMillis),
			},
			MinConnectTimeout: millis(channel.ConnectTimeoutMillis),
		}),
		grpc.WithChainUnaryInterceptor(newRefusals().unary, mapUnary, addRequestID),
		grpc.WithChainStreamInterceptor(mapStream),
	}
	return grpc.NewClient(target, append(shared, options...)...)
}

func millis(count int) time.Duration {
	return time.Duration(count) * time.Millisecond
}
