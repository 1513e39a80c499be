package farcall.peer;

/**
 * Remembers which presences of the latest panes were told. It may forget at any time, for a repeat changes nothing behind it.
 * Presences are 64-bit hashes; at a million of them the odds that any two collide are one in 37 million.
 */
final class Told {
    /** CloudTrail delivers within 15 minutes, so nearly all repeats fall into the two latest hours. */
    private static final int PANES = 3;
    private static final int MOST = 1 << 20;

    private final LongSet[] sets = new LongSet[PANES];
    private final long[] panes = {Long.MIN_VALUE, Long.MIN_VALUE, Long.MIN_VALUE};

    /** Whether this presence is told for the first time. */
    boolean first(long pane, long hash) {
        int oldest = 0;
        for (int i = 0; i < PANES; i++) {
            if (panes[i] == pane && sets[i] != null) {
                return add(i, hash);
            }
            if (panes[i] < panes[oldest]) {
                oldest = i;
            }
        }
        if (pane < panes[oldest]) {
            return true; // older than all that is kept: told, not remembered
        }
        panes[oldest] = pane;
        sets[oldest] = new LongSet();
        return add(oldest, hash);
    }

    private boolean add(int i, long hash) {
        if (sets[i].size() >= MOST) {
            sets[i] = new LongSet();
        }
        return sets[i].add(hash);
    }

    /** A set of hashes, open addressing. Zero stands for an empty slot, so that the hash 0 is told each time. */
    private static final class LongSet {
        private long[] slots = new long[1 << 10];
        private int size;

        int size() {
            return size;
        }

        boolean add(long hash) {
            int mask = slots.length - 1;
            int i = (int) (hash >>> 32) & mask;
            while (slots[i] != 0) {
                if (slots[i] == hash) {
                    return false;
                }
                i = i + 1 & mask;
            }
            slots[i] = hash;
            if (++size > slots.length / 2) {
                grow();
            }
            return true;
        }

        private void grow() {
            long[] old = slots;
            slots = new long[2 * old.length];
            int mask = slots.length - 1;
            for (long h : old) {
                if (h != 0) {
                    int i = (int) (h >>> 32) & mask;
                    while (slots[i] != 0) {
                        i = i + 1 & mask;
                    }
                    slots[i] = h;
                }
            }
        }
    }
}
