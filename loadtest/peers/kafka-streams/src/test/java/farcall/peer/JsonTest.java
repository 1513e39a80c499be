package farcall.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The scanner passes over exactly what Jackson reads to its end. */
class JsonTest {
    private static final JsonFactory JACKSON = new JsonFactory();

    /** Whether the text is one value, with blanks around it at the most. */
    private static boolean good(byte[] text) {
        Json json = new Json();
        json.reset(text);
        try {
            return json.blanks(json.skip(json.blanks(0), Json.MAX_DEPTH)) == text.length;
        } catch (Json.Bad | ArrayIndexOutOfBoundsException e) {
            return false;
        }
    }

    private static boolean jackson(byte[] text) throws IOException {
        try (JsonParser p = JACKSON.createParser(text)) {
            int depth = 0;
            boolean any = false;
            for (JsonToken t = p.nextToken(); t != null; t = p.nextToken()) {
                if (any && depth == 0) {
                    return false; // a second value
                }
                any = true;
                depth += t.isStructStart() ? 1 : t.isStructEnd() ? -1 : 0;
                if (t == JsonToken.VALUE_STRING) {
                    p.getText();
                }
            }
            return any;
        } catch (IOException e) {
            return false;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-0", "01", "1.", "1.5", ".5", "-", "+1", "1e5", "1e", "1E+5", "1e-", "true", "tru", "truex", "null", "nul",
        "\"\"", "\"", "\"a", "\"\\\"", "\"\\q\"", "\"\\u12\"", "\"\\u12gH\"", "\"\\u00e9\"", "\"\t\"", "\"a#]!\\\\\"", "[]", "[", "[1", "[1,]",
        "[,1]", "[1 2]", "[[],{}]", "[}", "{}", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":{\"b\":[1,{}]}}",
        " { \"a\" : [ 1 , 2 ] } ", "{\"a\":1}}", "{\"a\":1]", "", " ", "\n[\r\n1\t]\n", "\"é\"", "\"ééééééééééééééééééééééééééééééééééééééé\""})
    void agreesOn(String text) throws IOException {
        byte[] b = text.getBytes(StandardCharsets.UTF_8);
        assertEquals(jackson(b), good(b));
    }

    @Test
    void agreesOnDamagedRecords() throws IOException {
        Random random = new Random(7);
        byte[] record = Sample.utf8(Sample.record("2026-03-02T12:30:00Z", "iam.amazonaws.com", "CreateUser", "8.8.8.8", Sample.user("ann")));
        String odd = "{}[],:\"\\ \t\n0123456789eE+-.tfnulr\u0001#!]";
        int bad = 0;
        for (int i = 0; i < 30_000; i++) {
            byte[] b = record.clone();
            for (int k = random.nextInt(2); k >= 0; k--) {
                int at = random.nextInt(b.length);
                if (b[at] > 0) { // Jackson refuses broken UTF-8, which becomes U+FFFD here
                    b[at] = (byte) odd.charAt(random.nextInt(odd.length()));
                }
            }
            boolean want = jackson(b);
            assertEquals(want, good(b), () -> new String(b, StandardCharsets.UTF_8));
            bad += want ? 0 : 1;
        }
        assertEquals(true, bad > 3_000 && bad < 27_000, bad + " were bad");
    }

    @Test
    void depth() {
        assertEquals(true, good(Sample.utf8("[".repeat(256) + "]".repeat(256))));
        assertEquals(false, good(Sample.utf8("[".repeat(257) + "]".repeat(257))));
        assertEquals(true, good(Sample.utf8("[{\"a\":".repeat(128) + "1" + "}]".repeat(128))));
    }
}
