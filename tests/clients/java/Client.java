import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidMetadataException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client: newest protocol versions, idempotent by default, the most common client. */
public final class Client {
    private static final int SECONDS = 60;

    /** Reads as a member of a group until no record arrives for a while, commits its offsets, and leaves. */
    private static void member(String bootstrap, String topic, String group, String protocol, long silence) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", group);
        properties.put("group.protocol", protocol == null ? "classic" : protocol);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        java.util.TreeMap<Integer, List<Long>> got = new java.util.TreeMap<>();
        boolean wasAssigned = false;
        long last = System.nanoTime() + 30_000_000_000L; // The first assignment takes its time.
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (System.nanoTime() < last) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    got.computeIfAbsent(record.partition(), p -> new java.util.ArrayList<>()).add(record.offset());
                    last = System.nanoTime() + silence * 1_000_000_000L;
                }
                wasAssigned |= !consumer.assignment().isEmpty();
            }
            consumer.commitSync();
        }
        if (!wasAssigned) {
            throw new Records.Difference(topic + ": no assignment");
        }
        got.forEach((partition, offsets) -> say("MEMBER " + partition + " " + offsets.get(0) + " "
            + offsets.get(offsets.size() - 1) + " " + offsets.size()));
    }

    public static void main(String[] argv) throws Exception {
        Map<String, String> a = new HashMap<>();
        for (int n = 1; n < argv.length; n++) {
            String[] pair = argv[n].split("=", 2);
            a.put(pair[0], pair[1]);
        }
        try {
            switch (argv[0]) {
                case "bulk" -> bulk(a);
                case "write" -> {
                    int first = Integer.parseInt(a.get("from")), end = Integer.parseInt(a.get("to"));
                    write(a.get("bootstrap"), a.get("topic"), a.get("as"), a.get("codec"), a.get("acks"), first, end,
                        Long.parseLong(a.get("base")));
                    say("WROTE " + a.get("topic") + " " + a.get("codec") + " " + (end - first));
                }
                case "read" -> {
                    for (String pair : a.get("topics").split(",")) {
                        String[] of = pair.split("=");
                        int first = Integer.parseInt(a.get("from")), end = Integer.parseInt(a.get("to"));
                        long started = System.nanoTime();
                        read(a.get("bootstrap"), of[0], of[1], first, end, Long.parseLong(a.get("base")),
                            Integer.parseInt(a.get("partitions")));
                        say("READ " + of[0] + " " + (end - first) + " " + seconds(started, System.nanoTime()));
                    }
                }
                case "create" -> {
                    Map<String, String> config = new HashMap<>();
                    for (String c : a.get("config").split(",")) {
                        if (!c.isEmpty()) config.put(c.split(":")[0], c.split(":")[1]);
                    }
                    for (String topic : a.get("topics").split(",")) {
                        create(a.get("bootstrap"), topic, Integer.parseInt(a.get("partitions")), config);
                        say("CREATED " + topic);
                    }
                }
                case "member" -> member(a.get("bootstrap"), a.get("topic"), a.get("group"), a.get("protocol"),
                    Long.parseLong(a.get("silence")));
                case "admin" -> {
                    admin(a.get("bootstrap"), a.get("topic"));
                    say("OK admin");
                }
                case "transactions" -> {
                    Transactions.run(a.get("bootstrap"), a.get("topic"), Integer.parseInt(a.get("partitions")),
                        Integer.parseInt(a.get("count")));
                    say("OK transactions");
                }
                case "copier" -> Copier.run(a);
                case "worker" -> Worker.run(a);
                case "edges" -> {
                    Edges.run(a.get("bootstrap"), a.get("topic"));
                    say("OK edges");
                }
                default -> throw new Records.Difference("unknown mode " + argv[0]);
            }
        } catch (Records.Difference e) {
            say("DIFF " + e.getMessage());
            System.exit(1);
        } catch (Exception e) {
            e.printStackTrace(System.out);
            System.exit(1);
        }
        System.exit(0);
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static String seconds(long from, long to) {
        return String.format(java.util.Locale.ROOT, "%.2f", (to - from) / 1e9);
    }

    private static void bulk(Map<String, String> a) throws Exception {
        for (String pair : a.get("cases").split(",")) {
            String codec = pair.split(":")[0], acks = pair.split(":")[1], name = a.get("as");
            String topic = name + "-" + codec + "-" + acks;
            int count = Integer.parseInt(a.get("count")), partitions = Integer.parseInt(a.get("partitions"));
            long base = Long.parseLong(a.get("base"));
            long started = System.nanoTime();
            create(a.get("bootstrap"), topic, partitions, Map.of());
            write(a.get("bootstrap"), topic, name, codec, acks, 0, count, base);
            long wrote = System.nanoTime();
            read(a.get("bootstrap"), topic, name, 0, count, base, partitions);
            say("OK " + name + " " + codec + " " + acks + " " + count + " " + seconds(started, wrote) + " "
                + seconds(wrote, System.nanoTime()));
        }
    }

    private static Admin adminOf(String bootstrap) {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    static void create(String bootstrap, String topic, int partitions, Map<String, String> config) throws Exception {
        try (Admin admin = adminOf(bootstrap)) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(config))).all().get();
            answers(admin, topic, partitions);
        }
    }

    /** Waits until every leader serves its partition: a record sent before may come late (acks=1) or never (acks=0). */
    private static void answers(Admin admin, String topic, int partitions) throws Exception {
        List<TopicPartition> all = IntStream.range(0, partitions).mapToObj(n -> new TopicPartition(topic, n)).toList();
        until(topic + " answers", () -> sum(offsets(admin, all, OffsetSpec.latest())) == 0);
    }

    private static void write(String bootstrap, String topic, String name, String codec, String acks, int first, int end,
            long base) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("compression.type", codec);
        p.put("acks", acks); // "all" leaves idempotence at its default, on; 0 and 1 turn it off.
        p.put("linger.ms", "5");
        p.put("delivery.timeout.ms", "60000");
        p.put("request.timeout.ms", "30000");
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (var producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = first; i < end; i++) {
                var r = new ProducerRecord<>(topic, null, base + i, Records.key(name, i), Records.value(name, i),
                    Records.headers(name, i));
                producer.send(r, (meta, e) -> {
                    if (e != null) failed.compareAndSet(null, e);
                });
            }
            producer.flush();
        }
        if (failed.get() != null) throw new Records.Difference(topic + ": a send failed: " + failed.get());
    }

    private static void read(String bootstrap, String topic, String name, int first, int end, long base, int partitions) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        p.put("max.poll.records", "5000");
        List<TopicPartition> all = IntStream.range(0, partitions).mapToObj(n -> new TopicPartition(topic, n)).toList();
        var check = new Records.Check(topic, name, first, end, base, partitions);
        try (var consumer = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(all);
            consumer.seekToBeginning(all);
            for (TopicPartition tp : all) Records.expect("position of " + tp, consumer.position(tp), 0L);
            long deadline = System.nanoTime() + SECONDS * 1_000_000_000L;
            while (!check.complete()) {
                if (System.nanoTime() > deadline) {
                    throw new Records.Difference(topic + ": " + check.count + " of " + (end - first) + " records in time");
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(500))) {
                    check.take(r.partition(), r.offset(), r.key(), r.value(), r.headers().toArray(), r.timestamp());
                }
            }
            Map<TopicPartition, Long> starts = consumer.beginningOffsets(all), ends = consumer.endOffsets(all);
            for (TopicPartition tp : all) {
                long next = check.nextOffset[tp.partition()];
                Records.expect("position of " + tp, consumer.position(tp), next);
                Records.expect("beginning of " + tp, starts.get(tp), 0L);
                Records.expect("end of " + tp, ends.get(tp), next);
            }
            if (!name.equals("kcat")) {
                for (long t : new long[] {base + first, base + (first + end) / 2, base + end - 1, base + end}) {
                    Map<TopicPartition, Long> asked = all.stream().collect(Collectors.toMap(tp -> tp, tp -> t));
                    for (Map.Entry<TopicPartition, OffsetAndTimestamp> e : consumer.offsetsForTimes(asked).entrySet()) {
                        long want = check.firstAtOrAfter(e.getKey().partition(), t);
                        long got = e.getValue() == null ? -1 : e.getValue().offset();
                        Records.expect(e.getKey() + " offset for time " + t, got, want);
                        if (want >= 0) {
                            long time = check.times.get(e.getKey().partition()).get((int) want);
                            Records.expect(e.getKey() + " time for time " + t, e.getValue().timestamp(), time);
                        }
                    }
                }
            }
            // Seek to the middle of every partition, and to the end: nothing older may come, nothing may be lost.
            Map<TopicPartition, Long> wanted = new HashMap<>();
            for (TopicPartition tp : all) {
                long middle = check.nextOffset[tp.partition()] / 2;
                consumer.seek(tp, middle);
                if (check.nextOffset[tp.partition()] > 0) wanted.put(tp, middle);
            }
            while (!wanted.isEmpty()) {
                if (System.nanoTime() > deadline) throw new Records.Difference(topic + ": nothing after a seek: " + wanted);
                var got = consumer.poll(Duration.ofMillis(500));
                for (TopicPartition tp : got.partitions()) {
                    Long want = wanted.remove(tp);
                    if (want != null) Records.expect("first after a seek", got.records(tp).get(0).offset(), want);
                }
            }
        }
    }

    private static void failsWith(String what, Class<? extends Exception> error, KafkaFuture<?> future) throws Exception {
        try {
            future.get();
        } catch (ExecutionException e) {
            Records.expect("error of " + what, e.getCause().getClass().getSimpleName(), error.getSimpleName());
            return;
        }
        throw new Records.Difference(what + " succeeded; " + error.getSimpleName() + " was expected");
    }

    private static void until(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + SECONDS * 1_000_000_000L;
        while (true) {
            try {
                if (condition.call()) return;
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof InvalidMetadataException)) throw e; // The news has not got around yet.
            }
            if (System.nanoTime() > deadline) throw new Records.Difference("not in time: " + what);
            Thread.sleep(50);
        }
    }

    private static void admin(String bootstrap, String topic) throws Exception {
        try (Admin admin = adminOf(bootstrap)) {
            var created = admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1)
                .configs(Map.of("retention.ms", "123456789", "segment.bytes", "2097152"))));
            created.all().get();
            Uuid id = created.topicId(topic).get();
            Records.expect("partitions in the answer", created.numPartitions(topic).get(), 3);
            Records.expect("replication in the answer", created.replicationFactor(topic).get(), 1);
            Records.expect("config in the answer", created.config(topic).get().get("retention.ms").value(), "123456789");

            failsWith("creating a topic twice", TopicExistsException.class, createOne(admin, topic, 1, Map.of()));
            failsWith("a bad name", InvalidTopicException.class, createOne(admin, "not a name", 1, Map.of()));
            failsWith("no partitions", InvalidPartitionsException.class, createOne(admin, topic + "-zero", 0, Map.of()));
            failsWith("a bad config", InvalidConfigurationException.class,
                createOne(admin, topic + "-config", 1, Map.of("retention.ms", "soon")));
            failsWith("an unknown config", InvalidConfigurationException.class,
                createOne(admin, topic + "-config", 1, Map.of("no.such.config", "1")));
            failsWith("100 replicas", InvalidReplicationFactorException.class,
                admin.createTopics(List.of(new NewTopic(topic + "-many", 1, (short) 100))).all());
            admin.createTopics(List.of(new NewTopic(topic + "-validated", 1, (short) 1)),
                new CreateTopicsOptions().validateOnly(true)).all().get();

            until("the topic is listed", () -> admin.listTopics().names().get().contains(topic));
            Set<String> names = admin.listTopics().names().get();
            for (String absent : List.of("-validated", "-zero", "-config", "-many")) {
                Records.expect("there is no " + absent, names.contains(topic + absent), false);
            }
            Records.expect("id in the list", admin.listTopics().namesToListings().get().get(topic).topicId(), id);

            var cluster = admin.describeCluster();
            Set<Integer> nodes = cluster.nodes().get().stream().map(Node::id).collect(Collectors.toSet());
            Records.expect("the cluster has nodes", nodes.isEmpty(), false);
            Records.expect("the controller is a node", nodes.contains(cluster.controller().get().id()), true);
            Records.expect("a cluster id", cluster.clusterId().get().isEmpty(), false);

            TopicDescription described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            Records.expect("id described", described.topicId(), id);
            Records.expect("not internal", described.isInternal(), false);
            Records.expect("partitions described",
                described.partitions().stream().map(TopicPartitionInfo::partition).toList(), List.of(0, 1, 2));
            for (TopicPartitionInfo p : described.partitions()) {
                Records.expect("the leader is a node", nodes.contains(p.leader().id()), true);
                Records.expect("the replicas", p.replicas(), List.of(p.leader()));
                Records.expect("in sync", p.isr(), List.of(p.leader()));
            }
            var byId = admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(id)));
            Records.expect("described by id", byId.allTopicIds().get().get(id).name(), topic);
            failsWith("describing what is not there", UnknownTopicOrPartitionException.class,
                admin.describeTopics(List.of(topic + "-not")).allTopicNames());

            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            Records.expect("retention.ms", config.get("retention.ms").value(), "123456789");
            Records.expect("its source", config.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
            Records.expect("segment.bytes", config.get("segment.bytes").value(), "2097152");
            Records.expect("cleanup.policy", config.get("cleanup.policy").value(), "delete");
            Records.expect("its default", config.get("cleanup.policy").isDefault(), true);
            Set<String> told = config.entries().stream().map(ConfigEntry::name).collect(Collectors.toSet());
            Set<String> missing = new HashSet<>(TOPIC_CONFIGS);
            missing.removeAll(told);
            Records.expect("topic configs that are not told", missing, Set.of());
            failsWith("configs of what is not there", UnknownTopicOrPartitionException.class,
                admin.describeConfigs(List.of(new ConfigResource(ConfigResource.Type.TOPIC, topic + "-not"))).all());

            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            until("5 partitions", () -> admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .partitions().size() == 5);
            answers(admin, topic, 5);
            failsWith("fewer partitions", InvalidPartitionsException.class,
                admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
            failsWith("partitions of what is not there", UnknownTopicOrPartitionException.class,
                admin.createPartitions(Map.of(topic + "-not", NewPartitions.increaseTo(2))).all());

            long base = System.currentTimeMillis() - 100_000;
            write(bootstrap, topic, "java", "lz4", "all", 0, 1000, base);
            List<TopicPartition> all = IntStream.range(0, 5).mapToObj(n -> new TopicPartition(topic, n)).toList();
            Records.expect("the ends together", sum(offsets(admin, all, OffsetSpec.latest())), 1000L);
            Records.expect("the starts together", sum(offsets(admin, all, OffsetSpec.earliest())), 0L);
            var latest = offsets(admin, all, OffsetSpec.maxTimestamp());
            long newest = latest.values().stream().mapToLong(ListOffsetsResultInfo::timestamp).max().orElse(-1);
            Records.expect("the newest timestamp", newest, base + 999);
            var byTime = offsets(admin, all, OffsetSpec.forTimestamp(base + 1000));
            Records.expect("nothing after the newest", sum(byTime), -5L);

            admin.deleteTopics(List.of(topic)).all().get();
            until("the topic is gone", () -> !admin.listTopics().names().get().contains(topic));
            failsWith("deleting it twice", UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());

            // The same name again is another topic, and an empty one.
            var again = admin.createTopics(List.of(new NewTopic(topic, 5, (short) 1)));
            again.all().get();
            Records.expect("the new topic has a new id", again.topicId(topic).get().equals(id), false);
            until("the new topic is there", () -> admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .topicId().equals(again.topicId(topic).get()));
            until("the new topic is empty", () -> sum(offsets(admin, all, OffsetSpec.latest())) == 0);
            admin.deleteTopics(List.of(topic)).all().get();
        }
    }

    /** Topic configs that Connect, MirrorMaker or a UI reads; each must be returned with its value. */
    private static final Set<String> TOPIC_CONFIGS = Set.of("cleanup.policy", "compression.type", "delete.retention.ms",
        "file.delete.delay.ms", "flush.messages", "flush.ms", "index.interval.bytes", "max.compaction.lag.ms",
        "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
        "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas",
        "preallocate", "retention.bytes", "retention.ms", "segment.bytes", "segment.index.bytes",
        "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable");

    private static KafkaFuture<Void> createOne(Admin admin, String topic, int partitions, Map<String, String> config) {
        return admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(config))).all();
    }

    private static Map<TopicPartition, ListOffsetsResultInfo> offsets(Admin admin, List<TopicPartition> all, OffsetSpec spec)
            throws Exception {
        return admin.listOffsets(all.stream().collect(Collectors.toMap(tp -> tp, tp -> spec))).all().get();
    }

    private static long sum(Map<TopicPartition, ListOffsetsResultInfo> offsets) {
        return offsets.values().stream().mapToLong(ListOffsetsResultInfo::offset).sum();
    }
}
