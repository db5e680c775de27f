import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Copies a topic in transactions, as a member of a group. It prints the outcome of each transaction:
 * COMMITTED, ABORTED (on purpose), HALTED (at the requested point) and REFUSED, each with id, incarnation and number.
 */
final class Copier {
    private final Map<String, String> a;
    private long incarnation;
    private volatile boolean isOver;
    private volatile String haltAt;
    private final LinkedBlockingQueue<String> goOn = new LinkedBlockingQueue<>();

    private Copier(Map<String, String> a) {
        this.a = a;
        incarnation = Long.parseLong(a.get("incarnation"));
    }

    static void run(Map<String, String> a) throws InterruptedException {
        Copier copier = new Copier(a);
        Thread listener = new Thread(copier::listen);
        listener.setDaemon(true);
        listener.start();
        while (!copier.isOver) {
            try {
                copier.copy();
            } catch (Exception e) {
                // After a fatal error the program starts over, and its transactional id ends the open transaction.
                say("GAVE UP " + e);
                Thread.sleep(100);
            }
            copier.incarnation++;
        }
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private void listen() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.equals("end")) isOver = true;
                if (line.equals("go on")) goOn.add(line);
                if (line.startsWith("halt ")) haltAt = line.substring(5);
            }
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private void halt(String place, String tag) throws InterruptedException {
        if (!place.equals(haltAt)) return;
        haltAt = null;
        say("HALTED " + tag);
        goOn.take();
    }

    private KafkaProducer<String, String> producer() {
        Properties p = new Properties();
        p.put("bootstrap.servers", a.get("bootstrap"));
        p.put("transactional.id", a.get("id"));
        p.put("transaction.timeout.ms", a.get("transaction"));
        p.put("linger.ms", "1");
        p.put("delivery.timeout.ms", "30000");
        p.put("request.timeout.ms", "5000");
        p.put("max.block.ms", "30000");
        p.put("key.serializer", StringSerializer.class.getName());
        p.put("value.serializer", StringSerializer.class.getName());
        return new KafkaProducer<>(p);
    }

    private KafkaConsumer<String, String> consumer() {
        Properties p = new Properties();
        p.put("bootstrap.servers", a.get("bootstrap"));
        p.put("group.id", a.get("group"));
        p.put("session.timeout.ms", a.get("session"));
        p.put("heartbeat.interval.ms", "500");
        p.put("max.poll.interval.ms", a.get("rebalance"));
        p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("isolation.level", "read_committed");
        p.put("max.poll.records", "40");
        p.put("fetch.min.bytes", "2000");
        p.put("fetch.max.wait.ms", "100");
        p.put("key.deserializer", StringDeserializer.class.getName());
        p.put("value.deserializer", StringDeserializer.class.getName());
        return new KafkaConsumer<>(p);
    }

    private void copy() throws InterruptedException {
        KafkaConsumer<String, String> consumer = null;
        // Its closing must not commit or wait: a fatal error may have closed the way already.
        KafkaProducer<String, String> producer = producer();
        try {
            producer.initTransactions();
            consumer = consumer();
            consumer.subscribe(List.of(a.get("input")));
            for (long number = 0; !isOver; ) {
                // One poll per transaction: between two the partitions may change hands.
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                if (!records.isEmpty()) transaction(producer, consumer, records, number++);
            }
        } finally {
            producer.close(Duration.ZERO);
            if (consumer != null) consumer.close();
        }
    }

    private void transaction(KafkaProducer<String, String> producer, KafkaConsumer<String, String> consumer,
            ConsumerRecords<String, String> records, long number) throws InterruptedException {
        String tag = a.get("id") + " " + incarnation + " " + number;
        boolean aborts = number % 7 == 6;
        boolean wasHalted = false;
        ConsumerGroupMetadata member = consumer.groupMetadata();
        try {
            producer.beginTransaction();
            int index = 0;
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (ConsumerRecord<String, String> r : records) {
                String value = String.join("|", a.get("id"), "" + incarnation, "" + number, "" + index++, "" + records.count(),
                    aborts ? "1" : "0", "" + r.partition(), "" + r.offset(), r.value());
                int partition = Integer.parseInt(r.key().substring(1)) % Integer.parseInt(a.get("partitions"));
                producer.send(new ProducerRecord<>(a.get("output"), partition, r.key(), value));
                offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
            }
            producer.flush();
            if (aborts) {
                producer.abortTransaction();
                say("ABORTED " + tag);
                rewind(consumer);
                return;
            }
            wasHalted = "offsets".equals(haltAt);
            halt("offsets", tag);
            producer.sendOffsetsToTransaction(offsets, member);
            wasHalted |= "commit".equals(haltAt);
            halt("commit", tag);
            producer.commitTransaction();
            say("COMMITTED " + tag + " " + records.count());
        } catch (KafkaException e) {
            say((wasHalted ? "REFUSED " : "FAILED ") + tag + " " + e);
            if (isOver) return;
            // Fatal ones refuse this too, and so end this incarnation.
            producer.abortTransaction();
            rewind(consumer);
        }
    }

    /** Seeks to the committed offsets: records polled since then were not copied. */
    private static void rewind(KafkaConsumer<String, String> consumer) {
        Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
        for (TopicPartition at : consumer.assignment()) {
            OffsetAndMetadata offset = committed.get(at);
            consumer.seek(at, offset == null ? 0 : offset.offset());
        }
    }
}
