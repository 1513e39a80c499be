package farcall.peer;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/**
 * Passes over JSON text once, from front to back, and holds every byte that it passes over against RFC 8259, what nobody
 * keeps included. It allocates nothing.
 *
 * <p>Most of a CloudTrail record is short strings. A loop over their bytes would leave at another turn each time, which no
 * processor foresees, so the scanner marks the odd bytes of a block of 64 first, without a branch, and then finds the end of
 * each string by counting zeros up to the next mark.
 *
 * <p>The end of the text is the end of the array: reading past it is an ArrayIndexOutOfBoundsException, which callers take
 * for text that ends early. The check is one that the virtual machine makes in any case.
 */
final class Json {
    /** Text that is no JSON, or is nested too deeply. */
    static final class Bad extends RuntimeException {
        private static final long serialVersionUID = 1;

        Bad(String why) {
            super(why, null, false, false); // no stack trace: bad records may come in streams
        }
    }

    /** More levels of objects and arrays than a record may have. */
    static final int MAX_DEPTH = 256;

    private static final Bad NOT_JSON = new Bad("not JSON");
    private static final Bad TOO_DEEP = new Bad("nested too deeply");

    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final long EACH = 0x0101010101010101L;
    private static final long HIGH = 0x8080808080808080L;
    private static final int BLOCK = 64;

    byte[] b;
    /** Set by {@link #stringEnd}: the string means what is written, ASCII without escapes. */
    boolean plain;

    /**
     * A bit for each byte of the block at base by which a string may end or needs a closer look: quotes, backslashes,
     * control characters, what is not ASCII; and now and then another one behind those. Marks of what has been passed over
     * may be gone.
     */
    private long odd;
    private int base;
    private final byte[] last = new byte[BLOCK];

    void reset(byte[] text) {
        b = text;
        odd = 0;
        base = -BLOCK;
    }

    private long load(int at) {
        byte[] text = b;
        if (at + BLOCK <= text.length) {
            return marks(text, at);
        }
        // Behind the end all bytes are odd: reading one of them ends the scan.
        java.util.Arrays.fill(last, (byte) 0xFF);
        if (at < text.length) {
            System.arraycopy(text, at, last, 0, text.length - at);
        }
        return marks(last, 0);
    }

    private static long marks(byte[] t, int i) {
        return marksOf((long) LONG.get(t, i)) | marksOf((long) LONG.get(t, i + 8)) << 8
                | marksOf((long) LONG.get(t, i + 16)) << 16 | marksOf((long) LONG.get(t, i + 24)) << 24
                | marksOf((long) LONG.get(t, i + 32)) << 32 | marksOf((long) LONG.get(t, i + 40)) << 40
                | marksOf((long) LONG.get(t, i + 48)) << 48 | marksOf((long) LONG.get(t, i + 56)) << 56;
    }

    /**
     * With its second bit flipped the quote is next above the control characters (the blank and the exclamation mark give
     * way), so that one subtraction tells both. It borrows from the byte behind, and may mark that too; such marks are
     * looked at and passed over.
     */
    private static long marksOf(long w) {
        long m = ((w ^ 2 * EACH) - ('"' - 1) * EACH | (w ^ '\\' * EACH) - EACH | w) & HIGH;
        return m * 0x0002040810204081L >>> 56; // gathers the high bits
    }

    /** Where the next odd byte is, at i or later; its mark then is the lowest. */
    private int nextOdd(int i) {
        long o = odd;
        int at = base;
        for (;;) {
            while (o == 0) {
                at += BLOCK;
                o = load(at);
            }
            int found = at + Long.numberOfTrailingZeros(o);
            if (found >= i) {
                odd = o;
                base = at;
                return found;
            }
            o &= o - 1;
        }
    }

    /** Where the string ends whose opening quote is at i. */
    int stringEnd(int i) {
        if (b[i] != '"') {
            throw NOT_JSON;
        }
        plain = true;
        int at = i + 1;
        for (;;) {
            at = nextOdd(at);
            int c = b[at];
            if (c == '"') {
                odd &= odd - 1;
                return at + 1;
            }
            if (c == '\\') {
                plain = false;
                at = escapeEnd(at + 1);
            } else if (c < 0) {
                plain = false;
                do {
                    at++;
                } while (b[at] < 0);
            } else if (c < ' ') {
                throw NOT_JSON;
            } else {
                at++;
            }
        }
    }

