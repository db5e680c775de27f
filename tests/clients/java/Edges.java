import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Edge cases of a client: the largest record and a larger one, offsets out of range, a wait for future records. */
final class Edges {
    private static final int LARGE = 1_000_000;

    static void run(String bootstrap, String topic) throws Exception {
        largeRecords(bootstrap, topic + "-large");
        outOfRange(bootstrap, topic + "-range");
        appendTime(bootstrap, topic + "-time");
        longPoll(bootstrap, topic + "-wait");
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("compression.type", codec);
        p.put("max.request.size", "20000000"); // So that the broker rejects the record, not the client.
        p.put("buffer.memory", "67108864");
        p.put("delivery.timeout.ms", "60000");
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, Map<String, String> more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        p.putAll(more);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static RecordMetadata send(KafkaProducer<byte[], byte[]> producer, String topic, Long time, byte[] value) throws Exception {
        return producer.send(new ProducerRecord<>(topic, 0, time, null, value)).get(60, TimeUnit.SECONDS);
    }

    private static <E extends Exception> void refused(String what, Class<E> error, java.util.concurrent.Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (ExecutionException e) {
            Records.expect("error of " + what, e.getCause().getClass().getSimpleName(), error.getSimpleName());
            return;
        }
        throw new Records.Difference(what + " succeeded; " + error.getSimpleName() + " was expected");
    }

    /** Bytes that no codec makes smaller. */
    private static byte[] noise(int bytes) {
        byte[] out = new byte[bytes];
        new java.util.Random(bytes).nextBytes(out);
        return out;
    }

    private static void largeRecords(String bootstrap, String topic) throws Exception {
        Client.create(bootstrap, topic, 1, Map.of());
        try (var producer = producer(bootstrap, "none")) {
            Records.expect("offset of a large record", send(producer, topic, null, noise(LARGE)).offset(), 0L);
            refused("a record over max.message.bytes", RecordTooLargeException.class,
                () -> send(producer, topic, null, noise(LARGE * 2)));
            // Refusing one must not cost the next: the idempotent producer goes on.
            Records.expect("offset after a refusal", send(producer, topic, null, noise(LARGE - 1)).offset(), 1L);
        }
        // A fetch limit below the first batch must still give that batch, or the consumer would never get on.
        try (var consumer = consumer(bootstrap, Map.of("max.partition.fetch.bytes", "1000", "fetch.max.bytes", "1000"))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seek(new TopicPartition(topic, 0), 0);
            for (int n = 0; n < 2; n++) {
                byte[] got = next(consumer, topic).value();
                Records.expect("large record " + n + " is equal", Arrays.equals(got, noise(LARGE - n)), true);
            }
        }
        Client.create(bootstrap, topic + "-small", 1, Map.of("max.message.bytes", "5000"));
        try (var producer = producer(bootstrap, "lz4")) {
            refused("a record over the topic's own max.message.bytes", RecordTooLargeException.class,
                () -> send(producer, topic + "-small", null, noise(6000)));
            Records.expect("one below it", send(producer, topic + "-small", null, noise(4000)).offset(), 0L);
        }
    }

    private static void outOfRange(String bootstrap, String topic) throws Exception {
        Client.create(bootstrap, topic, 1, Map.of());
        TopicPartition tp = new TopicPartition(topic, 0);
        try (var producer = producer(bootstrap, "none")) {
            for (int n = 0; n < 10; n++) send(producer, topic, null, Records.bytes("" + n));
        }
        try (var consumer = consumer(bootstrap, Map.of())) {
            consumer.assign(List.of(tp));
            consumer.seek(tp, 11);
            OffsetOutOfRangeException error = null;
            for (int n = 0; n < 60 && error == null; n++) {
                try {
                    consumer.poll(Duration.ofMillis(500));
                } catch (OffsetOutOfRangeException e) {
                    error = e;
                }
            }
            Records.expect("an offset past the end", error == null ? null : error.offsetOutOfRangePartitions(), Map.of(tp, 11L));
        }
        // With a policy the same consumer gets on by itself.
        try (var consumer = consumer(bootstrap, Map.of("auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(tp));
            consumer.seek(tp, 11);
            Records.expect("the first record after a reset", next(consumer, topic).offset(), 0L);
        }
        // The end itself is no error: it is where the next record will be.
        try (var consumer = consumer(bootstrap, Map.of()); var producer = producer(bootstrap, "none")) {
            consumer.assign(List.of(tp));
            consumer.seekToEnd(List.of(tp));
            Records.expect("position at the end", consumer.position(tp), 10L);
            send(producer, topic, null, Records.bytes("10"));
            Records.expect("the record after the end", next(consumer, topic).offset(), 10L);
        }
    }

    private static void appendTime(String bootstrap, String topic) throws Exception {
        Client.create(bootstrap, topic, 1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        try (var producer = producer(bootstrap, "zstd")) {
            long told = send(producer, topic, 1L, Records.bytes("old")).timestamp();
            Records.expect("the append time is told", told >= before - 1000 && told <= System.currentTimeMillis() + 1000, true);
            try (var consumer = consumer(bootstrap, Map.of())) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                consumer.seek(new TopicPartition(topic, 0), 0);
                ConsumerRecord<byte[], byte[]> got = next(consumer, topic);
                Records.expect("its type", got.timestampType(), TimestampType.LOG_APPEND_TIME);
                Records.expect("its time", got.timestamp(), told);
            }
        }
        Client.create(bootstrap, topic + "-bounded", 1, Map.of("message.timestamp.after.max.ms", "60000"));
        try (var producer = producer(bootstrap, "none")) {
            refused("a timestamp from the future", InvalidTimestampException.class,
                () -> send(producer, topic + "-bounded", System.currentTimeMillis() + 3_600_000, Records.bytes("tomorrow")));
            Records.expect("one of now", send(producer, topic + "-bounded", null, Records.bytes("now")).offset(), 0L);
        }
    }

    /** A fetch that waits half a minute for a byte is answered when the byte comes, not when the time is over. */
    private static void longPoll(String bootstrap, String topic) throws Exception {
        Client.create(bootstrap, topic, 1, Map.of());
        TopicPartition tp = new TopicPartition(topic, 0);
        Map<String, String> patient = Map.of("fetch.max.wait.ms", "25000", "fetch.min.bytes", "1");
        try (var producer = producer(bootstrap, "none"); var consumer = consumer(bootstrap, patient)) {
            send(producer, topic, null, Records.bytes("first"));
            consumer.assign(List.of(tp));
            consumer.seek(tp, 0);
            Records.expect("the first", next(consumer, topic).offset(), 0L);
            consumer.poll(Duration.ofMillis(300)); // Now a fetch waits at the broker.
            long sent = System.nanoTime();
            send(producer, topic, null, Records.bytes("second"));
            Records.expect("the second", next(consumer, topic).offset(), 1L);
            long ms = (System.nanoTime() - sent) / 1_000_000;
            Records.expect("a waiting fetch is answered when there is something (took " + ms + " ms)", ms < 10_000, true);
        }
    }

    private static ConsumerRecord<byte[], byte[]> next(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (System.nanoTime() < deadline) {
            var got = consumer.poll(Duration.ofMillis(500));
            if (got.count() > 1) {
                // One at a time: the rest is read again.
                TopicPartition tp = got.partitions().iterator().next();
                consumer.seek(tp, got.records(tp).get(0).offset() + 1);
            }
            if (!got.isEmpty()) return got.iterator().next();
        }
        throw new Records.Difference(topic + ": no record in a minute");
    }

    private Edges() { }
}
