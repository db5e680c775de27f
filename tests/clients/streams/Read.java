import java.io.BufferedWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads what is committed of some topics from the beginning: until each has had at least as many records as are asked for,
 * then on to where they end.
 */
final class Read {
    private Read() {}

    /** `topics`: name=count,...; `file`: where the records go, as topic, partition, offset, key and value. */
    static void run(Map<String, String> named) throws Exception {
        Map<String, Long> wanted = new HashMap<>();
        for (String topic : named.get("topics").split(",")) {
            String[] pair = topic.split("=");
            wanted.put(pair[0], Long.valueOf(pair[1]));
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Long.parseLong(named.get("within")));
        Properties p = new Properties();
        p.put("bootstrap.servers", named.get("bootstrap"));
        p.put("isolation.level", "read_committed");
        p.put("key.deserializer", ByteArrayDeserializer.class.getName());
        p.put("value.deserializer", ByteArrayDeserializer.class.getName());
        Map<String, Long> seen = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p);
             BufferedWriter out = Files.newBufferedWriter(Path.of(named.get("file")))) {
            List<TopicPartition> all = new ArrayList<>();
            for (String topic : wanted.keySet()) {
                for (PartitionInfo i : consumer.partitionsFor(topic)) all.add(new TopicPartition(topic, i.partition()));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = null;
            while (ends == null || !reached(consumer, ends)) {
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(100))) {
                    seen.merge(r.topic(), 1L, Long::sum);
                    String key = new String(r.key(), StandardCharsets.UTF_8);
                    out.write(r.topic() + "\t" + r.partition() + "\t" + r.offset() + "\t" + key + "\t" + text(r) + "\n");
                }
                boolean isEnough = wanted.entrySet().stream().allMatch(e -> seen.getOrDefault(e.getKey(), 0L) >= e.getValue());
                boolean isLate = System.nanoTime() > deadline;
                if (ends == null && (isEnough || isLate)) ends = consumer.endOffsets(all);
                if (isLate && System.nanoTime() > deadline + TimeUnit.SECONDS.toNanos(30)) break;
            }
        }
        System.out.println("OK read " + seen + " of at least " + wanted);
    }

    private static boolean reached(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Long> ends) {
        return ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue());
    }

    /** A count is a number of eight bytes, in the output and in the store's changelog. */
    private static String text(ConsumerRecord<byte[], byte[]> r) {
        if (!r.topic().contains("counts")) return new String(r.value(), StandardCharsets.UTF_8);
        long count = 0;
        for (byte b : r.value()) count = count << 8 | (b & 0xff);
        return Long.toString(count);
    }
}
