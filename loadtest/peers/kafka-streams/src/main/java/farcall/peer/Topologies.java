package farcall.peer;

import java.time.Duration;
import java.util.Map;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.AutoOffsetReset;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.UsePartitionTimeOnInvalidTimestamp;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** The two jobs. Both do the same with the same parts; they differ in what goes through the topic between route and detect. */
final class Topologies {
    private static final Serde<byte[]> BYTES = Serdes.ByteArray();

    private Topologies() {}

    /** In the DSL: one record per event through a repartition topic. */
    static Topology dsl(Options o, Places places) {
        StreamsBuilder b = new StreamsBuilder();
        b.addStateStore(rows());
        b.stream(o.raw(), Consumed.with(BYTES, BYTES).withTimestampExtractor(new UsePartitionTimeOnInvalidTimestamp()).withName("raw"))
                .process(() -> new Route(places, false), Named.as("route"))
                .repartition(Repartitioned.with(BYTES, BYTES).withName("visits").withNumberOfPartitions(o.partitions()))
                .process(() -> new Detect(o.cachePerTask()), Named.as("detect"), Detect.STORE)
                .to(o.alerts(), Produced.with(BYTES, BYTES).withName("alerts"));
        return b.build();
    }

    /** With the Processor API: each presence once, through a topic of the job's own. */
    static Topology papi(Options o, Places places) {
        return new Topology()
                .addSource(AutoOffsetReset.earliest(), "raw", new UsePartitionTimeOnInvalidTimestamp(),
                        BYTES.deserializer(), BYTES.deserializer(), o.raw())
                .addProcessor("route", () -> new Route(places, true), "raw")
                .addSink("told", o.visits(), BYTES.serializer(), BYTES.serializer(), "route")
                .addSource("visits", BYTES.deserializer(), BYTES.deserializer(), o.visits())
                .addProcessor("detect", () -> new Detect(o.cachePerTask()), "visits")
                .addStateStore(rows(), "detect")
                .addSink("alerts", o.alerts(), BYTES.serializer(), BYTES.serializer(), "detect");
    }

    private static StoreBuilder<WindowStore<Bytes, byte[]>> rows() {
        return Stores.windowStoreBuilder(
                        Stores.persistentWindowStore(Detect.STORE, Duration.ofMillis(Detect.SPAN + Detect.LOOK_BACK),
                                Duration.ofMillis(Detect.PANE), false),
                        Serdes.Bytes(), BYTES)
                .withCachingEnabled()
                // Retention by the time of writing: by event time, history that is read again would be gone at once.
                .withLoggingEnabled(Map.of(TopicConfig.MESSAGE_TIMESTAMP_TYPE_CONFIG, "LogAppendTime"));
    }
}
