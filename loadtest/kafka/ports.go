package kafka

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

const (
	portsFrom, portsTo = 20000, 30000
	// portTries bounds the search; with most of the range free it ends after as many tries as ports are wanted.
	portTries = 1000
)

// FreePorts finds n different ports of 127.0.0.1 on which nobody listens now. They are bound a second later, so that a
// start must be ready to lose one.
//
// They lie outside the range from which the kernel serves outgoing connections. Within it, a client that calls a node
// which is down would sooner or later be given the very port that it calls, and be connected to itself: it would talk
// to nobody, and the node could not come back; and a connection that is closed holds its port for a minute, so that a server which
// starts a little later finds it in use.
func FreePorts(n int) ([]int, error) {
	from, to := portRange()
	var ports []int
	for range portTries {
		if len(ports) == n {
			return ports, nil
		}
		port := from + rand.IntN(to-from)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		// Open until all are found: no port is found twice.
		defer l.Close()
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("kafka: no %d free ports on 127.0.0.1 between %d and %d", n, from, to)
}

// portRange is the range from which ports are chosen: the usual one, cut where the kernel's own begins; all of it where
// that would leave too little.
func portRange() (from, to int) {
	from, to = portsFrom, portsTo
	var low, high int
	kernel, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return from, to
	}
	if n, _ := fmt.Sscan(string(kernel), &low, &high); n == 2 && low < to && low-from >= 1000 {
		to = low
	}
	return from, to
}
