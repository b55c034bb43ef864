package hutong

import (
	"iter"

	"google.golang.org/protobuf/proto"

	resultsv1 "github.com/hutong/hutong/clients/go/hutong/results/v1"
)

// tubeOverhead is an upper bound of the tag and the length of a tube inside its batch.
const tubeOverhead = 8

// Batches yields tubes as batches within the service's limits of tubes and bytes.
func Batches(tubes iter.Seq[*resultsv1.Tube]) iter.Seq[[]*resultsv1.Tube] {
	return func(yield func([]*resultsv1.Tube) bool) {
		var batch []*resultsv1.Tube
		bytes := 0
		for tube := range tubes {
			size := proto.Size(tube) + tubeOverhead
			if len(batch) == MaxTubes || len(batch) > 0 && bytes+size > MaxBatchBytes {
				if !yield(batch) {
					return
				}
				batch, bytes = nil, 0
			}
			batch = append(batch, tube)
			bytes += size
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}
