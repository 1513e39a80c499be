package farcall.peer;

/** Reads IP addresses without allocating, by the rules of farcall's geo/address.go. */
final class Address {
    /** The two halves of the address; an IPv4 address is the IPv6 address that stands for it, ::ffff:a.b.c.d. */
    long hi;
    long lo;

    private final int[] groups = new int[8];

    boolean isIPv4() {
        return hi == 0 && lo >>> 32 == 0xFFFF;
    }

    /** Reads the text from..to of s, and says whether it is an address. */
    boolean parse(Text s, int from, int to) {
        long v4 = ipv4(s, from, to);
        if (v4 >= 0) {
            hi = 0;
            lo = 0xFFFFL << 32 | v4;
            return true;
        }
        return ipv6(s, from, to);
    }

    /** A dotted IPv4 address without leading zeros, -1 if it is none. */
    private static long ipv4(Text s, int from, int to) {
        long address = 0;
        int octet = 0;
        int digits = 0;
        int dots = 0;
        for (int i = from; i < to; i++) {
            int c = s.at(i);
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

    /** An IPv6 address. A zone must not be empty; it is dropped. */
    private boolean ipv6(Text s, int from, int to) {
        for (int i = from; i < to; i++) {
            if (s.at(i) == '%') {
                if (i == to - 1) {
                    return false;
                }
                to = i;
            }
        }
        if (to - from < 2 || s.at(from) == ':' && s.at(from + 1) != ':') {
            return false;
        }
        int n = 0;
        int gap = -1; // groups before "::"
        int i = from;
        if (s.at(from) == ':') {
            gap = 0;
            i += 2;
        }
        while (i < to) {
            if (n == 8) {
                return false;
            }
            int start = i;
            int group = 0;
            for (; i < to && i < start + 5; i++) {
                int digit = Character.digit(s.at(i), 16);
                if (digit < 0) {
                    break;
                }
                group = group << 4 | digit;
            }
            if (i < to && s.at(i) == '.') {
                long v4 = ipv4(s, start, to);
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
            if (i == to) {
                break;
            }
            if (s.at(i) != ':' || i == to - 1) {
                return false;
            }
            i++;
            if (s.at(i) == ':') {
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
            java.util.Arrays.fill(groups, gap, 8 - (n - gap), 0);
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
