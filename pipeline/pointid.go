package pipeline

import (
	"encoding/binary"
	"strconv"

	"github.com/google/uuid"
)

// pointSpace is the name space of the ids of points. To change it is to orphan
// everything indexed so far.
var pointSpace = uuid.MustParse("6a1a0b0e-5d0c-5b0f-9f0e-0d3c8f5f6b21")

// PointID returns the id of a chunk: the same UUID (version 5) in every store,
// whenever it is indexed. chunkID is the caller's own name of the chunk within
// its document; only where that is empty does index tell chunks apart. No two
// different sets of arguments share an id.
func PointID(tenant, collection, docID, chunkID string, index int) string {
	kind, last := byte('c'), chunkID
	if chunkID == "" {
		kind, last = 'i', strconv.Itoa(index)
	}
	// Lengths go before the parts: any separator could be part of a name.
	name := []byte{kind}
	for _, part := range [...]string{tenant, collection, docID, last} {
		name = binary.AppendUvarint(name, uint64(len(part)))
		name = append(name, part...)
	}
	return uuid.NewSHA1(pointSpace, name).String()
}
