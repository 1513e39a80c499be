package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** CloudTrail records for tests. */
final class Sample {
    private Sample() {}

    static String record(String time, String source, String name, String address, String identity) {
        return """
                {"eventVersion":"1.11","userIdentity":%s,"eventTime":"%s","eventSource":"%s","eventName":"%s","awsRegion":"us-east-1",\
                "sourceIPAddress":"%s","userAgent":"aws-cli/2.17 os/linux","requestParameters":{"a":[1,-0.5e+3,{"b":null}],"c":"d\\u00e9\\n"},\
                "responseElements":null,"requestID":"r","eventID":"e","readOnly":false,"resources":[{"ARN":"arn:aws:s3:::b","type":"t"}],\
                "eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"1","eventCategory":"Management"}"""
                .formatted(identity, time, source, name, address);
    }

    static String user(String name) {
        return "{\"type\":\"IAMUser\",\"accountId\":\"1\",\"userName\":\"" + name + "\"}";
    }

    static byte[] utf8(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    /** Takes what a decoder finds, as words: "method principal outcome time", or "!" and why it was refused. */
    static List<String> decode(byte[] payload) {
        List<String> found = new ArrayList<>();
        Names names = new Names();
        new Decoder().decode(payload, new Decoder.Handler() {
            @Override
            public void event(Event e) {
                Text method = new Text();
                Text principal = new Text();
                names.method(e, method);
                names.principal(e, principal);
                found.add(method + " " + principal + " " + (Names.denied(e) ? "denied" : "allowed") + " " + e.time);
            }

            @Override
            public void refuse(String why) {
                found.add("!" + why);
            }
        });
        return found;
    }

    static List<String> decode(String payload) {
        return decode(utf8(payload));
    }
}
