package detect

import (
	"math"

	"github.com/farcall/farcall/topics"
)

// Concentration is the weight, in visits, of all places that a method was never called from. It is the total concentration
// that the Dirichlet prior puts on unseen places. At one half, 200 visits of history make a first-ever country as unlikely
// as FiftyAt, and fewer than 20 can't make anything unlikely enough to be heard.
const Concentration = 0.5

// The curve that turns a probability into a score: 0 from ZeroAt up, 50 at FiftyAt, linear in the logarithm, 100 at most
// (reached at about 7e-5). It is fixed: scores of different days, methods and installations compare.
const (
	ZeroAt  = 0.1
	FiftyAt = 0.0026 // three sigma, two-sided; where Elastic's rule has its threshold of 50
)

// Score maps a probability to 0..100, in steps of a hundredth:
//
//	score = 50 · ln(p / ZeroAt) / ln(FiftyAt / ZeroAt), clamped
func Score(p float64) float64 {
	s := 50 * math.Log(p/ZeroAt) / math.Log(FiftyAt/ZeroAt)
	return math.Round(100*min(max(s, 0), 100)) / 100
}

// counts are what Probability is computed from; all are allowed visits within the window.
type counts struct {
	visits  int64 // from everywhere
	place   int64 // from the place in question
	support int64 // the same, guarded against any single principal
	below   int64 // from other places with at most support visits each
	usual   bool  // no place has more visits than this one
}

// probability is how likely a visit from a place at most this likely is, for this method: the lower tail of the posterior
// predictive distribution of a Dirichlet–multinomial (Minka, "Estimating a Dirichlet distribution", 2000, eq. 4: counts
// plus concentration, normalised), over places ordered by likelihood.
//
//	p = (below + support + Concentration) / (visits − place + support + Concentration)
//
// The tail always holds the unseen places. The guard: the place in question counts by its support, in which the busiest
// other principal weighs one visit, so that nobody can make a country normal for others by repetition; the rest of the
// method counts as it is, or one principal's history could never say anything. The most visited place is usual by
// definition.
func (c counts) probability() float64 {
	if c.usual && c.place > 0 {
		return 1
	}
	return (float64(c.below+c.support) + Concentration) / (float64(c.visits-c.place+c.support) + Concentration)
}

// level puts the raw share of a place into a word.
func (c counts) level() topics.Level {
	switch {
	case c.place == 0:
		return topics.Unseen
	case 100*c.place <= c.visits:
		return topics.Rare
	case 10*c.place <= c.visits:
		return topics.Infrequent
	}
	return topics.Frequent
}
