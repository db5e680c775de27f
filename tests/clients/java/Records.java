import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The records that every client writes and checks, as Java makes them. The rule: tests/support/records.rs. */
final class Records {
    static final byte[] PATTERN = pattern();

    private static byte[] pattern() {
        byte[] out = new byte[65536];
        int x = 1;
        for (int j = 0; j < out.length; j++) {
            x = (x * 1103515245 + 12345) & 0x7fffffff;
            out[j] = (byte) (97 + ((x >> 16) & 15));
        }
        return out;
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static byte[] key(String name, int i) {
        return bytes(name + "-" + i);
    }

    static byte[] value(String name, int i) {
        if (i % 50 == 0) return null;
        if (i % 50 == 1) return name.equals("kcat") ? null : new byte[0];
        int mixed = (int) (((i * 2654435761L) & 0xffffffffL) >>> 8);
        int start = mixed % 32768;
        int length = i % 1000 == 999 ? 10000 : mixed % 197 + 1;
        return Arrays.copyOfRange(PATTERN, start, start + length);
    }

    static List<Header> headers(String name, int i) {
        List<Header> out = new ArrayList<>();
        if (name.equals("kcat")) {
            out.add(new RecordHeader("client", bytes("kcat")));
            return out;
        }
        byte[] none = name.equals("kafka-python") || name.equals("kafkajs") ? new byte[0] : null; // They refuse to send null.
        switch (i % 5) {
            case 1 -> out.add(new RecordHeader("h", bytes("" + i)));
            case 2 -> {
                out.add(new RecordHeader("a", bytes("1")));
                out.add(new RecordHeader("a", bytes("2")));
                out.add(new RecordHeader("b", new byte[0]));
            }
            case 3 -> out.add(new RecordHeader("n", none));
            case 4 -> {
                out.add(new RecordHeader("client", bytes(name)));
                out.add(new RecordHeader("n", none));
                out.add(new RecordHeader("i", bytes("" + i)));
            }
            default -> { }
        }
        return out;
    }

    static final class Difference extends RuntimeException {
        private static final long serialVersionUID = 1;

        Difference(String what) {
            super(what);
        }
    }

    static void expect(String what, Object got, Object want) {
        if (!java.util.Objects.equals(got, want)) throw new Difference(what + ": got " + got + ", expected " + want);
    }

    /** Every record of [first, end) exactly once, in order within each partition, offsets without a gap. */
    static final class Check {
        final String topic, name;
        final int first, end;
        final long base;
        final long[] nextOffset;
        final int[] last;
        final BitSet seen = new BitSet();
        final List<List<Long>> times = new ArrayList<>();
        int count = 0;

        Check(String topic, String name, int first, int end, long base, int partitions) {
            this.topic = topic;
            this.name = name;
            this.first = first;
            this.end = end;
            this.base = base;
            nextOffset = new long[partitions];
            last = new int[partitions];
            Arrays.fill(last, -1);
            for (int p = 0; p < partitions; p++) times.add(new ArrayList<>());
        }

        void take(int partition, long offset, byte[] key, byte[] value, Header[] headers, long timestamp) {
            String where = topic + "-" + partition + "@" + offset;
            if (offset != nextOffset[partition]) {
                throw new Difference(where + ": offset " + nextOffset[partition] + " was expected next");
            }
            nextOffset[partition] = offset + 1;
            String text = key == null ? "(null)" : new String(key, StandardCharsets.UTF_8);
            if (!text.startsWith(name + "-")) throw new Difference(where + ": key " + text + " is not of " + name);
            int i = Integer.parseInt(text.substring(name.length() + 1));
            if (i < first || i >= end) throw new Difference(where + ": record " + i + " is not in the range");
            if (i <= last[partition]) {
                throw new Difference(where + ": record " + i + " after " + last[partition] + ": the order is broken");
            }
            last[partition] = i;
            if (seen.get(i)) throw new Difference(where + ": record " + i + " twice");
            seen.set(i);
            byte[] want = value(name, i);
            if (!Arrays.equals(value, want)) {
                throw new Difference(where + ": record " + i + ": value of " + length(value) + " bytes differs from the "
                    + length(want) + " expected");
            }
            List<Header> wanted = headers(name, i);
            if (!Arrays.asList(headers).equals(wanted)) {
                throw new Difference(where + ": record " + i + ": headers " + Arrays.toString(headers) + ", expected " + wanted);
            }
            if (!name.equals("kcat") && timestamp != base + i) {
                throw new Difference(where + ": record " + i + ": timestamp " + timestamp + ", expected " + (base + i));
            }
            times.get(partition).add(timestamp);
            count++;
        }

        boolean complete() {
            return count == end - first;
        }

        /** What offsets-for-times must answer, or -1. */
        long firstAtOrAfter(int partition, long timestamp) {
            List<Long> t = times.get(partition);
            for (int offset = 0; offset < t.size(); offset++) if (t.get(offset) >= timestamp) return offset;
            return -1;
        }

        private static int length(byte[] b) {
            return b == null ? -1 : b.length;
        }
    }

    private Records() { }
}
