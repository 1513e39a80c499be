package farcall.peer;

import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * Runs a job until SIGTERM, or writes the rows of one that was stopped. It prints READY when all tasks run for the first time
 * and DONE with what it counted when it has closed. Exit codes: 0, 1 after a failure, 2 for a command line that is wrong.
 */
public final class Main {
    private static final Duration CLOSE = Duration.ofSeconds(30);

    private Main() {}

    public static void main(String[] args) throws Exception {
        Options o;
        try {
            o = Options.parse(args);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage());
            System.err.print(Options.USAGE);
            System.exit(2);
            return;
        }
        if (o.dump() != null) {
            Rows.dump(o);
            return;
        }
        System.exit(run(o));
    }

    private static int run(Options o) throws Exception {
        Places places = Places.read(o.places());
        Files.createDirectories(o.stateDir());
        createTopics(o);
        Properties properties = o.streams();
        Topology topology = o.job().equals("dsl") ? Topologies.dsl(o, places) : Topologies.papi(o, places);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        AtomicBoolean ready = new AtomicBoolean();
        CountDownLatch stop = new CountDownLatch(1);
        CountDownLatch stopped = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setUncaughtExceptionHandler(e -> {
            failure.compareAndSet(null, e);
            stop.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING && ready.compareAndSet(false, true)) {
                System.out.println("READY");
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.countDown();
            try {
                stopped.await();
            } catch (InterruptedException e) {
                return;
            }
            System.out.flush();
            // The exit code of a clean stop is 0, and not that of the signal.
            Runtime.getRuntime().halt(failure.get() == null ? 0 : 1);
        }));
        streams.start();
        stop.await();
        if (!streams.close(CLOSE)) {
            failure.compareAndSet(null, new IllegalStateException("not closed within " + CLOSE));
        }
        System.out.println("DONE " + Counts.total());
        if (failure.get() != null) {
            failure.get().printStackTrace();
        }
        stopped.countDown();
        return failure.get() == null ? 0 : 1;
    }

    /** Makes the topics that are not Kafka Streams' own. */
    private static void createTopics(Options o) throws ExecutionException, InterruptedException {
        // Visits have the time of their events, which may lie long ago: they must not be deleted unread.
        NewTopic visits = new NewTopic(o.visits(), Optional.of(o.partitions()), Optional.empty())
                .configs(Map.of(TopicConfig.RETENTION_MS_CONFIG, "-1"));
        NewTopic alerts = new NewTopic(o.alerts(), Optional.of(o.partitions()), Optional.empty())
                .configs(Map.of(TopicConfig.RETENTION_MS_CONFIG, "-1"));
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, o.brokers()))) {
            for (NewTopic topic : o.job().equals("papi") ? List.of(visits, alerts) : List.of(alerts)) {
                try {
                    admin.createTopics(List.of(topic)).all().get();
                } catch (ExecutionException e) {
                    if (!(e.getCause() instanceof TopicExistsException)) {
                        throw e;
                    }
                }
            }
        }
    }
}
