package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Tells the few keys of an object that matter from all others: by their first and last byte and their length, then by all bytes. */
final class Keys {
    private static final int SLOTS = 256;

    private final byte[][] words = new byte[SLOTS][];
    private final byte[] ids = new byte[SLOTS];
    private final int spread;

    /** The id of names[i] is i. */
    Keys(String... names) {
        int s = 1;
        while (!fits(names, s)) {
            s += 2;
        }
        spread = s;
    }

    /** Whether no two names share a slot. */
    private boolean fits(String[] names, int s) {
        Arrays.fill(words, null);
        for (int id = 0; id < names.length; id++) {
            byte[] word = names[id].getBytes(StandardCharsets.US_ASCII);
            int slot = slot(word[0], word[word.length - 1], word.length, s);
            if (words[slot] != null) {
                return false;
            }
            words[slot] = word;
            ids[slot] = (byte) id;
        }
        return true;
    }

    private static int slot(int first, int last, int length, int s) {
        return (first * 31 + last * 7 + length) * s >>> 3 & SLOTS - 1;
    }

    /** The id of the key from..to in b, -1 if it is none of the names. */
    int id(byte[] b, int from, int to) {
        if (from == to) {
            return -1;
        }
        int slot = slot(b[from], b[to - 1], to - from, spread);
        byte[] word = words[slot];
        return word != null && Arrays.equals(word, 0, word.length, b, from, to) ? ids[slot] : -1;
    }
}
