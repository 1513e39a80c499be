package config

import (
	"strings"
	"testing"
)

// TestBudgetHolds: the default budget, 480 MiB or 503 MB, holds for one process that has all of 64 partitions, and memtables
// shrink with the number of stores so that it goes on to hold.
func TestBudgetHolds(t *testing.T) {
	for _, partitions := range []int32{1, 8, 32, 64} {
		c := Default()
		c.Topics.Partitions = partitions
		if err := c.Validate(); err != nil {
			t.Errorf("%d partitions: %v", partitions, err)
		}
		b := c.Budget()
		if b.MemTables > c.State.MemTablesBytes || b.MemTables < c.State.MemTablesBytes/2 {
			t.Errorf("%d partitions: memtables take %d of %d bytes", partitions, b.MemTables, c.State.MemTablesBytes)
		}
		if c.RuntimeLimit() >= c.Memory.BudgetBytes || c.RuntimeLimit() < b.Sum()-b.Runtime {
			t.Errorf("%d partitions: the runtime may take %d bytes of %d, and the parts take %d", partitions, c.RuntimeLimit(), c.Memory.BudgetBytes, b.Sum())
		}
		t.Logf("%d partitions: %s", partitions, b)
	}
}

// TestBudgetOfStages: a process pays for what it runs.
func TestBudgetOfStages(t *testing.T) {
	c := Default()
	all := c.Budget()
	c.Stages = []string{"route"}
	route := c.Budget()
	if route.Cache != 0 || route.MemTables != 0 || route.Stores != 0 || route.Restore != 0 || route.Fetch >= all.Fetch || route.LookUp >= all.LookUp {
		t.Errorf("route alone takes %+v, all stages %+v", route, all)
	}
	if s := route.String(); strings.Contains(s, "memtables") || !strings.Contains(s, "fetch buffers") || !strings.HasSuffix(s, " MiB") {
		t.Errorf("route alone: %s", s)
	}
	c.Stages = []string{"detect"}
	if one, two := c.Budget().Stores, all.Stores; 2*one != two {
		t.Errorf("stores of one stage take %d bytes, of two %d", one, two)
	}
}
