import java.util.HashMap;
import java.util.Map;

/**
 * Kafka Streams and the programs around it, one mode each: `app` is an instance of the application, `feed` writes its
 * input, `read` reads its output. The caller defines the records: tests/platform/streams/.
 */
public final class Streams {
    private Streams() {}

    public static void main(String[] args) throws Exception {
        Map<String, String> named = new HashMap<>();
        for (int i = 1; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            named.put(pair[0], pair[1]);
        }
        switch (args[0]) {
            case "app" -> App.run(named);
            case "feed" -> Feed.run(named);
            case "read" -> Read.run(named);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }
}
