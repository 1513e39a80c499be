package geo

import (
	"slices"
	"testing"
)

// TestDistance holds distances against those of maps: between the middles of countries less what each reaches, so never more
// than between any two towns of them, and for AWS regions between the towns themselves.
func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b          string
		least, atMost float64
	}{
		{"DE", "DE", 0, 0},
		{"DE", "FR", 0, 0}, // neighbours
		{"DE", "AT", 0, 0}, // likewise
		{"US", "CA", 0, 0}, // likewise
		{"PT", "PL", 1_300, 2_300},
		{"DE", "NG", 3_500, 5_200}, // Munich to Kano, Berlin to Lagos
		{"US", "DE", 3_800, 6_400}, // to Boston, to New York
		{"US", "JP", 5_800, 10_900},
		{"GB", "AU", 12_000, 17_000},
		{"SG", "HK", 2_400, 2_600},
		{"NZ", "ES", 18_000, 20_000}, // the other side of the Earth
		{"FJ", "WS", 500, 1_200},     // over the date line
		{"aws:us-east-1", "aws:eu-west-1", 5_300, 5_700},
		{"aws:us-east-1", "aws:us-west-2", 3_500, 3_900},
		{"aws:ap-northeast-1", "aws:ap-northeast-3", 380, 430},
		{"aws:eu-central-1", "DE", 0, 0},
		{"aws:us-east-1", "DE", 5_900, 6_700},
	} {
		km, ok := Distance(c.a, c.b)
		if !ok || km < c.least || km > c.atMost {
			t.Errorf("from %s to %s are %.0f km, %v; want %.0f to %.0f", c.a, c.b, km, ok, c.least, c.atMost)
		}
	}
	for _, unknown := range []string{"", "ZZ", "XX", "aws:", "aws:eu-nowhere-1", "DEU"} {
		if km, ok := Distance("DE", unknown); ok {
			t.Errorf("%q is %.0f km away, and is no place", unknown, km)
		}
	}
}

func TestDistanceIsSymmetric(t *testing.T) {
	const half = 20_040 // km around the Earth by half
	for a := range spots {
		for b := range spots {
			there, ok := Distance(a, b)
			back, _ := Distance(b, a)
			if !ok || there-back > 1e-6 || back-there > 1e-6 || there < 0 || there > half || a == b && there != 0 {
				t.Fatalf("from %s to %s are %g km, and back %g, %v", a, b, there, back, ok)
			}
		}
	}
}

// TestEveryPlaceIsOnTheMap: what Locate may answer has a distance.
func TestEveryPlaceIsOnTheMap(t *testing.T) {
	countries, regions := 0, 0
	for i := range countryPlaces {
		if name := countryPlaces[i].name; name != "" {
			countries++
			if _, ok := Distance(name, "DE"); !ok {
				t.Errorf("%s is not on the map", name)
			}
		}
	}
	aws, err := ownList()
	if err != nil {
		t.Fatal(err)
	}
	// The list has addresses of no one region, and of regions that AWS has not opened: nobody can say where they are.
	nowhere := []string{"aws:global", "aws:me-west-1", "aws:sa-west-1", "aws:us-south-1"}
	for _, p := range aws.places {
		if _, on := spots[p.name]; slices.Contains(nowhere, p.name) == on && p.name != "" {
			t.Errorf("%s is on the map: %v", p.name, on)
		}
		regions++
	}
	if countries < 240 || regions < 30 {
		t.Errorf("%d countries and %d regions were looked for: too few", countries, regions)
	}
	// And what is on it has a sensible middle.
	for name, s := range spots {
		if s.lat < -90 || s.lat > 90 || s.lon < -180 || s.lon > 180 || s.reach < 0 || s.lat == 0 && s.lon == 0 {
			t.Errorf("%s lies at %+v", name, s)
		}
		if len(name) == 2 && CountryName(name) == "" {
			t.Errorf("%s is on the map, and no country", name)
		}
	}
}
