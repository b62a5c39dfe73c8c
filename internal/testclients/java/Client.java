import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.SdkPojo;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.protocols.jsoncore.JsonNode;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardRequest;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;
import software.amazon.awssdk.utils.builder.SdkBuilder;

/**
 * Does what its standard input says, with the asynchronous client of the AWS SDK for
 * Java, until that is closed. The first line is {url, ca}, or {url}; each one after it
 * {id, operation, input}, and all are under way at once. Answers: {version},
 * {id, output}, {id, event} for each event of a subscription, {id, error}.
 */
public final class Client {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var client = connect(JsonNode.parser().parse(in.readLine()).asObject());
        say("version", "AWS SDK for Java " + VersionInfo.SDK_VERSION + ", Java " + System.getProperty("java.version"));
        for (String line; (line = in.readLine()) != null; ) {
            var order = JsonNode.parser().parse(line).asObject();
            var id = Long.valueOf(order.get("id").asNumber());
            try {
                perform(client, id, order.get("operation").asString(), order.get("input"));
            } catch (InvocationTargetException e) {
                fail(id, e.getCause());
            }
        }
        System.exit(0);
    }

    private static KinesisAsyncClient connect(Map<String, JsonNode> start) throws Exception {
        var http = NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2);
        if (start.containsKey("ca")) {
            var trusted = trust(Path.of(start.get("ca").asString()));
            http.tlsTrustManagersProvider(() -> trusted);
        }
        return KinesisAsyncClient.builder()
                .region(Region.US_EAST_1)
                .endpointOverride(URI.create(start.get("url").asString()))
                .credentialsProvider(StaticCredentialsProvider.create(
                        AwsBasicCredentials.create(start.get("key").asString(), start.get("secret").asString())))
                .httpClientBuilder(http)
                .overrideConfiguration(o -> o.retryStrategy(r -> r.maxAttempts(1)))
                .build();
    }

    private static TrustManager[] trust(Path certificate) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var in = Files.newInputStream(certificate)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory.getTrustManagers();
    }

    private static void perform(KinesisAsyncClient client, long id, String operation, JsonNode input) throws Exception {
        var type = Class.forName("software.amazon.awssdk.services.kinesis.model." + operation + "Request");
        var builder = (SdkPojo) type.getMethod("builder").invoke(null);
        Pojos.fill(builder, input.asObject());
        var request = ((SdkBuilder<?, ?>) builder).build();
        if (request instanceof SubscribeToShardRequest subscribe) {
            subscribe(client, id, subscribe);
            return;
        }
        var method = Character.toLowerCase(operation.charAt(0)) + operation.substring(1);
        var future = (CompletableFuture<?>) KinesisAsyncClient.class.getMethod(method, type).invoke(client, request);
        future.whenComplete((output, error) -> {
            if (error != null) {
                fail(id, error);
            } else {
                say("id", id, "output", Pojos.members((SdkPojo) output));
            }
        });
    }

    private static void subscribe(KinesisAsyncClient client, long id, SubscribeToShardRequest request) {
        var handler = SubscribeToShardResponseHandler.builder()
                .onResponse(response -> say("id", id, "output", Map.of()))
                .onError(error -> { }) // the future has it too
                .subscriber(event -> {
                    if (event instanceof SubscribeToShardEvent records) {
                        say("id", id, "event", Pojos.members(records));
                    }
                })
                .build();
        client.subscribeToShard(request, handler).whenComplete((nothing, error) -> {
            if (error != null) {
                fail(id, error);
            } else {
                say("id", id, "end", true);
            }
        });
    }

    private static void fail(long id, Throwable error) {
        while (error instanceof CompletionException && error.getCause() != null) {
            error = error.getCause();
        }
        var answer = new LinkedHashMap<String, Object>();
        answer.put("code", error.getClass().getSimpleName());
        answer.put("type", error.getClass().getSimpleName());
        answer.put("message", String.valueOf(error.getMessage()));
        if (error instanceof AwsServiceException service && service.awsErrorDetails() != null) {
            answer.put("code", service.awsErrorDetails().errorCode());
            answer.put("message", service.awsErrorDetails().errorMessage());
            answer.put("status", service.statusCode());
            answer.put("request", service.requestId());
        }
        say("id", id, "error", answer);
    }

    /** Prints an object of these names and values. */
    private static void say(Object... members) {
        var object = new LinkedHashMap<String, Object>();
        for (int i = 0; i < members.length; i += 2) {
            object.put((String) members[i], members[i + 1]);
        }
        var line = Pojos.json(object);
        synchronized (OUT) {
            OUT.println(line);
        }
    }
}
