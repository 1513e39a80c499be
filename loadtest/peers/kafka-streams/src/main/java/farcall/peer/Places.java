package farcall.peer;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Which place an address has: a country, or "aws:" and a region. Read from a table, made once from the databases that farcall
 * has inside: lines of first address, last address and place, with tabs between them, sorted, IPv4 before IPv6, not
 * overlapping. A place "-" marks public addresses without one. What is in no range is not public.
 *
 * <p>One instance is shared by all threads; each asks through a {@link Lookup} of its own.
 */
final class Places {
    private static final String NO_PLACE = "-";

    private final List<byte[]> names = new ArrayList<>();

    // IPv4: unsigned first addresses with the sign bit turned over, so that they compare as ints.
    private int[] first4 = new int[1 << 16];
    private int[] last4 = new int[1 << 16];
    private short[] place4 = new short[1 << 16];
    private int n4;
    /** Index of the first range that ends in or behind each /16. */
    private final int[] top4 = new int[(1 << 16) + 1];

    // IPv6: four longs a range, first and last address, with the sign bits turned over.
    private long[] range6 = new long[1 << 16];
    private short[] place6 = new short[1 << 14];
    private int n6;

    private Places() {}

    static Places read(Path file) throws IOException {
        Places p = new Places();
        Map<String, Short> ids = new HashMap<>();
        Address first = new Address();
        Address last = new Address();
        Text line = new Text();
        byte[] all = Files.readAllBytes(file);
        int end;
        for (int from = 0; from < all.length; from = end + 1) {
            for (end = from; end < all.length && all[end] != '\n'; end++) { }
            line.set(all, from, end);
            int tab = line.indexOf('\t', 0);
            int second = line.indexOf('\t', tab + 1);
            if (tab < 0 || second < 0 || !first.parse(line, 0, tab) || !last.parse(line, tab + 1, second)) {
                throw new IOException(file + ": not two addresses and a place: " + line);
            }
            Short id = ids.computeIfAbsent(new String(all, from + second + 1, end - from - second - 1, StandardCharsets.US_ASCII), name -> {
                p.names.add(name.equals(NO_PLACE) ? new byte[0] : name.getBytes(StandardCharsets.US_ASCII));
                return (short) (p.names.size() - 1);
            });
            if (first.isIPv4()) {
                p.add4((int) first.lo, (int) last.lo, id);
            } else {
                p.add6(first.hi, first.lo, last.hi, last.lo, id);
            }
        }
        if (p.n4 == 0) {
            throw new IOException(file + ": no IPv4 range");
        }
        int at = 0;
        for (int top = 0; top <= 1 << 16; top++) {
            while (at < p.n4 && (p.last4[at] ^ Integer.MIN_VALUE) >>> 16 < top) {
                at++;
            }
            p.top4[top] = at;
        }
        return p;
    }

    private void add4(int first, int last, short id) throws IOException {
        if (n4 == first4.length) {
            first4 = Arrays.copyOf(first4, 2 * n4);
            last4 = Arrays.copyOf(last4, 2 * n4);
            place4 = Arrays.copyOf(place4, 2 * n4);
        }
        first4[n4] = first ^ Integer.MIN_VALUE;
        last4[n4] = last ^ Integer.MIN_VALUE;
        place4[n4] = id;
        if (last4[n4] < first4[n4] || n4 > 0 && first4[n4] <= last4[n4 - 1]) {
            throw new IOException("the table of places is not sorted at IPv4 range " + n4);
        }
        n4++;
    }

