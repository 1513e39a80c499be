package geo

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// network is an autonomous system: whoever runs the network that an address lies in.
type network struct {
	name         string // "AS64496"
	organisation string // as the database has it, at most maxOrganisationBytes; may be empty
}

// maxOrganisationBytes bounds the name of an organisation: it is kept for each network, and is part of every alert.
const maxOrganisationBytes = 256

// asnDatabase is one loaded database of networks. It never changes; a reload makes another.
type asnDatabase struct {
	reader *maxminddb.Reader
	// all holds each network once, and first of all the empty one that stands for none.
	all []network
	// index holds the index into all of each network of addresses, and byOffset that of each record, by its offset. The texts are
	// made once.
	index    addressIndex
	byOffset map[uint32]uint32
	ipv4Only bool
	build    string
}

// find returns the index of a public address's network, 0 for none. It does not allocate.
func (a *asnDatabase) find(addr netip.Addr) uint32 {
	if a.ipv4Only && !addr.Is4() {
		return 0 // Lookup would allocate an error
	}
	i := a.index.find(addr)
	if i != finer {
		return i
	}
	r := a.reader.Lookup(addr)
	if !r.Found() {
		return 0
	}
	return a.byOffset[uint32(r.Offset())]
}

// asnForms are where databases keep the number of a record's network, and the name of its organisation: MaxMind's and DB-IP's
// form, and ipinfo's, whose older files have the name elsewhere than the newer ones.
var asnForms = [...]struct {
	number []any
	names  [][]any
}{
	{[]any{"autonomous_system_number"}, [][]any{{"autonomous_system_organization"}}},
	{[]any{"asn"}, [][]any{{"as_name"}, {"name"}}},
}

// openASN opens a database and reads the network of every record in it, which proves the parts that look-ups use. It fails if
// the file is damaged, or if no record names a network. It keeps data.
func openASN(data []byte) (*asnDatabase, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, err
	}
	a := &asnDatabase{
		reader: reader, all: make([]network, 1), byOffset: map[uint32]uint32{}, ipv4Only: reader.Metadata.IPVersion == 4, build: buildOf(reader),
	}
	known := map[network]uint32{{}: 0}
	a.index, err = indexNetworks(reader, func(r maxminddb.Result) (uint32, error) {
		offset := uint32(r.Offset())
		i, ok := a.byOffset[offset]
		if ok {
			return i, nil
		}
		n, err := decodeNetwork(r)
		if err != nil {
			return 0, err
		}
		i, ok = known[n]
		if !ok {
			i = uint32(len(a.all))
			a.all = append(a.all, n)
			known[n] = i
		}
		a.byOffset[offset] = i
		return i, nil
	})
	if err != nil {
		return nil, err
	}
	if len(a.all) == 1 {
		return nil, fmt.Errorf("no record of this database of type %s names a network, in autonomous_system_number or asn", label(reader.Metadata.DatabaseType))
	}
	return a, nil
}

// decodeNetwork returns the empty network if the record names none. Its errors are those of a damaged file.
func decodeNetwork(r maxminddb.Result) (network, error) {
	for _, form := range asnForms {
		var v any
		if err := decodePath(r, &v, form.number); err != nil {
			return network{}, err
		}
		number, ok := asNumber(v)
		if !ok {
			continue
		}
		n := network{name: "AS" + strconv.FormatUint(uint64(number), 10)}
		for _, path := range form.names {
			if err := decodePath(r, &n.organisation, path); err != nil {
				return network{}, err
			}
			if n.organisation != "" {
				break
			}
		}
		n.organisation = strings.ToValidUTF8(n.organisation[:min(len(n.organisation), maxOrganisationBytes)], "")
		return n, nil
	}
	return network{}, nil
}

// asNumber reads what databases write for a number of a network: a number, or text such as "AS64496".
func asNumber(v any) (uint32, bool) {
	switch v := v.(type) {
	case uint64:
		return uint32(v), v > 0 && v < 1<<32
	case string:
		return ParseNetwork(v)
	}
	return 0, false
}

// ParseNetwork reads the name of a network, "AS64496" with a number of 1 to 4294967295, whatever the case of its letters.
func ParseNetwork(name string) (number uint32, ok bool) {
	if len(name) < 3 || !strings.EqualFold(name[:2], "AS") {
		return 0, false
	}
	n, err := strconv.ParseUint(name[2:], 10, 32)
	return uint32(n), err == nil && n > 0 && name[2] != '+'
}
