package farcall.peer;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;

/** What became of everything that one processor of one task met. Written by its thread, read when all have ended. */
final class Counts {
    private static final Queue<Counts> ALL = new ConcurrentLinkedQueue<>();

    long events;
    long visits;
    long repeats;
    long refused;
    long noPlace;
    long learned;
    long known;
    long late;
    long alerts;

    Counts() {
        ALL.add(this);
    }

    /** The sums since the program began. */
    static String total() {
        Counts t = new Counts();
        ALL.remove(t);
        for (Counts c : ALL) {
            t.events += c.events;
            t.visits += c.visits;
            t.repeats += c.repeats;
            t.refused += c.refused;
            t.noPlace += c.noPlace;
            t.learned += c.learned;
            t.known += c.known;
            t.late += c.late;
            t.alerts += c.alerts;
        }
        return "events=" + t.events + " visits=" + t.visits + " repeats=" + t.repeats + " refused=" + t.refused + " noplace=" + t.noPlace
                + " learned=" + t.learned + " known=" + t.known + " late=" + t.late + " alerts=" + t.alerts;
    }
}
