import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the Java KCL, until its standard input is closed:
 * {@code Consumer <Kinesis> <DynamoDB> <stream> <application> polling|fanout}.
 * It prints a line for each record, {shard, key, sequence, data}, for the beginning of
 * a shard, {began}, and for its end, {ended}; and checkpoints each batch.
 */
public final class Consumer {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        String stream = args[2];
        String application = args[3];
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder()
                .region(Region.US_EAST_1).endpointOverride(URI.create(args[0])).credentialsProvider(credentials));
        var dynamo = DynamoDbAsyncClient.builder()
                .region(Region.US_EAST_1).endpointOverride(URI.create(args[1])).credentialsProvider(credentials).build();
        // It is never asked: there are no metrics.
        var cloudWatch = CloudWatchAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(credentials).build();

        var beginning = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        var configs = new ConfigsBuilder(new SingleStreamTracker(stream, beginning), application, kinesis, dynamo,
                cloudWatch, "worker", Consumer.Processor::new);
        // Shorter times than those for thousands of shards: a test waits for them.
        var coordinator = configs.coordinatorConfig()
                .parentShardPollIntervalMillis(500)
                .shardConsumerDispatchPollIntervalMillis(100);
        var leases = configs.leaseManagementConfig()
                .failoverTimeMillis(2000)
                .leaseAssignmentIntervalMillis(1000L)
                .dynamoDbLockBasedLeaderLeaseDurationInMillis(6000)
                .dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(1000)
                .shardSyncIntervalMillis(2000);
        // Else it looks for the metadata of a machine at Amazon's.
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true);
        var retrieval = configs.retrievalConfig().retrievalSpecificConfig(args[4].equals("fanout")
                ? new FanOutConfig(kinesis).streamName(stream).applicationName(application)
                : new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(250));

        var scheduler = new Scheduler(configs.checkpointConfig(), coordinator, leases, configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()), configs.processorConfig(), retrieval);
        var running = new Thread(scheduler, "scheduler");
        running.start();
        while (System.in.read() >= 0) {
            // Nobody writes.
        }
        scheduler.startGracefulShutdown().get(20, TimeUnit.SECONDS);
        running.join(5000); // it gives the leadership up
        System.exit(0);
    }

    private static void say(String... members) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < members.length; i += 2) {
            line.put(members[i], members[i + 1]);
        }
        synchronized (OUT) {
            OUT.println(Pojos.json(line));
        }
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            say("began", shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            for (KinesisClientRecord r : input.records()) {
                say("shard", shard, "key", r.partitionKey(), "sequence", r.sequenceNumber(),
                        "data", Pojos.base64(SdkBytes.fromByteBuffer(r.data())));
            }
            if (!input.records().isEmpty()) {
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) { }

        @Override
        public void shardEnded(ShardEndedInput input) {
            say("ended", shard);
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (ShutdownException lost) {
                // Somebody else has the shard now, and goes on from the last checkpoint.
            } catch (InvalidStateException e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
