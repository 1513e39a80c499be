package farcall.peer;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/**
 * Turns raw records into visits, by method: decodes, geolocates, and tells of each event, or of each presence once. It keeps
 * nothing that could not be lost at any time: a task that is made anew begins with an empty memory and tells some again.
 */
final class Route implements Processor<byte[], byte[], byte[], byte[]>, Decoder.Handler {
    /** How far an event may lie ahead of the clock. */
    private static final long SKEW = 5 * 60_000;
    static final long PANE = 3_600_000;

    private final Places.Lookup places;
    private final Told told; // null: every event is told
    private final Decoder decoder = new Decoder();
    private final Names names = new Names();
    private final Counts counts = new Counts();
    private final Text method = new Text();
    private final Text principal = new Text();
    private final Text hashed = new Text();

    private ProcessorContext<byte[], byte[]> context;
    private Record<byte[], byte[]> raw;
    private int partition;
    private long offset;

    Route(Places places, boolean tellOnce) {
        this.places = places.lookup();
        this.told = tellOnce ? new Told() : null;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> c) {
        context = c;
    }

    @Override
    public void process(Record<byte[], byte[]> r) {
        raw = r;
        RecordMetadata at = context.recordMetadata().orElseThrow();
        partition = at.partition();
        offset = at.offset();
        decoder.decode(r.value(), this);
    }

    @Override
    public void refuse(String why) {
        counts.refused++;
    }

    @Override
    public void event(Event e) {
        counts.events++;
        if (e.time > Math.min(raw.timestamp(), System.currentTimeMillis()) + SKEW) {
            counts.refused++;
            return;
        }
        byte[] place = places.locate(e.address);
        if (place.length == 0) {
            counts.noPlace++;
            return;
        }
        names.method(e, method);
        names.principal(e, principal);
        int outcome = Names.denied(e) ? Visit.DENIED : Visit.ALLOWED;
        if (told != null && !first(Math.floorDiv(e.time, PANE), outcome, place)) {
            counts.repeats++;
            return;
        }
        counts.visits++;
        byte[] value = Visit.encode(outcome, Hash.principal(principal), raw.timestamp(), partition, offset, place);
        context.forward(new Record<>(method.bytes(), value, e.time));
    }

    private boolean first(long pane, int outcome, byte[] place) {
        hashed.clear();
        hashed.add((char) outcome).add(method).add('\0').add(place).add('\0').add(principal);
        return told.first(pane, Hash.of(hashed.a, 0, hashed.len));
    }
}
