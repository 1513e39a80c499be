package farcall.peer;

import net.jpountz.xxhash.XXHash64;
import net.jpountz.xxhash.XXHashFactory;

/** XXH64 with seed 0, in Java: for texts this short a call into native code takes longer than the hash. */
final class Hash {
    private static final XXHash64 XXH64 = XXHashFactory.fastestJavaInstance().hash64();

    private Hash() {}

    static long of(byte[] b, int off, int len) {
        return XXH64.hash(b, off, len, 0);
    }

    /** The hash of a principal, whose two low bits are free for the outcome. */
    static long principal(Text p) {
        return of(p.a, 0, p.len) & ~3L;
    }
}
