package farcall.peer;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.InetAddress;
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
        try (BufferedReader r = Files.newBufferedReader(file, StandardCharsets.US_ASCII)) {
            for (String line = r.readLine(); line != null; line = r.readLine()) {
                String[] f = line.split("\t");
                if (f.length != 3) {
                    throw new IOException(file + ": not three columns: " + line);
                }
                Short id = ids.computeIfAbsent(f[2], name -> {
                    p.names.add(name.equals(NO_PLACE) ? new byte[0] : name.getBytes(StandardCharsets.US_ASCII));
                    return (short) (p.names.size() - 1);
                });
                if (f[0].indexOf(':') < 0) {
                    p.add4(int4(f[0]), int4(f[1]), id);
                } else {
                    byte[] a = InetAddress.getByName(f[0]).getAddress();
                    byte[] z = InetAddress.getByName(f[1]).getAddress();
                    p.add6(half(a, 0), half(a, 8), half(z, 0), half(z, 8), id);
                }
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

    private static int int4(String s) throws IOException {
        byte[] b = InetAddress.getByName(s).getAddress(); // a literal: nobody is asked
        return (b[0] & 0xFF) << 24 | (b[1] & 0xFF) << 16 | (b[2] & 0xFF) << 8 | b[3] & 0xFF;
    }

    private static long half(byte[] b, int from) {
        long v = 0;
        for (int i = from; i < from + 8; i++) {
            v = v << 8 | b[i] & 0xFF;
        }
        return v;
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
        private static final byte[] NOWHERE = {};

        private final byte[][] addresses = new byte[ENTRIES][];
        private final byte[][] found = new byte[ENTRIES][];

        private long hi;
        private long lo;

        /** The name of the place, empty if there is none. Never changed by anybody. */
        byte[] locate(Text address) {
            int n = address.len;
            if (n == 0 || n > LONGEST) {
                return find(address.bytes());
            }
            int h = 0;
            for (int i = 0; i < n; i++) {
                h = 31 * h + address.at(i);
            }
            h = (h ^ h >>> 15) & ENTRIES - 1;
            byte[] known = addresses[h];
            if (known != null && address.is(known)) {
                return found[h];
            }
            byte[] a = address.bytes();
            byte[] place = find(a);
            addresses[h] = a;
            found[h] = place;
            return place;
        }

        private byte[] find(byte[] text) {
            String s = new String(text, StandardCharsets.ISO_8859_1).strip();
            int id = one(s);
            if (id < 0 && s.indexOf(',') >= 0 && text.length <= 256) { // a list: the first public one counts
                for (String member : s.split(",")) {
                    id = one(member.strip());
                    if (id >= 0) {
                        break;
                    }
                }
            }
            return id < 0 ? NOWHERE : names.get(id);
        }

        private int one(String s) {
            long v4 = parse4(s, 0);
            if (v4 >= 0) {
                return find4((int) v4);
            }
            if (!parse6(s)) {
                return -1;
            }
            return hi == 0 && lo >>> 32 == 0xFFFF ? find4((int) lo) : find6(hi, lo);
        }

        /** A dotted IPv4 address without leading zeros, -1 if it is none. */
        private static long parse4(String s, int from) {
            long address = 0;
            int octet = 0;
            int digits = 0;
            int dots = 0;
            for (int i = from; i < s.length(); i++) {
                char c = s.charAt(i);
                if (c >= '0' && c <= '9') {
                    if (digits > 0 && octet == 0 || (octet = 10 * octet + c - '0') > 255) {
                        return -1;
                    }
                    digits++;
                } else if (c == '.' && digits > 0 && dots < 3) {
                    address = address << 8 | octet;
                    octet = 0;
                    digits = 0;
                    dots++;
                } else {
                    return -1;
                }
            }
            return dots == 3 && digits > 0 ? address << 8 | octet : -1;
        }

        /** Reads an IPv6 address into hi and lo. A zone is dropped. */
        private boolean parse6(String s) {
            int zone = s.indexOf('%');
            if (zone == s.length() - 1 && zone >= 0) {
                return false;
            }
            s = zone < 0 ? s : s.substring(0, zone);
            if (s.length() < 2 || s.charAt(0) == ':' && s.charAt(1) != ':') {
                return false;
            }
            int[] groups = new int[8];
            int n = 0;
            int gap = -1; // groups before "::"
            int i = 0;
            if (s.charAt(0) == ':') {
                gap = 0;
                i = 2;
            }
            while (i < s.length()) {
                if (n == 8) {
                    return false;
                }
                int start = i;
                int group = 0;
                while (i < s.length() && i < start + 5 && Character.digit(s.charAt(i), 16) >= 0 && s.charAt(i) < 0x80) {
                    group = group << 4 | Character.digit(s.charAt(i++), 16);
                }
                if (i < s.length() && s.charAt(i) == '.') {
                    long v4 = parse4(s, start);
                    if (v4 < 0 || n > 6) {
                        return false;
                    }
                    groups[n++] = (int) (v4 >>> 16);
                    groups[n++] = (int) v4 & 0xFFFF;
                    break;
                }
                if (i == start || i > start + 4) {
                    return false;
                }
                groups[n++] = group;
                if (i == s.length()) {
                    break;
                }
                if (s.charAt(i) != ':' || i == s.length() - 1) {
                    return false;
                }
                i++;
                if (s.charAt(i) == ':') {
                    if (gap >= 0) {
                        return false;
                    }
                    gap = n;
                    i++;
                }
            }
            if (gap < 0 ? n != 8 : n == 8) {
                return false;
            }
            if (gap >= 0) {
                System.arraycopy(groups, gap, groups, 8 - (n - gap), n - gap);
                Arrays.fill(groups, gap, 8 - (n - gap), 0);
            }
            hi = 0;
            lo = 0;
            for (int k = 0; k < 4; k++) {
                hi = hi << 16 | groups[k];
                lo = lo << 16 | groups[k + 4];
            }
            return true;
        }
    }
}
