package farcall.peer;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The presences of one place in one pane of one method, as farcall's rows hold them (state/FORMAT.md): the exact hashes of up
 * to 32 principals, sorted as unsigned numbers, each with its outcome in the two low bits; beyond that a linear counter of
 * 1,024 bits for each outcome. A set that only grows: the order of presences and their repetitions leave no trace.
 */
final class Cell {
    /** What a cell takes besides its principals, in entries of about 30 bytes. */
    static final int NEW = 3;

    private static final int EXACT = 32;
    private static final int BITS = 1024;
    private static final int WORDS = BITS / Long.SIZE;
    private static final byte COUNTER = (byte) 0xFF;

    /** Principals by set bits, by linear counting; a full counter counts as if half a bit were empty. */
    private static final int[] ESTIMATE = new int[BITS + 1];

    static {
        for (int set = 0; set <= BITS; set++) {
            ESTIMATE[set] = (int) Math.round(-BITS * Math.log(Math.max(BITS - set, 0.5) / BITS));
        }
    }

    private long[] exact = new long[2];
    private int n;
    private long[] counter; // words of allowed, then of denied; null while exact

    Cell() {}

    Cell(byte[] form) {
        ByteBuffer b = ByteBuffer.wrap(form);
        byte count = b.get();
        if (count == COUNTER) {
            counter = new long[2 * WORDS];
            b.asLongBuffer().get(counter);
            exact = null;
        } else {
            n = count;
            exact = new long[n];
            b.asLongBuffer().get(exact);
        }
    }

    /** The bytes behind the place in farcall's rows. */
    byte[] encode() {
        ByteBuffer b = ByteBuffer.allocate(1 + 8 * (counter == null ? n : counter.length));
        b.put(counter == null ? (byte) n : COUNTER);
        if (counter == null) {
            b.asLongBuffer().put(exact, 0, n);
        } else {
            b.asLongBuffer().put(counter);
        }
        return b.array();
    }

    boolean isExact() {
        return counter == null;
    }

    /** Whether the cell will still be exact with one more presence of this principal. */
    boolean spellsOut(long hash) {
        return counter == null && (n < EXACT || search(hash) >= 0);
    }

    /** Entries of about 30 bytes that the cell takes. */
    int cost() {
        return counter == null ? NEW + n / 4 : NEW + EXACT / 4;
    }

    /** Number of exact principals. */
    int size() {
        return n;
    }

    /** The hash of an exact principal, with its outcome. */
    long get(int i) {
        return exact[i];
    }

    /** How many principals were allowed here: exact, or estimated. */
    int visits() {
        int count = 0;
        if (counter == null) {
            for (int i = 0; i < n; i++) {
                count += (int) exact[i] & Visit.ALLOWED;
            }
            return count;
        }
        for (int i = 0; i < WORDS; i++) {
            count += Long.bitCount(counter[i]);
        }
        return ESTIMATE[count];
    }

    /** Index of the principal, or -1 minus where it belongs. */
    private int search(long hash) {
        int lo = 0;
        int hi = n;
        while (lo < hi) {
            int mid = lo + hi >>> 1;
            long h = exact[mid] & ~3L;
            if (h == hash) {
                return mid;
            }
            if (Long.compareUnsigned(h, hash) < 0) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        return -1 - lo;
    }

    /** The outcomes that the cell holds of a principal, 0 for none. A counter may claim one that was never there. */
    int known(long hash) {
        if (counter == null) {
            int i = search(hash);
            return i < 0 ? 0 : (int) exact[i] & 3;
        }
        int bit = (int) (hash >>> 2) & BITS - 1;
        int word = bit >>> 6;
        return (int) (counter[word] >>> bit & 1) * Visit.ALLOWED | (int) (counter[WORDS + word] >>> bit & 1) * Visit.DENIED;
    }

    void add(long hash, int outcome) {
        if (counter != null) {
            set(hash, outcome);
            return;
        }
        int i = search(hash);
        if (i >= 0) {
            exact[i] |= outcome;
            return;
        }
        if (n == EXACT) {
            counter = new long[2 * WORDS];
            for (long h : exact) {
                set(h, (int) h & 3);
            }
            set(hash, outcome);
            exact = null;
            n = 0;
            return;
        }
        i = -1 - i;
        if (n == exact.length) {
            exact = Arrays.copyOf(exact, Math.min(Math.max(2 * n, 2), EXACT));
        }
        System.arraycopy(exact, i, exact, i + 1, n - i);
        exact[i] = hash | outcome;
        n++;
    }

    private void set(long hash, int outcome) {
        int bit = (int) (hash >>> 2) & BITS - 1;
        if ((outcome & Visit.ALLOWED) != 0) {
            counter[bit >>> 6] |= 1L << bit;
        }
        if ((outcome & Visit.DENIED) != 0) {
            counter[WORDS + (bit >>> 6)] |= 1L << bit;
        }
    }
}
