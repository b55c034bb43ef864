// Lab uploads a few results as a laboratory does, and prints what became of them.
//
//	go run ./examples/lab -results localhost:50051
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	hutong "github.com/hutong/hutong/clients/go"
	resultsv1 "github.com/hutong/hutong/clients/go/hutong/results/v1"
	typev1 "github.com/hutong/hutong/clients/go/hutong/type/v1"
)

func main() {
	address := flag.String("results", cmp.Or(os.Getenv("HUTONG_RESULTS_ADDRESS"), "localhost:50051"), "address of Results")
	lab := flag.String("lab", "labs/91220502MA000LAB8G", "the laboratory")
	count := flag.Int("count", 10, "how many people to report")
	flag.Parse()
	if err := run(context.Background(), *address, *lab, *count); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, lab string, count int) error {
	conn, err := hutong.Dial(address, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	now := time.Now()
	session := &hutong.UploadSession{
		Uploads: resultsv1.NewUploadServiceClient(conn), Lab: lab, ID: fmt.Sprintf("go-%d", now.UnixNano()),
	}
	batches := slices.Chunk(tubes(count, now), 4)
	accepted, rejected := int32(0), int32(0)
	for batch, err := range session.Send(ctx, batches, 0) {
		if err != nil {
			return err
		}
		accepted += batch.Response.GetAcceptedCount()
		rejected += batch.Response.GetRejectedCount()
		for _, rejection := range batch.Response.GetRejections() {
			at := batch.Offset + int64(rejection.GetTubeIndex())
			fmt.Printf("tube %d: %v\n", at, rejection.GetViolations())
		}
	}
	fmt.Printf("accepted %d, rejected %d\n", accepted, rejected)
	return nil
}

// tubes returns one tube for each person. The last one has its report before its test, which is rejected.
func tubes(count int, now time.Time) []*resultsv1.Tube {
	made := make([]*resultsv1.Tube, count)
	for index := range made {
		reported := now.Add(-time.Hour)
		if index == count-1 {
			reported = now.Add(-10 * time.Hour)
		}
		made[index] = &resultsv1.Tube{
			TubeCode:     fmt.Sprintf("GO%d-%d", now.UnixNano(), index),
			PoolSize:     1,
			SampleRegion: "220502",
			SampleTime:   timestamppb.New(now.Add(-6 * time.Hour)),
			ReceiveTime:  timestamppb.New(now.Add(-5 * time.Hour)),
			TestTime:     timestamppb.New(now.Add(-3 * time.Hour)),
			ReportTime:   timestamppb.New(reported),
			Outcome:      typev1.Outcome_OUTCOME_NEGATIVE,
			Persons: []*resultsv1.TubePerson{{
				Document: &typev1.IdentityDocument{
					Type:           typev1.DocumentType_DOCUMENT_TYPE_PASSPORT,
					Number:         fmt.Sprintf("GO%07d", index),
					IssuingCountry: "DEU",
				},
				ReportNumber: fmt.Sprintf("GO-%d-%d", now.UnixNano(), index),
			}},
		}
	}
	return made
}
