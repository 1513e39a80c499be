package farcall.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Whole jobs, step by step, against what a few sets and the formula say. */
class JobsTest {
    private static final Instant START = Instant.parse("2026-03-02T12:30:00Z");
    private static final long HOUR = 3_600_000;
    private static final String[] ADDRESSES = {"8.8.8.8", "78.1.2.3", "1.0.0.1", "200.0.0.1"};
    private static final String[] PLACES = {"US", "DE", "AU", "aws:sa-east-1"};

    @TempDir
    Path dir;

    /** A job with its topics. */
    private final class Job implements AutoCloseable {
        final TopologyTestDriver driver;
        final TestInputTopic<byte[], byte[]> raw;
        final Options options;

        Job(String job, int cacheEntries) throws IOException {
            options = Options.parse(new String[] {"--job", job, "--brokers", "none:1", "--raw", "raw", "--application-id", "test", "--state-dir",
                dir.resolve(job).toString(), "--places", "p", "--partitions", Integer.toString(Options.CACHE_ENTRIES / cacheEntries)});
            Places places = Places.read(PartsTest.table(dir));
            Topology t = job.equals("dsl") ? Topologies.dsl(options, places) : Topologies.papi(options, places);
            driver = new TopologyTestDriver(t, options.streams());
            raw = driver.createInputTopic("raw", new ByteArraySerializer(), new ByteArraySerializer());
        }

        void event(long time, String method, String place, String user) {
            String[] m = method.split(":");
            String address = ADDRESSES[List.of(PLACES).indexOf(place)];
            String r = Sample.record(Instant.ofEpochMilli(time).toString(), m[0] + ".amazonaws.com", m[1], address, Sample.user(user));
            // With the time of the event: the driver runs both halves of the job as one task, which has one stream time.
            raw.pipeInput(null, Sample.utf8(r), time);
        }

        List<JsonNode> alerts() throws IOException {
            List<JsonNode> all = new ArrayList<>();
            var topic = driver.createOutputTopic(options.alerts(), new ByteArrayDeserializer(), new ByteArrayDeserializer());
            for (byte[] value : topic.readValuesToList()) {
                all.add(new ObjectMapper().readTree(value));
            }
            return all;
        }

        /** Visits by method, pane and place. */
        Map<String, Integer> rows() {
            Map<String, Integer> rows = new TreeMap<>();
            try (KeyValueIterator<Windowed<Bytes>, byte[]> all = driver.<Bytes, byte[]>getWindowStore(Detect.STORE).all()) {
                while (all.hasNext()) {
                    KeyValue<Windowed<Bytes>, byte[]> kv = all.next();
                    String key = new String(kv.key.key().get()).replace('\0', ' ');
                    rows.put(kv.key.window().start() + " " + key, new Cell(kv.value).visits());
                }
            }
            return rows;
        }

        @Override
        public void close() {
            driver.close();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"dsl", "papi"})
    void aFirstCountryIsAnAnomaly(String name) throws IOException {
        try (Job job = new Job(name, 1 << 16)) {
            long t = START.toEpochMilli();
            for (int i = 0; i < 250; i++) {
                job.event(t + i * 1000, "iam:CreateUser", "DE", "user" + i);
                job.event(t + i * 1000, "iam:CreateUser", "DE", "user" + i); // a repeat
            }
            assertEquals(List.of(), job.alerts());
            job.event(t + 300_000, "iam:CreateUser", "US", "mallory");
            job.event(t + 301_000, "iam:CreateUser", "US", "mallory");
            job.event(t + 301_000, "iam:CreateUser", "aws:sa-east-1", "eve");
            List<JsonNode> alerts = job.alerts();
            assertEquals(2, alerts.size());
            JsonNode a = alerts.get(0);
            assertEquals("iam:CreateUser", a.get("method").asText());
            assertEquals("US", a.get("place").asText());
            assertEquals(0, a.get("placeVisits").asInt());
            assertEquals(Score.of(a.get("probability").asDouble()), a.get("score").asDouble());
            assertEquals(t + 300_000, a.get("eventTime").asLong());
            assertEquals(500, a.get("offset").asLong());
            assertEquals("DE", a.get("top").get(0).get("place").asText());
            assertEquals("aws:sa-east-1", alerts.get(1).get("place").asText());
            assertEquals(3, job.rows().size());
        }
    }

    /** What must come out, by the definition: sets of principals, and sums over them for each visit. */
    private static final class Oracle {
        final Map<String, TreeMap<Long, Map<String, Map<String, Boolean>>>> rows = new HashMap<>(); // method, pane, place, user
        final List<String> alerts = new ArrayList<>();
        long streamPane = Long.MIN_VALUE;

