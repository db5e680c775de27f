import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A member of a group that prints every step (tests/crash/many_members/step.rs), and leaves on request. */
final class Worker implements ConsumerRebalanceListener {
    private final Map<String, String> a;
    private final KafkaConsumer<byte[], byte[]> consumer;
    /** What was read and is not committed yet: where to go on. */
    private final TreeMap<Integer, Long> read = new TreeMap<>();
    private volatile boolean leaves;

    private Worker(Map<String, String> a) {
        this.a = a;
        Properties p = new Properties();
        p.put("bootstrap.servers", a.get("bootstrap"));
        p.put("group.id", a.get("group"));
        p.put("group.protocol", a.get("protocol"));
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("max.poll.records", "100");
        p.put("max.poll.interval.ms", a.get("rebalance"));
        if (a.get("protocol").equals("classic")) {
            p.put("session.timeout.ms", a.get("session"));
            p.put("heartbeat.interval.ms", "1000");
            p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        }
        consumer = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void run(Map<String, String> a) {
        Worker worker = new Worker(a);
        Thread listener = new Thread(worker::listen);
        listener.setDaemon(true);
        listener.start();
        worker.work();
    }

    private void listen() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.equals("leave")) leaves = true;
            }
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private void say(String step) {
        Instant now = Instant.now();
        System.out.println((now.getEpochSecond() * 1_000_000 + now.getNano() / 1000) + " " + a.get("as") + " " + step);
        System.out.flush();
    }

    private int generation() {
        return consumer.groupMetadata().generationId();
    }

    private static String numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(at -> "" + at.partition()).collect(Collectors.joining(","));
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        say("ASSIGNED " + generation() + " " + numbers(partitions));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        commit();
        say("REVOKED " + generation() + " " + numbers(partitions));
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        read.clear();
        say("LOST " + generation() + " " + numbers(partitions));
    }

    private void commit() {
        if (read.isEmpty()) return;
        String told = read.entrySet().stream().map(e -> e.getKey() + ":" + e.getValue()).collect(Collectors.joining(","));
        try {
            consumer.commitSync(read.entrySet().stream().collect(Collectors.toMap(
                e -> new TopicPartition(a.get("topic"), e.getKey()), e -> new OffsetAndMetadata(e.getValue()))));
            say("COMMITTED " + generation() + " " + told);
            read.clear();
        } catch (KafkaException e) {
            say("FAILED " + generation() + " " + told + " " + e);
        }
    }

    private void work() {
        say("JOINS");
        consumer.subscribe(List.of(a.get("topic")), this);
        while (!leaves) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
            for (TopicPartition at : records.partitions()) {
                List<ConsumerRecord<byte[], byte[]>> of = records.records(at);
                long last = of.get(of.size() - 1).offset();
                read.put(at.partition(), last + 1);
                say("READ " + at.partition() + " " + of.get(0).offset() + " " + last);
            }
            if (Math.random() < 0.5) commit();
        }
        consumer.close();
        say("LEFT");
    }
}
