package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Owns the windows of the methods in one partition: scores every visit that is new to its set against the distribution as it
 * was before, learns it, and forwards anomalies. The rules are those of farcall's package detect.
 *
 * <p>The store has a row for each method, pane and place: a {@link Cell}. What is read often is kept decoded in memory, bounded,
 * and every change is written through to the store at once, so that the store's own cache and changelog make it part of the
 * running transaction. A visit that is known, as most are, neither reads nor writes the store.
 */
final class Detect implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "rows";
    static final long PANE = Route.PANE;
    static final long SPAN = 30 * 24 * PANE;
    /** Rows outlive the window by it, so that the events of a raw partition that lags still meet their sets. */
    static final long LOOK_BACK = 24 * PANE;

    private static final double FLOOR = 50;
    /** Principals of a place past which no single one can carry it, so that nobody asks. */
    private static final int GUARD = 64;
    private static final int TOP = 5;
    /** Panes of a method that are kept decoded while late visits ask for old ones. */
    private static final int MOST_ROWS = 8;

    private final int cacheEntries;
    private final Counts counts = new Counts();
    private final Visit visit = new Visit();
    private final LinkedHashMap<Bytes, Window> windows = new LinkedHashMap<>(256, 0.75f, true);
    private long cached; // sum of the costs of windows
    // Places are numbered as they come. Countries are found by their two letters.
    private final short[] countries = new short[1 << 16];
    private final Map<String, Integer> regions = new HashMap<>();
    private final List<String> placeNames = new ArrayList<>();

    private ProcessorContext<byte[], byte[]> context;
    private WindowStore<Bytes, byte[]> store;
    private long streamPane;

    // The last distribution.
    private int[] tallyPlaces = new int[16];
    private long[] tallyVisits = new long[16];
    private int tallied;
    private long visits;
    private long placeVisits;
    private long support;
    private double probability;
    private double score;

    /** @param cacheEntries principals, panes and cells that are kept decoded, about 30 bytes each */
    Detect(int cacheEntries) {
        this.cacheEntries = cacheEntries;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> c) {
        context = c;
        store = c.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> r) {
        Visit v = visit;
        v.decode(r.value());
        long pane = Math.floorDiv(r.timestamp(), PANE) * PANE;
        // Kafka Streams keeps the stream time of a task in the metadata of its offsets, so that it survives a restart.
        streamPane = Math.floorDiv(context.currentStreamTimeMs(), PANE) * PANE;
        int place = place(v.value, Visit.PLACE);
        Window w = window(r.key());
        long before = w.cost;
        visit(w, pane, place, r);
        if (w.rows.size() > MOST_ROWS) {
            w.forget(streamPane - PANE);
        }
        cached += w.cost - before;
        trim(w);
    }

    private void visit(Window w, long pane, int place, Record<byte[], byte[]> r) {
        Visit v = visit;
        if (pane <= streamPane - SPAN - LOOK_BACK) { // too far behind to be learned
            counts.late++;
            if (judge(w, streamPane, place, v.principal)) {
                alert(r, pane, place);
            }
            return;
        }
        ByPlace<Cell> row = row(w, pane);
        Cell cell = row.get(place);
        int known = cell == null ? 0 : cell.known(v.principal);
        int gained = v.outcome & ~known;
        if (gained == 0) {
            counts.known++;
            return;
        }
        counts.learned++;
        // A presence that was only denied so far and is now allowed is judged again: that is the call that matters.
        if ((known == 0 || known == Visit.DENIED && (gained & Visit.ALLOWED) != 0) && judge(w, pane, place, v.principal)) {
            alert(r, pane, place);
        }
        learn(w, row, cell, pane, place, gained);
    }

    /** Unites the visit with its cell, in the sums, in memory and in the store. */
    private void learn(Window w, ByPlace<Cell> row, Cell cell, long pane, int place, int gained) {
        Visit v = visit;
        int before = 0;
        if (cell != null) {
            before = cell.cost();
        } else {
            cell = new Cell();
            if (row.size() == 0 && w.panes.add(pane)) {
                w.cost++;
            }
            row.put(place, cell);
        }
        if (!w.sums(pane)) {
            cell.add(v.principal, v.outcome);
        } else if (cell.spellsOut(v.principal)) {
            cell.add(v.principal, v.outcome);
            if ((gained & Visit.ALLOWED) != 0) {
                w.add(place, v.principal);
            }
        } else {
            w.add(place, cell, -1);
            cell.add(v.principal, v.outcome);
            w.add(place, cell, 1);
        }
        w.decoded(cell.cost() - before);
        store.put(key(w.method, placeNames.get(place)), cell.encode(), pane);
    }

    /** Scores a visit against the panes up to its own, and says whether it is an anomaly. */
    private boolean judge(Window w, long pane, int place, long principal) {
        Window.Support here = w.places.get(place);
        tallied = 0;
        for (int i = 0; i < w.places.size(); i++) {
            tally(w.places.place(i), w.places.value(i).visits);
        }
        visits = w.visits;
        placeVisits = here == null ? 0 : here.visits;
        Tally byPrincipal = here == null ? new Tally() : here.byPrincipal;
        if (pane != w.end) {
            byPrincipal = asOf(w, pane, place, byPrincipal.copy());
        }
        // The busiest other principal counts once, however long it stayed.
        support = placeVisits;
        if (byPrincipal.size() <= GUARD) {
            long[] busiest = {0};
            byPrincipal.each((h, n) -> {
                if (h != principal && n > busiest[0]) {
                    busiest[0] = n;
                }
            });
            support -= Math.max(busiest[0] - 1, 0);
        }
        long below = 0;
        boolean usual = true;
        for (int i = 0; i < tallied; i++) {
            if (tallyPlaces[i] != place && tallyVisits[i] > 0) {
                below += tallyVisits[i] <= support ? tallyVisits[i] : 0;
                usual &= tallyVisits[i] <= placeVisits;
            }
        }
        probability = Score.probability(visits, placeVisits, support, below, usual);
        score = Score.of(probability);
        return score >= FLOOR;
    }

    /**
     * Moves the last distribution from the panes of the sums to those in (pane − span, pane]: a late event is judged by what
     * came before it, not by what an intruder did since.
     */
    private Tally asOf(Window w, long pane, int place, Tally byPrincipal) {
        for (long p : w.panes) {
            boolean in = w.sums(p);
            boolean asked = p > pane - SPAN && p <= pane;
            if (in == asked) {
                continue;
            }
            int sign = asked ? 1 : -1;
            ByPlace<Cell> row = row(w, p);
            for (int i = 0; i < row.size(); i++) {
                Cell c = row.value(i);
                int n = sign * c.visits();
                visits += n;
                tally(row.place(i), n);
                if (row.place(i) != place) {
                    continue;
                }
                placeVisits += n;
                for (int k = 0; k < c.size(); k++) {
                    if ((c.get(k) & Visit.ALLOWED) != 0) {
                        byPrincipal.add(c.get(k) & ~3L, sign);
                    }
                }
            }
        }
        return byPrincipal;
    }

    private void tally(int place, long n) {
        for (int i = 0; i < tallied; i++) {
            if (tallyPlaces[i] == place) {
                tallyVisits[i] += n;
                return;
            }
        }
        if (tallied == tallyPlaces.length) {
            tallyPlaces = Arrays.copyOf(tallyPlaces, 2 * tallied);
            tallyVisits = Arrays.copyOf(tallyVisits, 2 * tallied);
        }
        tallyPlaces[tallied] = place;
        tallyVisits[tallied++] = n;
    }

    /** The window of a method, with its sums up to the pane of stream time. */
    private Window window(byte[] method) {
        Bytes key = Bytes.wrap(method);
        Window w = windows.get(key);
        if (w == null) {
            w = fill(method);
            windows.put(key, w);
            cached += w.cost;
        } else if (w.end != streamPane) {
            long before = w.cost;
            slide(w);
            cached += w.cost - before;
        }
        return w;
    }

    /** Drops the windows that were not used for longest, but for the one in use. */
    private void trim(Window inUse) {
        if (cached <= cacheEntries) {
            return;
        }
        for (Iterator<Window> i = windows.values().iterator(); cached > cacheEntries && i.hasNext(); ) {
            Window eldest = i.next();
            if (eldest != inUse) {
                cached -= eldest.cost;
                i.remove();
            }
        }
    }

    private Window fill(byte[] method) {
        Window w = new Window(method, streamPane);
        try (KeyValueIterator<Windowed<Bytes>, byte[]> cells = cells(method, streamPane - SPAN - LOOK_BACK + PANE, Long.MAX_VALUE)) {
            while (cells.hasNext()) {
                KeyValue<Windowed<Bytes>, byte[]> kv = cells.next();
                long pane = kv.key.window().start();
                int place = placeOf(kv.key.key(), method.length);
                Cell c = new Cell(kv.value);
                if (w.panes.add(pane)) {
                    w.cost++;
                }
                if (w.sums(pane)) {
                    w.add(place, c, 1);
                }
                if (pane >= w.end - PANE) {
                    w.rows.computeIfAbsent(pane, p -> new ByPlace<>()).put(place, c);
                    w.decoded(c.cost());
                }
            }
        }
        return w;
    }

    /** Moves the sums on to the pane of stream time, and lets go of what is too old to be asked for often. */
    private void slide(Window w) {
        move(w, w.panes.subSet(w.end - SPAN, false, Math.min(w.end, streamPane - SPAN), true), -1);
        move(w, w.panes.subSet(Math.max(w.end, streamPane - SPAN), false, streamPane, true), 1);
        w.end = streamPane;
        w.forget(streamPane - PANE);
        int before = w.panes.size();
        w.panes.headSet(streamPane - SPAN - LOOK_BACK, true).clear();
        w.cost += w.panes.size() - before;
    }

    private void move(Window w, Iterable<Long> panes, int sign) {
        for (long p : panes) {
            ByPlace<Cell> row = row(w, p);
            for (int i = 0; i < row.size(); i++) {
                w.add(row.place(i), row.value(i), sign);
            }
        }
    }

    /** The cells of one pane. */
    private ByPlace<Cell> row(Window w, long pane) {
        ByPlace<Cell> row = w.rows.get(pane);
        if (row != null) {
            return row;
        }
        row = new ByPlace<>();
        if (w.panes.contains(pane)) {
            try (KeyValueIterator<Windowed<Bytes>, byte[]> cells = cells(w.method, pane, pane)) {
                while (cells.hasNext()) {
                    KeyValue<Windowed<Bytes>, byte[]> kv = cells.next();
                    Cell c = new Cell(kv.value);
                    row.put(placeOf(kv.key.key(), w.method.length), c);
                    w.decoded(c.cost());
                }
            }
        }
        w.rows.put(pane, row);
        return row;
    }

    // Keys are method, 0, place: all places of a method lie together.

    private KeyValueIterator<Windowed<Bytes>, byte[]> cells(byte[] method, long from, long to) {
        byte[] first = Arrays.copyOf(method, method.length + 1);
        byte[] last = first.clone();
        last[method.length] = 1;
        return store.fetch(Bytes.wrap(first), Bytes.wrap(last), from, to);
    }

    private static Bytes key(byte[] method, String place) {
        byte[] k = Arrays.copyOf(method, method.length + 1 + place.length());
        for (int i = 0; i < place.length(); i++) {
            k[method.length + 1 + i] = (byte) place.charAt(i);
        }
        return Bytes.wrap(k);
    }

    private int placeOf(Bytes key, int method) {
        return place(key.get(), method + 1);
    }

    /** The number of the place that is the rest of b from off on. */
    private int place(byte[] b, int off) {
        boolean country = b.length - off == 2;
        int letters = country ? (b[off] & 0xFF) << 8 | b[off + 1] & 0xFF : 0;
        if (country && countries[letters] != 0) {
            return countries[letters] - 1;
        }
        String name = new String(b, off, b.length - off, StandardCharsets.US_ASCII);
        Integer id = country ? null : regions.get(name);
        if (id == null) {
            id = placeNames.size();
            placeNames.add(name);
            if (country) {
                countries[letters] = (short) (id + 1);
            } else {
                regions.put(name, id);
            }
        }
        return id;
    }

    private void alert(Record<byte[], byte[]> r, long pane, int place) {
        counts.alerts++;
        Visit v = visit;
        StringBuilder b = new StringBuilder(400);
        b.append("{\"method\":\"");
        escape(b, new String(r.key(), StandardCharsets.UTF_8));
        b.append("\",\"place\":\"").append(placeNames.get(place)).append("\",\"principal\":\"").append(String.format("%016x", v.principal))
                .append("\",\"pane\":").append(pane / 1000).append(",\"eventTime\":").append(r.timestamp())
                .append(",\"delivered\":").append(v.delivered).append(",\"partition\":").append(v.partition)
                .append(",\"offset\":").append(v.offset).append(",\"outcome\":\"").append(v.outcome == Visit.DENIED ? "denied" : "allowed")
                .append("\",\"score\":").append(score).append(",\"probability\":").append(probability).append(",\"visits\":").append(visits)
                .append(",\"placeVisits\":").append(placeVisits).append(",\"support\":").append(support).append(",\"top\":[");
        Integer[] order = new Integer[tallied];
        Arrays.setAll(order, i -> i);
        Arrays.sort(order, Comparator.<Integer>comparingLong(i -> -tallyVisits[i]).thenComparing(i -> placeNames.get(tallyPlaces[i])));
        for (int i = 0; i < Math.min(TOP, tallied) && tallyVisits[order[i]] > 0; i++) {
            b.append(i == 0 ? "" : ",").append("{\"place\":\"").append(placeNames.get(tallyPlaces[order[i]])).append("\",\"visits\":")
                    .append(tallyVisits[order[i]]).append('}');
        }
        b.append("]}");
        context.forward(new Record<>(r.key(), b.toString().getBytes(StandardCharsets.UTF_8), r.timestamp()));
    }

    private static void escape(StringBuilder b, String s) {
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c < ' ' || c == '"' || c == '\\') {
                b.append(String.format("\\u%04x", (int) c));
            } else {
                b.append(c);
            }
        }
    }
}
