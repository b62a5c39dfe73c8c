import com.google.common.util.concurrent.ListenableFuture;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.LinkedHashMap;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/**
 * Puts records with the KPL, a hundred at a time, until some of them have come packed
 * together, as they do once it knows the shards: {@code Producer <port> <stream> <folder>}.
 * It prints a line for each record: its number, which is its data as well, its key, its
 * shard and the sequence number of what it is packed in, with spaces between them.
 */
public final class Producer {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        var producer = new KinesisProducer(new KinesisProducerConfiguration()
                .setRegion("us-east-1")
                .setKinesisEndpoint("127.0.0.1").setKinesisPort(port)
                // Nothing answers there, which does not matter.
                .setStsEndpoint("127.0.0.1").setStsPort(port)
                .setCloudwatchEndpoint("127.0.0.1").setCloudwatchPort(port)
                .setVerifyCertificate(false)
                .setMetricsLevel("none")
                .setRecordMaxBufferedTime(100)
                .setTempDirectory(args[2])
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"))));
        boolean packed = false;
        for (int n = 0; !packed && n < 100_000; ) {
            var results = new LinkedHashMap<Integer, ListenableFuture<UserRecordResult>>();
            for (int i = 0; i < 100; i++, n++) {
                results.put(n, producer.addUserRecord(args[1], key(n), ByteBuffer.wrap(Integer.toString(n).getBytes())));
            }
            producer.flush();
            var sequences = new HashSet<String>();
            for (var e : results.entrySet()) {
                UserRecordResult r = e.getValue().get();
                System.out.println(e.getKey() + " " + key(e.getKey()) + " " + r.getShardId() + " " + r.getSequenceNumber());
                packed |= !sequences.add(r.getSequenceNumber());
            }
        }
        System.exit(packed ? 0 : 1);
    }

    private static String key(int n) {
        return "key-" + n % 7;
    }
}
