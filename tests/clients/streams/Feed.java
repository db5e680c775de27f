import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Writes a file's records, `rate` of them a second, with an idempotent producer that outlives the broker's restarts. */
final class Feed {
    private Feed() {}

    /** A line of the file: topic, partition, timestamp, key, value, with tabs between them. */
    static void run(Map<String, String> named) throws Exception {
        List<String> lines = Files.readAllLines(Path.of(named.get("file")));
        long rate = Long.parseLong(named.get("rate"));
        Properties p = new Properties();
        p.put("bootstrap.servers", named.get("bootstrap"));
        p.put("enable.idempotence", "true");
        p.put("linger.ms", "5");
        p.put("delivery.timeout.ms", "180000");
        p.put("max.block.ms", "180000");
        p.put("key.serializer", StringSerializer.class.getName());
        p.put("value.serializer", StringSerializer.class.getName());
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
            long started = System.nanoTime();
            for (int n = 0; n < lines.size() && failed.get() == null; n++) {
                String[] f = lines.get(n).split("\t", 5);
                long due = started + TimeUnit.SECONDS.toNanos(1) * n / rate;
                while (System.nanoTime() < due) LockSupport.parkNanos(due - System.nanoTime());
                producer.send(new ProducerRecord<>(f[0], Integer.valueOf(f[1]), Long.valueOf(f[2]), f[3], f[4]),
                    (metadata, e) -> { if (e != null) failed.compareAndSet(null, e); });
            }
            producer.flush();
        }
        if (failed.get() != null) throw failed.get();
        System.out.println("OK fed " + lines.size());
    }
}
