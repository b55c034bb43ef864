// Conformance is the adapter of the Go client. tests/conformance/README.md describes the protocol.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	hutong "github.com/hutong/hutong/clients/go"
	resultsv1 "github.com/hutong/hutong/clients/go/hutong/results/v1"
	verificationv1 "github.com/hutong/hutong/clients/go/hutong/verification/v1"
)

// command has the fields of all commands.
type command struct {
	ID        int               `json:"id"`
	Op        string            `json:"op"`
	Of        int               `json:"of"`
	Channel   string            `json:"channel"`
	Address   string            `json:"address"`
	TLS       *files            `json:"tls"`
	Method    string            `json:"method"`
	Request   json.RawMessage   `json:"request"`
	Requests  []json.RawMessage `json:"requests"`
	TimeoutMS int               `json:"timeout_ms"`
	Lab       string            `json:"lab"`
	UploadID  string            `json:"upload_id"`
	Tubes     []json.RawMessage `json:"tubes"`
	Batch     int               `json:"batch"`
	Offset    int64             `json:"offset"`
	Hold      bool              `json:"hold"`
	Items     []string          `json:"items"`
	SilenceMS int               `json:"silence_ms"`
	Questions []question        `json:"questions"`
}

type files struct {
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

type question struct {
	CorrelationID string          `json:"correlation_id"`
	Request       json.RawMessage `json:"request"`
}

// operation is a command under way.
type operation struct {
	id      int
	batches chan []*resultsv1.Tube
	context context.Context
	cancel  context.CancelFunc
}

type adapter struct {
	mutex      sync.Mutex
	writing    sync.Mutex
	conns      map[string]*grpc.ClientConn
	operations map[int]*operation
}

type fields map[string]any

func main() {
	a := &adapter{conns: map[string]*grpc.ClientConn{}, operations: map[int]*operation{}}
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var read command
		if err := json.Unmarshal(line, &read); err != nil {
			log.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		made := &operation{id: read.ID, batches: make(chan []*resultsv1.Tube, 100), context: ctx, cancel: cancel}
		a.mutex.Lock()
		a.operations[read.ID] = made
		a.mutex.Unlock()
		go a.carryOut(made, &read)
	}
}

func (a *adapter) carryOut(operation *operation, command *command) {
	result, err := a.do(operation, command)
	if err != nil && operation.context.Err() == nil {
		a.write(operation.id, fields{"error": describe(err)})
		return
	}
	if result == nil {
		result = fields{}
	}
	a.write(operation.id, fields{"result": result})
}

func (a *adapter) do(operation *operation, command *command) (fields, error) {
	switch command.Op {
	case "dial":
		return nil, a.dial(command)
	case "close":
		return nil, a.conn(command).Close()
	case "constants":
		return fields{
			"max_tubes": hutong.MaxTubes, "max_batch_bytes": hutong.MaxBatchBytes,
			"silence_ms": hutong.DefaultSilence.Milliseconds(),
		}, nil
	case "call":
		return a.call(operation.context, command)
	case "pages":
		return nil, a.pages(operation, command)
	case "upload":
		return nil, a.upload(operation, command)
	case "more":
		tubes, err := tubesOf(command)
		a.operation(command.Of).batches <- tubes
		return nil, err
	case "finish":
		close(a.operation(command.Of).batches)
		return nil, nil
	case "upload_state":
		return a.uploadState(operation.context, command)
	case "watch":
		return nil, a.watch(operation, command)
	case "cancel":
		a.operation(command.Of).cancel()
		return nil, nil
	case "gate":
		return a.gate(operation.context, command)
	case "batch_verify":
		return a.batchVerify(operation.context, command)
	case "stream_verify":
		return nil, a.streamVerify(operation, command)
	default:
		return nil, fmt.Errorf("unknown op %q", command.Op)
	}
}

func (a *adapter) dial(command *command) error {
	var config *tls.Config
	if command.TLS != nil {
		own, err := tls.LoadX509KeyPair(command.TLS.Certificate, command.TLS.Key)
		if err != nil {
			return err
		}
		authorities, err := os.ReadFile(command.TLS.CA)
		if err != nil {
			return err
		}
		config = &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: x509.NewCertPool()}
		config.RootCAs.AppendCertsFromPEM(authorities)
	}
	conn, err := hutong.Dial(command.Address, config)
	if err != nil {
		return err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.conns[command.Channel] = conn
	return nil
}

func (a *adapter) call(ctx context.Context, command *command) (fields, error) {
	input, output, err := messages(command.Method)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(command.Request, input); err != nil {
		return nil, err
	}
	ctx, cancel := withTimeout(ctx, command)
	defer cancel()
	if err := a.conn(command).Invoke(ctx, "/"+command.Method, input, output); err != nil {
		return nil, err
	}
	return fields{"response": toJSON(output)}, nil
}

// listResponse is a page of any list.
type listResponse interface {
	proto.Message
	GetNextPageToken() string
}

func (a *adapter) pages(operation *operation, command *command) error {
	request, _, err := messages(command.Method)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(command.Request, request); err != nil {
		return err
	}
	list := func(ctx context.Context, request proto.Message, options ...grpc.CallOption) (listResponse, error) {
		_, page, err := messages(command.Method)
		if err != nil {
			return nil, err
		}
		return page.(listResponse), a.conn(command).Invoke(ctx, "/"+command.Method, request, page, options...)
	}
	for page, err := range hutong.Pages(operation.context, request, list) {
		if err != nil {
			return err
		}
		a.emit(operation, "page", fields{"page": toJSON(page)})
	}
	return nil
}

func (a *adapter) session(command *command) *hutong.UploadSession {
	return &hutong.UploadSession{
		Uploads: resultsv1.NewUploadServiceClient(a.conn(command)),
		Lab:     command.Lab, ID: command.UploadID, Items: command.Items,
	}
}

func (a *adapter) upload(operation *operation, command *command) error {
	tubes, err := tubesOf(command)
	if err != nil {
		return err
	}
	batches := hutong.Batches(slices.Values(tubes))
	if command.Batch > 0 {
		batches = slices.Chunk(tubes, command.Batch)
	}
	source := func(yield func([]*resultsv1.Tube) bool) {
		for batch := range batches {
			if !yield(batch) {
				return
			}
		}
		for command.Hold {
			select {
			case batch, more := <-operation.batches:
				if !more || !yield(batch) {
					return
				}
			case <-operation.context.Done():
				return
			}
		}
	}
	for acknowledged, err := range a.session(command).Send(operation.context, source, command.Offset) {
		if err != nil {
			return err
		}
		a.emit(operation, "acknowledged", fields{
			"offset": acknowledged.Offset, "tubes": len(acknowledged.Tubes), "response": toJSON(acknowledged.Response),
		})
	}
	return nil
}

func (a *adapter) uploadState(ctx context.Context, command *command) (fields, error) {
	upload, err := a.session(command).Get(ctx)
	if err != nil {
		return nil, err
	}
	if upload == nil {
		return fields{"upload": nil}, nil
	}
	return fields{"upload": toJSON(upload)}, nil
}

func (a *adapter) watch(operation *operation, command *command) error {
	request := &resultsv1.WatchResultsRequest{}
	if err := protojson.Unmarshal(command.Request, request); err != nil {
		return err
	}
	client := resultsv1.NewResultsServiceClient(a.conn(command))
	open := func(ctx context.Context, cursor string) (grpc.ServerStreamingClient[resultsv1.WatchResultsResponse], error) {
		asked := proto.CloneOf(request)
		asked.Cursor = cursor
		return client.WatchResults(ctx, asked)
	}
	options := hutong.WatchOptions{Silence: time.Duration(command.SilenceMS) * time.Millisecond}
	for message, err := range hutong.Watch(operation.context, request.GetCursor(), options, open) {
		if err != nil {
			return err
		}
		a.emit(operation, "message", fields{"message": toJSON(message)})
	}
	return nil
}

func (a *adapter) gate(ctx context.Context, command *command) (fields, error) {
	request := &verificationv1.VerifyRequest{}
	if err := protojson.Unmarshal(command.Request, request); err != nil {
		return nil, err
	}
	ctx, cancel := withTimeout(ctx, command)
	defer cancel()
	response, err := verificationv1.NewVerificationServiceClient(a.conn(command)).Verify(ctx, request)
	return fields{"opens": hutong.LetsIn(response.GetDecision())}, err
}

func (a *adapter) batchVerify(ctx context.Context, command *command) (fields, error) {
	request := &verificationv1.BatchVerifyRequest{}
	for _, each := range command.Requests {
		read := &verificationv1.VerifyRequest{}
		if err := protojson.Unmarshal(each, read); err != nil {
			return nil, err
		}
		request.Requests = append(request.Requests, read)
	}
	ctx, cancel := withTimeout(ctx, command)
	defer cancel()
	response, err := verificationv1.NewVerificationServiceClient(a.conn(command)).BatchVerify(ctx, request)
	items := make([]fields, 0, len(request.Requests))
	for _, item := range response.GetItems() {
		if failed := item.GetError(); failed != nil {
			items = append(items, fields{"error": describe(hutong.FromStatus(failed))})
		} else {
			items = append(items, fields{"decision": toJSON(item.GetDecision())})
		}
	}
	return fields{"items": items}, err
}

func (a *adapter) streamVerify(operation *operation, command *command) error {
	stream, err := verificationv1.NewVerificationServiceClient(a.conn(command)).StreamVerify(operation.context)
	if err != nil {
		return err
	}
	for _, each := range command.Questions {
		request := &verificationv1.VerifyRequest{}
		if err := protojson.Unmarshal(each.Request, request); err != nil {
			return err
		}
		asked := &verificationv1.StreamVerifyRequest{CorrelationId: each.CorrelationID, Request: request}
		if err := stream.Send(asked); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		event := fields{"correlation_id": answer.GetCorrelationId()}
		if failed := answer.GetError(); failed != nil {
			event["error"] = describe(hutong.FromStatus(failed))
		} else {
			event["decision"] = toJSON(answer.GetDecision())
		}
		a.emit(operation, "answer", event)
	}
}

func (a *adapter) conn(command *command) *grpc.ClientConn {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.conns[command.Channel]
}

func (a *adapter) operation(id int) *operation {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.operations[id]
}

func (a *adapter) emit(operation *operation, event string, line fields) {
	line["event"] = event
	a.write(operation.id, line)
}

func (a *adapter) write(id int, line fields) {
	line["id"] = id
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func withTimeout(ctx context.Context, command *command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(command.TimeoutMS)*time.Millisecond)
}

func tubesOf(command *command) ([]*resultsv1.Tube, error) {
	tubes := make([]*resultsv1.Tube, len(command.Tubes))
	for index, each := range command.Tubes {
		tubes[index] = &resultsv1.Tube{}
		if err := protojson.Unmarshal(each, tubes[index]); err != nil {
			return nil, err
		}
	}
	return tubes, nil
}

// messages returns an empty request and an empty response of a method, such as "hutong.results.v1.LabService/GetLab".
func messages(method string) (request, response proto.Message, err error) {
	path := protoreflect.FullName(strings.ReplaceAll(method, "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(path)
	if err != nil {
		return nil, nil, err
	}
	descriptor := found.(protoreflect.MethodDescriptor)
	input, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Input().FullName())
	if err != nil {
		return nil, nil, err
	}
	output, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.Output().FullName())
	if err != nil {
		return nil, nil, err
	}
	return input.New().Interface(), output.New().Interface(), nil
}

func toJSON(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	return text
}

// describe returns an error as the protocol has it.
func describe(err error) fields {
	var failed *hutong.Error
	if !errors.As(err, &failed) {
		return fields{"message": fmt.Sprintf("%T: %v", err, err)}
	}
	violations := []fields{}
	for _, each := range failed.FieldViolations {
		violations = append(violations, fields{"field": each.Field, "reason": each.Reason})
	}
	metadata := failed.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	return fields{
		"typed": true, "type": fmt.Sprintf("%T", failed), "code": code.Code_name[int32(failed.Code)],
		"reason": failed.Reason, "message": failed.Message, "metadata": metadata, "field_violations": violations,
		"retry_delay_ms": failed.RetryDelay.Milliseconds(), "can_be_retried": failed.CanBeRetried(),
	}
}
