// Gate asks whether a person's result is recognised, and prints what a gate does.
//
//	go run ./examples/gate -verification localhost:50053
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	hutong "github.com/hutong/hutong/clients/go"
	typev1 "github.com/hutong/hutong/clients/go/hutong/type/v1"
	verificationv1 "github.com/hutong/hutong/clients/go/hutong/verification/v1"
)

func main() {
	address := flag.String("verification", cmp.Or(os.Getenv("HUTONG_VERIFICATION_ADDRESS"), "localhost:50053"), "address of Verification")
	number := flag.String("number", "GO0000000", "the number of a German passport")
	region := flag.String("region", "410105", "the place that checks")
	flag.Parse()
	if err := run(*address, *number, *region); err != nil {
		log.Fatal(err)
	}
}

func run(address, number, region string) error {
	conn, err := hutong.Dial(address, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := verificationv1.NewVerificationServiceClient(conn).Verify(ctx, &verificationv1.VerifyRequest{
		Who: &verificationv1.VerifyRequest_Document{Document: &typev1.IdentityDocument{
			Type: typev1.DocumentType_DOCUMENT_TYPE_PASSPORT, Number: number, IssuingCountry: "DEU", Name: "ERIKA MUSTER",
		}},
		Region:  region,
		Purpose: typev1.Purpose_PURPOSE_HOTEL,
	})
	var failed *hutong.Error
	if errors.As(err, &failed) {
		for _, violation := range failed.FieldViolations {
			fmt.Printf("%s: %s\n", violation.Field, violation.Description)
		}
	}
	if err != nil {
		return err
	}
	decision := answer.GetDecision()
	fmt.Printf("%s, %s: %s\n", decision.GetOutcome(), decision.GetReason(), decision.GetActionText())
	return nil
}
