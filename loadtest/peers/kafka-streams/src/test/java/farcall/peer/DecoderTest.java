package farcall.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DecoderTest {
    private static final String GOOD = Sample.record("2026-03-02T12:30:00Z", "iam.amazonaws.com", "CreateUser", "8.8.8.8", Sample.user("ann"));
    private static final String FOUND = "iam:CreateUser 1/user/ann allowed 1772454600000";

    @Test
    void forms() {
        assertEquals(List.of(FOUND), Sample.decode(GOOD));
        assertEquals(List.of(FOUND), Sample.decode(" \n" + GOOD + "\n"));
        assertEquals(List.of(FOUND, FOUND), Sample.decode(GOOD + "\n" + GOOD));
        assertEquals(List.of(FOUND, FOUND), Sample.decode("{\"Records\":[" + GOOD + " , " + GOOD + "]}"));
        assertEquals(List.of(FOUND), Sample.decode("{\"x\":{},\"Records\":[" + GOOD + "],\"y\":1}"));
        assertEquals(List.of(), Sample.decode("{\"Records\":[]}"));
        assertEquals(List.of(), Sample.decode((byte[]) null));
        assertEquals(List.of(), Sample.decode(""));
    }

    @Test
    void neighboursOfBadOnesCount() {
        List<String> found = Sample.decode("{\"Records\":[{\"a\":1}," + GOOD + ",7," + GOOD + "]}");
        assertEquals(4, found.size());
        assertEquals(FOUND, found.get(1));
        assertEquals(FOUND, found.get(3));
        found = Sample.decode("{\"Records\":[" + GOOD + ",{\"a\":}]}");
        assertEquals(2, found.size());
        assertEquals(FOUND, found.get(0));
    }

    @Test
    void refusals() {
        for (String bad : List.of(GOOD.substring(0, GOOD.length() - 1), GOOD + "}", "[" + GOOD + "]", "x", GOOD.replace("CreateUser\"", "CreateUser"),
                GOOD.replace("\"eventTime\":\"2026-03-02T12:30:00Z\",", ""), GOOD.replace("2026-03-02", "2026-13-02"),
                GOOD.replace("\"CreateUser\"", "7"), GOOD.replace("\"readOnly\":false", "\"readOnly\":\"false\""),
                GOOD.replace("[{\"ARN\":\"arn:aws:s3:::b\",\"type\":\"t\"}]", "[\"b\"]"), GOOD.replace("{\"type\":\"IAMUser\"", "{\"type\":[]"),
                GOOD.replace("iam.amazonaws.com", "aws:s3"), GOOD.replace("CreateUser", "x".repeat(1 << 20)))) {
            List<String> found = Sample.decode(bad);
            assertTrue(found.get(found.size() - 1).startsWith("!"), bad + " became " + found);
        }
    }

    @Test
    void oddButGood() {
        assertEquals(List.of(FOUND), Sample.decode(GOOD.replace("\"readOnly\":false", "\"readOnly\":null")));
        assertEquals(List.of(FOUND), Sample.decode(GOOD.replace("{\"eventVersion\"", "{\"eventName\":\"Other\",\"eventVersion\""))); // the last wins
        assertEquals(List.of(FOUND), Sample.decode(GOOD.replace("CreateUser", "Create\\u0055ser")));
        assertEquals(List.of(), Sample.decode(GOOD.replace("AwsApiCall", "AwsCloudTrailInsight")));
        assertEquals(List.of(FOUND.replace("ann", "a\uFFFDn é \uD83D\uDE00\uFFFD")),
                Sample.decode(GOOD.replace("\"ann\"", "\"a\\ud800n é \\ud83d\\ude00\\udc00\"")));
        byte[] broken = Sample.utf8(GOOD);
        broken[GOOD.indexOf("ann") + 1] = (byte) 0xC3;
        assertEquals(List.of(FOUND.replace("ann", "a\uFFFDn")), Sample.decode(broken));
    }

    @ParameterizedTest
    @CsvSource({"2026-03-02T12:30:00Z,1772454600000", "2026-03-02 12:30:00,1772454600000", "2026-03-02T12:30:00.25Z,1772454600250",
        "2026-03-02T12:30:00+01:00,1772451000000", "2026-03-02T12:30:00-0130,1772460000000", "2026-03-02T12:30:00 UTC,1772454600000"})
    void times(String text, long want) {
        Time time = new Time();
        assertEquals(want, time.parse(new Text(text)));
        assertEquals(want, time.parse(new Text(text))); // from what it remembers
    }

    @ParameterizedTest
    @CsvSource({"2026-03-02T24:30:00Z", "2026-02-30T12:30:00Z", "1999-03-02T12:30:00Z", "2026-03-02T12:30", "2026-03-02T12:30:00X",
        "2026/03/02T12:30:00Z", "2026-03-02T12:30:00+1"})
    void noTimes(String text) {
        assertEquals(Time.NONE, new Time().parse(new Text(text)));
    }

    @ParameterizedTest
    @CsvSource({"lambda.amazonaws.com,GetFunction20150331v2,lambda:GetFunction", "lambda.amazonaws.com,CreateFunction2020_05_31,lambda:CreateFunction",
        "cloudfront.amazonaws.com,20150331,cloudfront:20150331", "s3.amazonaws.com,Get20150331,s3:Get20150331",
        "lambda.amazonaws.com,Get20151331,lambda:Get20151331", "example.com,Do,example.com:Do"})
    void methods(String source, String name, String want) {
        String record = Sample.record("2026-03-02T12:30:00Z", source, name, "8.8.8.8", Sample.user("ann"));
        assertEquals(want, Sample.decode(record).get(0).split(" ")[0]);
    }

    /** The identities and principals of farcall's own tests (processor/cloudtrail/principal_test.go). */
    @Test
    void principals() throws IOException {
        for (String line : Files.readAllLines(Path.of("src/test/resources/principals.tsv"))) {
            String[] c = line.split("\t");
            String found = Sample.decode(Sample.record("2026-03-02T12:30:00Z", "a.b", "C", "8.8.8.8", c[0])).get(0);
            assertEquals("a.b:C " + c[1] + " allowed 1772454600000", found, c[0]);
        }
    }

    @Test
    void longPrincipals() {
        String a = Sample.decode(GOOD.replace("ann", "é".repeat(400) + "a")).get(0).split(" ")[1];
        String b = Sample.decode(GOOD.replace("ann", "é".repeat(400) + "b")).get(0).split(" ")[1];
        assertTrue(!a.equals(b) && a.getBytes(StandardCharsets.UTF_8).length <= Names.PRINCIPAL_BYTES && !a.contains("\uFFFD"), a);
    }

    @ParameterizedTest
    @CsvSource({"AccessDenied,s3,true", "Client.UnauthorizedOperation,ec2,true", "ThrottlingException,s3,false", "AuthFailure,ec2,true",
        "Server.AuthFailure,ec2,true", "AuthFailureX,ec2,false", "x,signin,true", "OptInRequired,s3,false"})
    void denied(String code, String service, boolean want) {
        String record = GOOD.replace("iam.amazonaws.com", service + ".amazonaws.com").replace("\"requestID\"", "\"errorCode\":\"" + code + "\",\"requestID\"");
        assertEquals(want ? "denied" : "allowed", Sample.decode(record).get(0).split(" ")[2]);
    }
}
