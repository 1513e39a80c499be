package farcall.peer;

/** The method score: farcall's detect/score.go, formula and curve. */
final class Score {
    static final double CONCENTRATION = 0.5;
    private static final double ZERO_AT = 0.1;
    private static final double FIFTY_AT = 0.0026;

    private Score() {}

    /**
     * The lower tail of the posterior predictive distribution of a Dirichlet–multinomial, over places ordered by likelihood.
     * All counts are allowed visits in the window.
     *
     * @param visits from everywhere
     * @param place from the place in question
     * @param support the same, in which the busiest other principal weighs one visit
     * @param below from other places with at most support visits each
     * @param usual no place has more visits than this one
     */
    static double probability(long visits, long place, long support, long below, boolean usual) {
        if (usual && place > 0) {
            return 1;
        }
        return (below + support + CONCENTRATION) / (visits - place + support + CONCENTRATION);
    }

    /** 0..100, in steps of a hundredth. */
    static double of(double probability) {
        double s = 50 * Math.log(probability / ZERO_AT) / Math.log(FIFTY_AT / ZERO_AT);
        return Math.round(100 * Math.min(Math.max(s, 0), 100)) / 100.0;
    }
}
