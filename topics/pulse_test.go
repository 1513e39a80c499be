package topics

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// TestPulseOfWidePartition: a partition past 32 bits must not become another partition.
func TestPulseOfWidePartition(t *testing.T) {
	b := (&Pulse{Topic: "t"}).Append(nil)
	at := bytes.IndexByte(b, 't') + 1
	for partition, corrupt := range map[int64]bool{1<<31 - 1: false, 1 << 31: true, 1 << 32: true} {
		wide := append(binary.AppendVarint(bytes.Clone(b[:at]), partition), b[at+1:]...)
		if err := new(Pulse).Decode(wide); errors.Is(err, ErrCorrupt) != corrupt {
			t.Errorf("partition %d: error %v", partition, err)
		}
	}
	if string((&Pulse{Account: "a", Topic: "t"}).Key()) != AnyMethod {
		t.Error("a pulse goes elsewhere than the presences of any method")
	}
}
