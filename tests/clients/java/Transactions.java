import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Transactions as the Java client has them: of version 2, where the cluster has that. */
final class Transactions {
    private final String bootstrap, topic;
    private final int partitions;

    private Transactions(String bootstrap, String topic, int partitions) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.partitions = partitions;
    }

    static void run(String bootstrap, String topic, int partitions, int count) throws Exception {
        Transactions t = new Transactions(bootstrap, topic, partitions);
        t.commitsAndAborts(count);
        t.fences();
        t.admin();
    }

    private KafkaProducer<String, String> producer(String id) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("transactional.id", id);
        p.put("linger.ms", "1");
        p.put("delivery.timeout.ms", "60000");
        p.put("key.serializer", StringSerializer.class.getName());
        p.put("value.serializer", StringSerializer.class.getName());
        KafkaProducer<String, String> producer = new KafkaProducer<>(p);
        producer.initTransactions();
        return producer;
    }

    /** All values of each partition, up to what can be read. */
    private List<List<String>> read(String isolation) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("isolation.level", isolation);
        p.put("key.deserializer", StringDeserializer.class.getName());
        p.put("value.deserializer", StringDeserializer.class.getName());
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p)) {
            List<TopicPartition> all = new ArrayList<>();
            List<List<String>> values = new ArrayList<>();
            for (int n = 0; n < partitions; n++) {
                all.add(new TopicPartition(topic, n));
                values.add(new ArrayList<>());
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (all.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
                if (System.nanoTime() > deadline) throw new Records.Difference(isolation + ": the end is not reached");
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(200))) {
                    values.get(r.partition()).add(r.value());
                }
            }
            return values;
        }
    }

    /** One after the other, without a pause between them; every third is aborted, some are empty. */
    private void commitsAndAborts(int count) throws Exception {
        List<List<String>> committed = new ArrayList<>(), all = new ArrayList<>();
        for (int n = 0; n < partitions; n++) {
            committed.add(new ArrayList<>());
            all.add(new ArrayList<>());
        }
        try (KafkaProducer<String, String> producer = producer(topic + "-writer")) {
            for (int tx = 0; tx < count; tx++) {
                producer.beginTransaction();
                boolean commits = tx % 3 != 2;
                for (int i = 0; i < tx % 5 * 3; i++) {
                    int partition = (tx + i) % partitions;
                    String value = tx + ":" + i;
                    producer.send(new ProducerRecord<>(topic, partition, "k" + i, value));
                    all.get(partition).add(value);
                    if (commits) committed.get(partition).add(value);
                    if (i == 4) producer.flush();
                }
                if (commits) {
                    producer.commitTransaction();
                } else {
                    producer.flush();
                    producer.abortTransaction();
                }
            }
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        List<List<String>> seen = read("read_committed");
        // The last markers may still be on their way when the commit is answered.
        while (!seen.equals(committed) && System.nanoTime() < deadline) seen = read("read_committed");
        if (!seen.equals(committed)) throw new Records.Difference("committed: " + committed + ", read: " + seen);
        if (!read("read_uncommitted").equals(all)) throw new Records.Difference("not all of what was sent is read");
        System.out.println("OK transactions " + count);
    }

    private interface Action {
        void run() throws Exception;
    }

    private static void refused(String what, Set<Class<?>> expected, Action action) throws Exception {
        try {
            action.run();
        } catch (Exception e) {
            Throwable cause = e;
            while (cause != null && !expected.contains(cause.getClass())) cause = cause.getCause();
            if (cause == null) throw e;
            return;
        }
        throw new Records.Difference(what + " was not refused");
    }

    private void fences() throws Exception {
        String id = topic + "-fenced";
        KafkaProducer<String, String> old = producer(id);
        old.beginTransaction();
        old.send(new ProducerRecord<>(topic, 0, "k", "never")).get();
        List<List<String>> before = read("read_committed");
        try (KafkaProducer<String, String> fresh = producer(id)) {
            Set<Class<?>> fenced = Set.of(ProducerFencedException.class, InvalidProducerEpochException.class);
            refused("a fenced producer's record", fenced, () -> old.send(new ProducerRecord<>(topic, 0, "k", "late")).get());
            refused("a fenced producer's commit", Set.of(ProducerFencedException.class, InvalidProducerEpochException.class, KafkaException.class),
                old::commitTransaction);
            old.close(Duration.ZERO);
            fresh.beginTransaction();
            fresh.send(new ProducerRecord<>(topic, 0, "k", "fresh"));
            fresh.commitTransaction();
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        before.get(0).add("fresh");
        List<List<String>> after = read("read_committed");
        while (!after.equals(before) && System.nanoTime() < deadline) after = read("read_committed");
        if (!after.equals(before)) throw new Records.Difference("after the fence: " + after);
        System.out.println("OK fences");
    }

    private void admin() throws Exception {
        String id = topic + "-hanging";
        KafkaProducer<String, String> producer = producer(id);
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 1, "k", "hangs")).get();
        try (Admin admin = Admin.create(new HashMap<>(Map.of("bootstrap.servers", bootstrap)))) {
            boolean listed = admin.listTransactions(new ListTransactionsOptions().filterStates(Set.of(TransactionState.ONGOING)))
                .all().get().stream().anyMatch(t -> t.transactionalId().equals(id));
            if (!listed) throw new Records.Difference("the open transaction is not listed");
            TransactionDescription d = admin.describeTransactions(Set.of(id)).description(id).get();
            TopicPartition partition = new TopicPartition(topic, 1);
            if (d.state() != TransactionState.ONGOING || !d.topicPartitions().equals(Set.of(partition))) {
                throw new Records.Difference("described as " + d);
            }
            ProducerState hangs = null;
            for (ProducerState s : admin.describeProducers(Set.of(partition)).partitionResult(partition).get().activeProducers()) {
                if (s.currentTransactionStartOffset().isPresent()) hangs = s;
            }
            if (hangs == null || hangs.producerId() != d.producerId()) throw new Records.Difference("nobody hangs");
            admin.abortTransaction(new AbortTransactionSpec(partition, hangs.producerId(), (short) hangs.producerEpoch(),
                hangs.coordinatorEpoch().orElse(0))).all().get();
            for (ProducerState s : admin.describeProducers(Set.of(partition)).partitionResult(partition).get().activeProducers()) {
                if (s.currentTransactionStartOffset().isPresent()) throw new Records.Difference("it hangs still");
            }
            // What its coordinator knows of goes as well.
            admin.fenceProducers(Set.of(id)).all().get();
            producer.close(Duration.ZERO);
        } catch (ExecutionException e) {
            throw new Records.Difference("admin: " + e.getCause());
        }
        if (read("read_committed").get(1).contains("hangs")) throw new Records.Difference("what was aborted is read");
        System.out.println("OK admin of transactions");
    }
}