        void event(long time, String method, String place, String user) {
            long pane = Math.floorDiv(time, HOUR) * HOUR;
            streamPane = Math.max(streamPane, pane);
            boolean stale = pane <= streamPane - Detect.SPAN - Detect.LOOK_BACK;
            TreeMap<Long, Map<String, Map<String, Boolean>>> panes = rows.computeIfAbsent(method, m -> new TreeMap<>());
            if (!stale && panes.getOrDefault(pane, Map.of()).getOrDefault(place, Map.of()).containsKey(user)) {
                return;
            }
            long asOf = stale ? streamPane : pane;
            Map<String, Long> visits = new TreeMap<>();
            Map<String, Long> others = new HashMap<>();
            panes.subMap(asOf - Detect.SPAN, false, asOf, true).values().forEach(row -> row.forEach((p, users) -> {
                visits.merge(p, (long) users.size(), Long::sum);
                if (p.equals(place)) {
                    users.keySet().stream().filter(u -> !u.equals(user)).forEach(u -> others.merge(u, 1L, Long::sum));
                }
            }));
            long all = visits.values().stream().mapToLong(n -> n).sum();
            long here = visits.getOrDefault(place, 0L);
            long support = here - Math.max(others.values().stream().mapToLong(n -> n).max().orElse(0) - 1, 0);
            long below = visits.entrySet().stream().filter(e -> !e.getKey().equals(place) && e.getValue() <= support).mapToLong(Map.Entry::getValue).sum();
            boolean usual = visits.values().stream().allMatch(n -> n <= here);
            double score = Score.of(Score.probability(all, here, support, below, usual));
            if (score >= 50) {
                alerts.add(time + " " + method + " " + place + " " + all + " " + here + " " + support + " " + score);
            }
            if (!stale) {
                panes.computeIfAbsent(pane, p -> new HashMap<>()).computeIfAbsent(place, p -> new HashMap<>()).put(user, true);
            }
        }
    }

    /** Eighty days of a few methods, with late and stale events, and a memory that is too small for them. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void asTheOracleSays(int seed) throws IOException {
        Random random = new Random(seed);
        Oracle oracle = new Oracle();
        try (Job job = new Job("dsl", 1 << 10)) {
            long now = START.toEpochMilli();
            for (int i = 0; i < 4_000; i++) {
                now += random.nextInt(3450) * 1000L;
                long time = now / 1000 * 1000;
                switch (random.nextInt(10)) {
                    case 0 -> time -= random.nextInt(3) * HOUR;
                    case 1 -> time -= random.nextInt(20) == 0 ? random.nextInt(33 * 24) * HOUR : 0;
                    default -> { }
                }
                String method = "svc:Do" + random.nextInt(2);
                String place = PLACES[random.nextInt(100) == 0 ? random.nextInt(4) : 1];
                String user = "user" + random.nextInt(9);
                job.event(time, method, place, user);
                oracle.event(time, method, place, user);
            }
            List<String> alerts = new ArrayList<>();
            for (JsonNode a : job.alerts()) {
                alerts.add(a.get("eventTime").asLong() + " " + a.get("method").asText() + " " + a.get("place").asText() + " " + a.get("visits").asLong() + " "
                        + a.get("placeVisits").asLong() + " " + a.get("support").asLong() + " " + a.get("score").asDouble());
            }
            assertEquals(oracle.alerts, alerts);
            assertTrue(alerts.size() > 2, alerts.size() + " alerts");
            Map<String, Integer> want = new TreeMap<>();
            oracle.rows.forEach((method, panes) -> panes.tailMap(oracle.streamPane - Detect.SPAN - Detect.LOOK_BACK, false).forEach((pane, row) ->
                    row.forEach((place, users) -> want.put(pane + " " + method + " " + place, users.size()))));
            Map<String, Integer> got = job.rows();
            // The store drops whole segments: it may still have older rows.
            got.keySet().removeIf(k -> Long.parseLong(k.split(" ")[0]) <= oracle.streamPane - Detect.SPAN - Detect.LOOK_BACK);
            assertEquals(want, got);
        }
    }

    @Test
    void bothJobsLearnTheSame() throws IOException {
        Random random = new Random(5);
        try (Job dsl = new Job("dsl", 1 << 16); Job papi = new Job("papi", 1 << 16)) {
            for (int i = 0; i < 20_000; i++) {
                long time = START.toEpochMilli() + i * 1000L - (random.nextInt(10) == 0 ? HOUR : 0);
                String method = "svc:Do" + random.nextInt(3);
                String place = PLACES[random.nextInt(4)];
                String user = "user" + random.nextInt(random.nextInt(3) == 0 ? 2000 : 20);
                dsl.event(time, method, place, user);
                papi.event(time, method, place, user);
            }
            assertEquals(dsl.rows(), papi.rows());
            assertTrue(dsl.rows().values().stream().anyMatch(n -> n > 100), "no cell has a counter");
            assertEquals(dsl.alerts(), papi.alerts());
        }
    }

    @Test
    void commandLine() {
        for (String bad : List.of("", "--job x", "--job dsl --brokers b", "--dump f --brokers b", "--dump f --brokers b --application-id i --odd 1",
                "--dump f --brokers b --application-id i --threads 0", "--dump")) {
            assertEquals(IllegalArgumentException.class,
                    org.junit.jupiter.api.Assertions.assertThrows(IllegalArgumentException.class, () -> Options.parse(bad.split(" "))).getClass());
        }
        Options o = Options.parse("--dump f --brokers b --application-id i --set a=b=c".split(" "));
        assertEquals("i-rows-changelog", o.changelog());
        assertEquals(Map.of("a", "b=c"), o.settings());
    }
}
