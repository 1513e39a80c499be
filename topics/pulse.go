package topics

// Pulse is a sign of life: in a pane, an event of an account and region came from a partition of a raw topic. Route tells one for each
// pane to detect, under the key of AnyMethod, so that one task hears them all. It may be told more than once; receivers hold sets.
type Pulse struct {
	Account, Region string // of the call; may be empty
	Topic           string // raw
	Partition       int32
	Pane            int64 // start of the pane, Unix seconds
	EventTime       int64 // of the event that it was told for, Unix milliseconds
}

const pulseVersion = 1

// Key is the record key.
func (p *Pulse) Key() []byte { return AppendMethodKey(nil, "", AnyMethod) }

// Append appends the record in the newest version.
func (p *Pulse) Append(dst []byte) []byte {
	w := writer{dst}
	w.byte(byte(KindPulse))
	w.byte(pulseVersion)
	for _, s := range [...]string{p.Account, p.Region, p.Topic} {
		w.string(s, MaxKeyBytes)
	}
	w.varint(int64(p.Partition))
	w.varint(p.Pane)
	w.varint(p.EventTime)
	return w.b
}

// Decode reads a pulse. Its strings alias b.
func (p *Pulse) Decode(b []byte) error {
	r := reader{b: b}
	r.header(KindPulse, pulseVersion)
	for _, s := range [...]*string{&p.Account, &p.Region, &p.Topic} {
		*s = r.string()
	}
	partition := r.varint()
	if partition != int64(int32(partition)) {
		r.fail("partition past 32 bits")
	}
	p.Partition = int32(partition)
	p.Pane = r.varint()
	p.EventTime = r.varint()
	if r.err == nil && p.Topic == "" {
		r.fail("pulse from nowhere")
	}
	return r.end(KindPulse)
}
