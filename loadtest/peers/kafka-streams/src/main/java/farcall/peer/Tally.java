package farcall.peer;

/** Counts by principal: open addressing, so that a million of them take 24 bytes each and no objects. */
final class Tally {
    interface Each {
        void take(long principal, int count);
    }

    // A principal's hash has its two low bits clear, so that 1 can stand for an empty slot.
    private static final long EMPTY = 1;

    private long[] keys = empty(4);
    private int[] counts = new int[4];
    private int n;

    private static long[] empty(int slots) {
        long[] k = new long[slots];
        java.util.Arrays.fill(k, EMPTY);
        return k;
    }

    int size() {
        return n;
    }

    /** Adds to a principal's count, and forgets it at zero. */
    void add(long principal, int delta) {
        int mask = keys.length - 1;
        int i = home(principal, mask);
        while (keys[i] != EMPTY) {
            if (keys[i] == principal) {
                if ((counts[i] += delta) == 0) {
                    remove(i);
                }
                return;
            }
            i = i + 1 & mask;
        }
        keys[i] = principal;
        counts[i] = delta;
        if (++n > keys.length / 2) {
            grow();
        }
    }

    void each(Each f) {
        for (int i = 0; i < keys.length; i++) {
            if (keys[i] != EMPTY) {
                f.take(keys[i], counts[i]);
            }
        }
    }

    Tally copy() {
        Tally t = new Tally();
        t.keys = keys.clone();
        t.counts = counts.clone();
        t.n = n;
        return t;
    }

    private static int home(long principal, int mask) {
        return (int) (principal >>> 32) & mask;
    }

    /** Empties a slot, and moves what it kept from its home into it. */
    private void remove(int hole) {
        int mask = keys.length - 1;
        n--;
        for (int i = hole + 1 & mask; keys[i] != EMPTY; i = i + 1 & mask) {
            if ((i - home(keys[i], mask) & mask) >= (i - hole & mask)) {
                keys[hole] = keys[i];
                counts[hole] = counts[i];
                hole = i;
            }
        }
        keys[hole] = EMPTY;
    }

    private void grow() {
        long[] oldKeys = keys;
        int[] oldCounts = counts;
        keys = empty(2 * oldKeys.length);
        counts = new int[2 * oldKeys.length];
        int mask = keys.length - 1;
        for (int k = 0; k < oldKeys.length; k++) {
            if (oldKeys[k] != EMPTY) {
                int i = home(oldKeys[k], mask);
                while (keys[i] != EMPTY) {
                    i = i + 1 & mask;
                }
                keys[i] = oldKeys[k];
                counts[i] = oldCounts[k];
            }
        }
    }
}
