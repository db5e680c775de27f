import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;

/**
 * Two topologies of one application: `lines` are counted by word into `counts`, and `left` is joined with `right` into
 * `joined`.
 *
 * A stream thread that dies of an exception ends the process with 3: nothing that a broker does while it is killed and
 * restarted may be fatal to an application.
 */
final class App {
    private App() {}

    static void run(Map<String, String> named) {
        KafkaStreams streams = new KafkaStreams(topology(Long.parseLong(named.get("window"))), properties(named));
        streams.setStateListener((now, before) -> System.out.println("STATE " + now));
        streams.setUncaughtExceptionHandler(e -> {
            System.out.println("DIED " + e);
            e.printStackTrace();
            new Thread(() -> Runtime.getRuntime().halt(3)).start();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            if (streams.close(Duration.ofSeconds(40))) System.out.println("CLOSED");
        }));
        streams.start();
    }

    private static Topology topology(long windowMs) {
        StreamsBuilder builder = new StreamsBuilder();
        Consumed<String, String> strings = Consumed.with(Serdes.String(), Serdes.String());
        builder.stream("lines", strings)
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("by-word", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts-store"))
            .toStream(Named.as("counted"))
            .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
        // Nothing is ever late: a pair's being found does not depend on which of its records is read first.
        JoinWindows windows = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMillis(windowMs), Duration.ofHours(6));
        KStream<String, String> right = builder.stream("right", strings);
        builder.stream("left", strings)
            .join(right, (l, r) -> l + "+" + r, windows,
                StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()).withName("join").withStoreName("join"))
            .to("joined", Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    private static Properties properties(Map<String, String> named) {
        Properties p = new Properties();
        p.put("application.id", "streams");
        p.put("bootstrap.servers", named.get("bootstrap"));
        p.put("processing.guarantee", named.get("guarantee"));
        p.put("group.protocol", "classic");
        p.put("state.dir", named.get("state"));
        p.put("num.stream.threads", named.get("threads"));
        p.put("num.standby.replicas", "1");
        p.put("commit.interval.ms", "100");
        // Every count is told, not only the last before a commit.
        p.put("statestore.cache.max.bytes", "0");
        // What is consumed of the repartition topic is deleted, and the changelogs are compacted while they are restored from.
        p.put("repartition.purge.interval.ms", "1000");
        p.put(StreamsConfig.topicPrefix("segment.ms"), "4000");
        p.put(StreamsConfig.topicPrefix("min.cleanable.dirty.ratio"), "0.01");
        p.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), "6000");
        p.put(StreamsConfig.mainConsumerPrefix("session.timeout.ms"), "4000");
        p.put(StreamsConfig.mainConsumerPrefix("heartbeat.interval.ms"), "500");
        p.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        if (named.containsKey("instance")) {
            p.put(StreamsConfig.mainConsumerPrefix("group.instance.id"), named.get("instance"));
        }
        return p;
    }
}
