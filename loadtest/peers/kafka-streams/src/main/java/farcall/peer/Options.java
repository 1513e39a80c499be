package farcall.peer;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.StreamsConfig;

/**
 * The command line, and the settings of Kafka Streams. README.md says of each setting that differs from its default why it does.
 *
 * @param job dsl or papi
 * @param dump a file: write the rows of a stopped job there instead of running one
 * @param threads stream threads: one a core
 * @param partitions of the visits and the alerts
 * @param commitMs milliseconds between commits
 */
record Options(String job, String brokers, String raw, String applicationId, Path stateDir, Path places, Path dump, int threads,
        int partitions, int commitMs, String alerts, Map<String, String> settings) {
    static final String USAGE = """
            usage: peer.jar --job dsl|papi --brokers HOST:PORT --raw TOPIC --application-id ID --state-dir DIR --places FILE
                            [--threads N] [--partitions N] [--commit-ms N] [--alerts TOPIC] [--set NAME=VALUE]...
                   peer.jar --dump FILE --brokers HOST:PORT --application-id ID
            """;

    /** Principals, panes and cells of all tasks together that are kept decoded: about 60 MB. */
    static final int CACHE_ENTRIES = 1 << 21;

    static Options parse(String[] args) {
        Map<String, String> given = new HashMap<>();
        Map<String, String> settings = new HashMap<>();
        for (int i = 0; i < args.length; i += 2) {
            if (!args[i].startsWith("--") || i + 1 == args.length) {
                throw new IllegalArgumentException(args[i] + ": a flag and its value are wanted");
            }
            if (args[i].equals("--set")) {
                String[] setting = args[i + 1].split("=", 2);
                if (setting.length != 2) {
                    throw new IllegalArgumentException("--set wants NAME=VALUE");
                }
                settings.put(setting[0], setting[1]);
            } else if (given.put(args[i].substring(2), args[i + 1]) != null) {
                throw new IllegalArgumentException(args[i] + " is given twice");
            }
        }
        String dump = given.remove("dump");
        String id = need(given, "application-id");
        String job = dump == null ? need(given, "job") : "none";
        if (dump == null && !job.equals("dsl") && !job.equals("papi")) {
            throw new IllegalArgumentException("--job is dsl or papi");
        }
        Options o = new Options(job, need(given, "brokers"), dump == null ? need(given, "raw") : "", id,
                dump == null ? Path.of(need(given, "state-dir")) : null, dump == null ? Path.of(need(given, "places")) : null,
                dump == null ? null : Path.of(dump), number(given, "threads", Runtime.getRuntime().availableProcessors()),
                number(given, "partitions", 32), number(given, "commit-ms", 100),
                given.containsKey("alerts") ? given.remove("alerts") : id + ".alerts", settings);
        if (!given.isEmpty()) {
            throw new IllegalArgumentException("unknown: " + given.keySet());
        }
        return o;
    }

    private static String need(Map<String, String> given, String name) {
        String value = given.remove(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    private static int number(Map<String, String> given, String name, int otherwise) {
        String value = given.remove(name);
        int n = value == null ? otherwise : Integer.parseInt(value);
        if (n < 1) {
            throw new IllegalArgumentException("--" + name + " is at least 1");
        }
        return n;
    }

    /** The topic between route and detect of papi. */
    String visits() {
        return applicationId + ".visits";
    }

    String changelog() {
        return applicationId + "-" + Detect.STORE + "-changelog";
    }

    int cachePerTask() {
        return CACHE_ENTRIES / partitions;
    }

    Properties streams() {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, applicationId);
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        p.put(StreamsConfig.STATE_DIR_CONFIG, stateDir.toString());
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitMs);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 32L << 20);
        p.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, StreamsConfig.MAX_TASK_IDLE_MS_DISABLED);
        p.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Rocks.class);
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "zstd");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_ZSTD_LEVEL_CONFIG), 1);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.putAll(settings);
        return p;
    }
}
