package org

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// cortexID looks like Cortex's ids: 18 characters, never changed.
func cortexID(tag string) string {
	sum := sha256.Sum256([]byte("team " + tag))
	return "en" + hex.EncodeToString(sum[:8])
}

// targetIDs hands out PagerDuty ids. The same keys in the same order give the same ids, and none is given twice.
type targetIDs map[string]bool

func (taken targetIDs) of(kind, key string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for try := 0; ; try++ {
		sum := sha256.Sum256([]byte(kind + " " + strconv.Itoa(try) + " " + key))
		n := binary.BigEndian.Uint64(sum[:])
		id := []byte("P000000")
		for i := 1; i < len(id); i++ {
			id[i] = alphabet[n%36]
			n /= 36
		}
		if !taken[string(id)] {
			taken[string(id)] = true
			return string(id)
		}
	}
}
