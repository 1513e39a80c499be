package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Bytes of a text: a part of an array that belongs to somebody else, or a buffer that is appended to. Reused, never shared. */
final class Text {
    byte[] a = {};
    int off;
    int len;

    Text() {}

    Text(String s) {
        a = s.getBytes(StandardCharsets.UTF_8);
        len = a.length;
    }

    void set(byte[] bytes, int from, int to) {
        a = bytes;
        off = from;
        len = to - from;
    }

    void clear() {
        len = 0;
    }

    boolean isEmpty() {
        return len == 0;
    }

    byte at(int i) {
        return a[off + i];
    }

    boolean is(byte[] word) {
        return len == word.length && Arrays.equals(a, off, off + len, word, 0, word.length);
    }

    boolean startsWith(byte[] word) {
        return startsWith(word, 0);
    }

    boolean startsWith(byte[] word, int from) {
        return len - from >= word.length
                && Arrays.equals(a, off + from, off + from + word.length, word, 0, word.length);
    }

    boolean endsWith(byte[] word) {
        return len >= word.length && startsWith(word, len - word.length);
    }

    /** Index of the first c at from or later, -1 if there is none. */
    int indexOf(char c, int from) {
        for (int i = from; i < len; i++) {
            if (a[off + i] == c) {
                return i;
            }
        }
        return -1;
    }

    int lastIndexOf(char c) {
        int i = len - 1;
        while (i >= 0 && a[off + i] != c) {
            i--;
        }
        return i;
    }

    /** Index of the first word, -1 if there is none. */
    int indexOf(byte[] word) {
        for (int i = 0; i <= len - word.length; i++) {
            if (a[off + i] == word[0] && startsWith(word, i)) {
                return i;
            }
        }
        return -1;
    }

    byte[] bytes() {
        return Arrays.copyOfRange(a, off, off + len);
    }

    @Override
    public String toString() {
        return new String(a, off, len, StandardCharsets.UTF_8);
    }

    // As a buffer, which starts at 0 of its own array.

    private void grow(int more) {
        if (len + more > a.length) {
            a = Arrays.copyOf(a, Math.max(2 * a.length, len + more + 64));
        }
    }

    Text add(char c) {
        grow(1);
        a[len++] = (byte) c;
        return this;
    }

    Text add(byte[] word) {
        return add(word, 0, word.length);
    }

    Text add(Text t) {
        return add(t.a, t.off, t.len);
    }

    Text add(byte[] from, int at, int n) {
        grow(n);
        System.arraycopy(from, at, a, len, n);
        len += n;
        return this;
    }
}
