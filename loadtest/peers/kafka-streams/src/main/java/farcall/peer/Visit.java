package farcall.peer;

import java.nio.ByteBuffer;

/**
 * The value of a record between route and detect; its key is the method, its timestamp the event time.
 *
 * <pre>
 * outcome 1 byte | principal's hash 8 | time of the raw record 8 | raw partition 4 | raw offset 8 | place, the rest
 * </pre>
 */
final class Visit {
    static final int ALLOWED = 1;
    static final int DENIED = 2;

    static final int PLACE = 29;

    int outcome;
    long principal;
    long delivered;
    int partition;
    long offset;
    /** The encoded visit; the place is what follows at PLACE. */
    byte[] value;

    static byte[] encode(int outcome, long principal, long delivered, int partition, long offset, byte[] place) {
        ByteBuffer b = ByteBuffer.allocate(PLACE + place.length);
        b.put((byte) outcome).putLong(principal).putLong(delivered).putInt(partition).putLong(offset).put(place);
        return b.array();
    }

    void decode(byte[] v) {
        ByteBuffer b = ByteBuffer.wrap(v);
        outcome = b.get();
        principal = b.getLong();
        delivered = b.getLong();
        partition = b.getInt();
        offset = b.getLong();
        value = v;
    }
}
