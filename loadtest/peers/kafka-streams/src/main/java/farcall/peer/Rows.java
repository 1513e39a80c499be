package farcall.peer;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.Bytes;

/** Writes the rows of a job that was stopped, from the changelog of its store: what is committed there is what the job knows. */
final class Rows {
    /** Behind the key of a window store: start of the window, Unix milliseconds, and a sequence number. */
    private static final int WINDOW_SUFFIX = 12;

    private Rows() {}

    static void dump(Options o) throws IOException {
        Map<Integer, Map<Bytes, byte[]>> rows = new HashMap<>();
        Properties p = new Properties();
        p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, o.brokers());
        p.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = c.partitionsFor(o.changelog()).stream()
                    .map(i -> new TopicPartition(i.topic(), i.partition())).toList();
            if (all.isEmpty()) {
                throw new IOException("there is no topic " + o.changelog());
            }
            c.assign(all);
            c.seekToBeginning(all);
            Map<TopicPartition, Long> ends = c.endOffsets(all);
            while (all.stream().anyMatch(tp -> c.position(tp) < ends.get(tp))) {
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofSeconds(1))) {
                    Map<Bytes, byte[]> part = rows.computeIfAbsent(r.partition(), n -> new HashMap<>());
                    if (r.value() == null) {
                        part.remove(Bytes.wrap(r.key()));
                    } else {
                        part.put(Bytes.wrap(r.key()), r.value());
                    }
                }
            }
        }
        TreeSet<Bytes> lines = new TreeSet<>();
        for (Map<Bytes, byte[]> part : rows.values()) {
            // What no window can ask for any more is gone from the store before it is gone from the changelog.
            long newest = part.keySet().stream().mapToLong(Rows::pane).max().orElse(0);
            part.forEach((key, cell) -> {
                if (pane(key) > newest - Detect.SPAN - Detect.LOOK_BACK) {
                    lines.add(line(key, cell));
                }
            });
        }
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(o.dump()))) {
            for (Bytes line : lines) {
                out.write(line.get());
            }
        }
    }

    private static long pane(Bytes key) {
        return ByteBuffer.wrap(key.get()).getLong(key.get().length - WINDOW_SUFFIX);
    }

    /** Method, pane, place, principals and a hash of the cell, as README.md describes them. */
    private static Bytes line(Bytes key, byte[] cell) {
        byte[] k = key.get();
        int end = k.length - WINDOW_SUFFIX;
        int nul = 0;
        while (k[nul] != 0) {
            nul++;
        }
        Text line = new Text();
        line.add(k, 0, nul).add('\t').add(Names.ascii(Long.toString(pane(key) / 1000))).add('\t').add(k, nul + 1, end - nul - 1)
                .add('\t').add(Names.ascii(Integer.toString(new Cell(cell).visits()))).add('\t')
                .add(Names.ascii(String.format("%016x", Hash.of(cell, 0, cell.length)))).add('\n');
        return Bytes.wrap(Arrays.copyOf(line.a, line.len));
    }
}
