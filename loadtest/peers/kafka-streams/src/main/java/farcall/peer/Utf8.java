package farcall.peer;

/** UTF-8 as Go reads and writes it. */
final class Utf8 {
    static final int REPLACEMENT = 0xFFFD;

    private Utf8() {}

    /** Bytes of the character at i, which ends before to; 0 if it is invalid. */
    static int size(byte[] b, int i, int to) {
        int c = b[i] & 0xFF;
        if (c < 0x80) {
            return 1;
        }
        int size = c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
        if (size == 0 || i + size > to) {
            return 0;
        }
        int second = b[i + 1] & 0xFF;
        int least = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80; // no longer forms
        int most = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF; // no surrogates, nothing past U+10FFFF
        if (second < least || second > most) {
            return 0;
        }
        for (int k = 2; k < size; k++) {
            if ((b[i + k] & 0xC0) != 0x80) {
                return 0;
            }
        }
        return size;
    }

    /** Writes a character at n, and returns where the next goes. */
    static int put(byte[] out, int n, int r) {
        if (r < 0x80) {
            out[n++] = (byte) r;
        } else if (r < 0x800) {
            out[n++] = (byte) (0xC0 | r >> 6);
            out[n++] = (byte) (0x80 | r & 0x3F);
        } else if (r < 0x10000) {
            out[n++] = (byte) (0xE0 | r >> 12);
            out[n++] = (byte) (0x80 | r >> 6 & 0x3F);
            out[n++] = (byte) (0x80 | r & 0x3F);
        } else {
            out[n++] = (byte) (0xF0 | r >> 18);
            out[n++] = (byte) (0x80 | r >> 12 & 0x3F);
            out[n++] = (byte) (0x80 | r >> 6 & 0x3F);
            out[n++] = (byte) (0x80 | r & 0x3F);
        }
        return n;
    }

    /** Where a text that is longer than limit is cut, not within a character. */
    static int cut(byte[] b, int off, int limit) {
        for (int cut = limit; cut > 0 && cut > limit - 4; cut--) {
            if ((b[off + cut] & 0xC0) != 0x80) {
                return cut;
            }
        }
        return limit;
    }
}