    private void add6(long firstHi, long firstLo, long lastHi, long lastLo, short id) throws IOException {
        if (n6 == place6.length) {
            range6 = Arrays.copyOf(range6, 2 * range6.length);
            place6 = Arrays.copyOf(place6, 2 * n6);
        }
        int at = 4 * n6;
        range6[at] = firstHi ^ Long.MIN_VALUE;
        range6[at + 1] = firstLo ^ Long.MIN_VALUE;
        range6[at + 2] = lastHi ^ Long.MIN_VALUE;
        range6[at + 3] = lastLo ^ Long.MIN_VALUE;
        place6[n6] = id;
        if (n6 > 0 && compare(range6[at], range6[at + 1], range6[at - 2], range6[at - 1]) <= 0) {
            throw new IOException("the table of places is not sorted at IPv6 range " + n6);
        }
        n6++;
    }

    private static int compare(long hi, long lo, long otherHi, long otherLo) {
        return hi != otherHi ? Long.compare(hi, otherHi) : Long.compare(lo, otherLo);
    }

    /** Index of the place of an IPv4 address, -1 if it is not public. */
    private int find4(int address) {
        int key = address ^ Integer.MIN_VALUE;
        int lo = top4[address >>> 16];
        int hi = Math.min(top4[(address >>> 16) + 1] + 1, n4);
        while (lo < hi) { // the first range that ends at the address or behind it
            int mid = lo + hi >>> 1;
            if (last4[mid] < key) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        return lo < n4 && first4[lo] <= key ? place4[lo] : -1;
    }

    private int find6(long hi, long lo) {
        hi ^= Long.MIN_VALUE;
        lo ^= Long.MIN_VALUE;
        int from = 0;
        int to = n6;
        while (from < to) {
            int mid = from + to >>> 1;
            if (compare(range6[4 * mid + 2], range6[4 * mid + 3], hi, lo) < 0) {
                from = mid + 1;
            } else {
                to = mid;
            }
        }
        return from < n6 && compare(range6[4 * from], range6[4 * from + 1], hi, lo) <= 0 ? place6[from] : -1;
    }

    Lookup lookup() {
        return new Lookup();
    }

    /** Locates addresses as they are written, and remembers the latest ones. For one thread. */
    final class Lookup {
        private static final int ENTRIES = 1 << 14;
        private static final int LONGEST = 45; // an IPv6 address; others are lists and junk
        private static final int LONGEST_LIST = 256;
        private static final byte[] NOWHERE = {};

        private final byte[][] addresses = new byte[ENTRIES][];
        private final byte[][] found = new byte[ENTRIES][];

        private final Address address = new Address();

        /** The name of the place, empty if there is none. Never changed by anybody. */
        byte[] locate(Text text) {
            int n = text.len;
            if (n == 0 || n > LONGEST) {
                return find(text);
            }
            int h = 0;
            for (int i = 0; i < n; i++) {
                h = 31 * h + text.at(i);
            }
            h = (h ^ h >>> 15) & ENTRIES - 1;
            byte[] known = addresses[h];
            if (known != null && text.is(known)) {
                return found[h];
            }
            byte[] place = find(text);
            addresses[h] = text.bytes();
            found[h] = place;
            return place;
        }

        private byte[] find(Text s) {
            int id = one(s, 0, s.len);
            if (id < 0 && s.len <= LONGEST_LIST) { // perhaps a list: the first public one counts
                for (int from = 0; id < 0 && from <= s.len; ) {
                    int comma = s.indexOf(',', from);
                    int to = comma < 0 ? s.len : comma;
                    id = one(s, from, to);
                    from = to + 1;
                }
            }
            return id < 0 ? NOWHERE : names.get(id);
        }

        /** Index of the place of the one address from..to, which may have blanks around it; -1 if it is not public, or none. */
        private int one(Text s, int from, int to) {
            while (from < to && s.at(from) >= 0 && s.at(from) <= ' ') {
                from++;
            }
            while (from < to && s.at(to - 1) >= 0 && s.at(to - 1) <= ' ') {
                to--;
            }
            if (!address.parse(s, from, to)) {
                return -1;
            }
            return address.isIPv4() ? find4((int) address.lo) : find6(address.hi, address.lo);
        }
    }
}
