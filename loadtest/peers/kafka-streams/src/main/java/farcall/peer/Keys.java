package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Tells the few keys of an object that matter from all others: by three of their bytes and their length, then by all bytes. */
final class Keys {
    private static final int SLOTS = 256;

    private final byte[][] words = new byte[SLOTS][];
    private final byte[] ids = new byte[SLOTS];
    private final int spread;

    /** The id of names[i] is i. */
    Keys(String... names) {
        int s = 1;
        while (!fits(names, s)) {
            if ((s += 2) > 1 << 20) {
                throw new IllegalArgumentException("two of the names can't be told apart by what slot looks at");
            }
        }
        spread = s;
    }

    /** Whether no two names share a slot. */
    private boolean fits(String[] names, int s) {
        Arrays.fill(words, null);
        for (int id = 0; id < names.length; id++) {
            byte[] word = names[id].getBytes(StandardCharsets.US_ASCII);
            int slot = slot(word, 0, word.length, s);
            if (words[slot] != null) {
                return false;
            }
            words[slot] = word;
            ids[slot] = (byte) id;
        }
        return true;
    }

    private static int slot(byte[] b, int from, int length, int s) {
        // Two thirds in, eventTime, eventName, eventType and errorCode differ.
        return (b[from] + 31 * b[from + 2 * length / 3] + 961 * b[from + length - 1] + length) * s >>> 7 & SLOTS - 1;
    }

    /** The id of the key from..to in b, -1 if it is none of the names. */
    int id(byte[] b, int from, int to) {
        if (from == to) {
            return -1;
        }
        int slot = slot(b, from, to - from, spread);
        byte[] word = words[slot];
        return word != null && Arrays.equals(word, 0, word.length, b, from, to) ? ids[slot] : -1;
    }
}