    private int escapeEnd(int i) {
        switch (b[i]) {
            case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
                return i + 1;
            case 'u':
                for (int k = 1; k <= 4; k++) {
                    if (Character.digit(b[i + k], 16) < 0) {
                        throw NOT_JSON;
                    }
                }
                return i + 5;
            default:
                throw NOT_JSON;
        }
    }

    /** Where the next byte is that is no blank, at i or later; or the end. */
    int blanks(int i) {
        byte[] text = b;
        while (i < text.length && text[i] <= ' ' && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r')) {
            i++;
        }
        return i;
    }

    /** Where the value at i ends, which may have that many levels of objects and arrays. */
    int skip(int i, int levels) {
        byte[] text = b;
        long objects = 0; // a bit for each open level, the innermost lowest: is it an object?
        int level = 0;
        for (;;) {
            switch (text[i]) {
                case '"':
                    i = stringEnd(i);
                    break;
                case '{':
                case '[':
                    if (level == levels) {
                        throw TOO_DEEP;
                    }
                    if (level == Long.SIZE) {
                        i = skip(i, levels - level);
                        break;
                    }
                    boolean object = text[i] == '{';
                    level++;
                    objects = objects << 1 | (object ? 1 : 0);
                    i = blanks(i + 1);
                    if (text[i] != (object ? '}' : ']')) {
                        if (object) {
                            i = colon(stringEnd(i));
                        }
                        continue;
                    }
                    i++;
                    level--;
                    objects >>>= 1;
                    break;
                default:
                    i = word(i);
            }
            for (;;) { // behind a value
                if (level == 0) {
                    return i;
                }
                if (text[i] <= ' ') {
                    i = blanks(i);
                }
                int c = text[i++];
                if (c == ',') {
                    if (text[i] <= ' ') {
                        i = blanks(i);
                    }
                    if ((objects & 1) != 0) {
                        i = colon(stringEnd(i));
                    }
                    break;
                }
                if (c != ((objects & 1) != 0 ? '}' : ']')) {
                    throw NOT_JSON;
                }
                level--;
                objects >>>= 1;
            }
        }
    }

    /** Where the value starts behind the key that ends at i. */
    int colon(int i) {
        if (b[i] == ':' && b[i + 1] > ' ') {
            return i + 1;
        }
        i = blanks(i);
        if (b[i] != ':') {
            throw NOT_JSON;
        }
        return blanks(i + 1);
    }

    /** Where the first element is of the object or array at i; or -1 minus where it ends, if it has none. */
    int open(int i, char close) {
        i++;
        if (b[i] <= ' ') {
            i = blanks(i);
        }
        return b[i] == close ? -2 - i : i;
    }

    /** Where the next element is of an object or array, when the last ends at i; or -1 minus where it ends. */
    int next(int i, char close) {
        if (b[i] <= ' ') {
            i = blanks(i);
        }
        int c = b[i];
        if (c == ',') {
            i++;
            return b[i] <= ' ' ? blanks(i) : i;
        }
        if (c != close) {
            throw NOT_JSON;
        }
        return -2 - i;
    }

    /** Where the number, boolean or null at i ends. */
    private int word(int i) {
        switch (b[i]) {
            case 't':
                return literal(i, "true");
            case 'f':
                return literal(i, "false");
            case 'n':
                return literal(i, "null");
            default:
                return number(i);
        }
    }

    private int literal(int i, String word) {
        for (int k = 1; k < word.length(); k++) {
            if (b[i + k] != word.charAt(k)) {
                throw NOT_JSON;
            }
        }
        return i + word.length();
    }

    private int number(int i) {
        if (b[i] == '-') {
            i++;
        }
        i = b[i] == '0' ? i + 1 : digits(i);
        if (i < b.length && b[i] == '.') {
            i = digits(i + 1);
        }
        if (i < b.length && (b[i] | 0x20) == 'e') {
            i++;
            if (b[i] == '+' || b[i] == '-') {
                i++;
            }
            i = digits(i);
        }
        return i;
    }

    private int digits(int i) {
        int start = i;
        while (i < b.length && b[i] >= '0' && b[i] <= '9') {
            i++;
        }
        if (i == start) {
            throw NOT_JSON;
        }
        return i;
    }
}
