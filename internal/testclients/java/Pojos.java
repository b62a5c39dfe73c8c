import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.SdkField;
import software.amazon.awssdk.core.SdkPojo;
import software.amazon.awssdk.core.protocol.MarshallingType;
import software.amazon.awssdk.core.traits.ListTrait;
import software.amazon.awssdk.core.util.SdkAutoConstructList;
import software.amazon.awssdk.core.util.SdkAutoConstructMap;
import software.amazon.awssdk.protocols.jsoncore.JsonNode;
import software.amazon.awssdk.protocols.jsoncore.JsonWriter;
import software.amazon.awssdk.utils.builder.SdkBuilder;

/** Turns JSON into any request of the SDK, and any answer of it into JSON. */
final class Pojos {
    /** Gives the members of a builder their values. */
    static void fill(SdkPojo builder, Map<String, JsonNode> members) {
        for (SdkField<?> field : builder.sdkFields()) {
            JsonNode node = members.get(field.locationName());
            if (node != null) {
                field.set(builder, value(field, node));
            }
        }
    }

    private static Object value(SdkField<?> field, JsonNode node) {
        MarshallingType<?> type = field.marshallingType();
        if (type == MarshallingType.STRING) {
            return node.asString();
        } else if (type == MarshallingType.INTEGER) {
            return Integer.valueOf(node.asNumber());
        } else if (type == MarshallingType.LONG) {
            return Long.valueOf(node.asNumber());
        } else if (type == MarshallingType.BOOLEAN) {
            return node.asBoolean();
        } else if (type == MarshallingType.INSTANT) {
            return Instant.parse(node.asString());
        } else if (type == MarshallingType.SDK_BYTES) {
            return SdkBytes.fromByteArray(Base64.getDecoder().decode(node.asString()));
        } else if (type == MarshallingType.LIST) {
            SdkField<?> member = field.getTrait(ListTrait.class).memberFieldInfo();
            return node.asArray().stream().map(n -> value(member, n)).toList();
        } else if (type == MarshallingType.MAP) {
            var map = new LinkedHashMap<String, Object>(); // of strings, in all that Kinesis is asked
            node.asObject().forEach((name, n) -> map.put(name, n.asString()));
            return map;
        } else if (type == MarshallingType.SDK_POJO) {
            SdkPojo builder = field.constructor().get();
            fill(builder, node.asObject());
            return ((SdkBuilder<?, ?>) builder).build();
        }
        throw new IllegalArgumentException(field.locationName() + ": " + type);
    }

    /** Returns the members that are there. */
    static Map<String, Object> members(SdkPojo pojo) {
        var members = new LinkedHashMap<String, Object>();
        for (SdkField<?> field : pojo.sdkFields()) {
            Object value = field.getValueOrDefault(pojo);
            if (value != null && !(value instanceof SdkAutoConstructList) && !(value instanceof SdkAutoConstructMap)) {
                members.put(field.locationName(), plain(value));
            }
        }
        return members;
    }

    private static Object plain(Object value) {
        if (value instanceof SdkPojo pojo) {
            return members(pojo);
        } else if (value instanceof SdkBytes bytes) {
            return base64(bytes);
        } else if (value instanceof List<?> list) {
            var plain = new ArrayList<>(list.size());
            list.forEach(v -> plain.add(plain(v)));
            return plain;
        }
        return value;
    }

    static String base64(SdkBytes bytes) {
        return Base64.getEncoder().encodeToString(bytes.asByteArrayUnsafe());
    }

    static String json(Object value) {
        JsonWriter writer = JsonWriter.create();
        write(writer, value);
        return new String(writer.getBytes(), StandardCharsets.UTF_8);
    }

    private static void write(JsonWriter writer, Object value) {
        if (value instanceof Map<?, ?> map) {
            writer.writeStartObject();
            map.forEach((name, v) -> {
                writer.writeFieldName((String) name);
                write(writer, v);
            });
            writer.writeEndObject();
        } else if (value instanceof List<?> list) {
            writer.writeStartArray();
            list.forEach(v -> write(writer, v));
            writer.writeEndArray();
        } else if (value instanceof Integer i) {
            writer.writeValue(i);
        } else if (value instanceof Long l) {
            writer.writeValue(l);
        } else if (value instanceof Boolean b) {
            writer.writeValue(b);
        } else if (value == null) {
            writer.writeNull();
        } else {
            writer.writeValue(value.toString());
        }
    }
}
