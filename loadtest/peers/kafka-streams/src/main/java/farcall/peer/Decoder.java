package farcall.peer;

/**
 * Decodes the payloads of the raw topic: CloudTrail records, one or several behind each other, and {"Records":[…]}. What is
 * needed of a record is taken, and all of it is checked, by the rules of farcall's package cloudtrail: field names by exact
 * case; of equal keys the last wins; null is as good as absent; a field of another type than CloudTrail's refuses its record.
 */
final class Decoder {
    interface Handler {
        void event(Event e);

        /** Something of the payload is no CloudTrail record. */
        void refuse(String why);
    }

    private static final int RECORD_BYTES = 1 << 20;

    private static final Keys TOP = new Keys("eventTime", "eventSource", "eventName", "sourceIPAddress", "userIdentity",
            "eventType", "eventCategory", "errorCode", "errorMessage", "Records",
            // not needed, but of a known type
            "eventVersion", "awsRegion", "userAgent", "eventID", "recipientAccountId", "sharedEventID", "vpcEndpointId",
            "readOnly", "managementEvent", "resources", "insightDetails");
    private static final Keys IDENTITY = new Keys("type", "principalId", "arn", "accountId", "userName", "invokedBy",
            "identityProvider", "sourceIdentity", "sessionContext", "onBehalfOf", "accessKeyId", "credentialId");
    private static final Keys SESSION = new Keys("sessionIssuer", "sourceIdentity", "attributes");
    private static final Keys ISSUER = new Keys("type", "arn", "accountId", "userName", "principalId");
    private static final Keys ATTRIBUTES = new Keys("creationDate", "mfaAuthenticated");
    private static final Keys USER = new Keys("userId", "identityStoreArn");
    private static final Keys RESOURCE = new Keys("ARN", "accountId", "type");

    private static final byte[] INSIGHT_TYPE = "AwsCloudTrailInsight".getBytes();
    private static final byte[] INSIGHT = "Insight".getBytes();
    private static final byte[] NOTIFICATION = "aws:".getBytes();

    private final Json json = new Json();
    private final Event event = new Event();
    private final Time clock = new Time();
    private byte[] unquoted = new byte[1024];
    private int used;

    private byte[] b;
    private int keyFrom;
    private int keyTo;
    private boolean wrong; // a field has another type than CloudTrail gives it
    private boolean insight;

    /** Decodes one payload. An empty one holds nothing, which is no mistake. */
    void decode(byte[] payload, Handler h) {
        if (payload == null) {
            return;
        }
        b = payload;
        json.reset(payload);
        try {
            for (int i = json.blanks(0); i < b.length; i = json.blanks(i)) {
                if (b[i] != '{') {
                    throw new Json.Bad("neither a record nor an object with Records");
                }
                i = record(i, true, h);
            }
        } catch (Json.Bad bad) {
            h.refuse(bad.getMessage());
        } catch (ArrayIndexOutOfBoundsException end) {
            h.refuse("ends early");
        }
    }

    /** Takes the object at i, and returns where it ends. */
    private int record(int start, boolean mayHaveRecords, Handler h) {
        Event e = event;
        e.clear();
        used = 0;
        wrong = false;
        insight = false;
        boolean envelope = false;
        int i = json.open(start, '}');
        while (i >= 0) {
            i = key(i);
            switch (TOP.id(b, keyFrom, keyTo)) {
                case 0 -> i = text(i, e.eventTime);
                case 1 -> i = text(i, e.source);
                case 2 -> i = text(i, e.name);
                case 3 -> i = text(i, e.address);
                case 4 -> i = identity(i);
                case 5 -> i = text(i, e.type);
                case 6 -> i = text(i, e.category);
                case 7 -> i = text(i, e.errorCode);
                case 8 -> i = text(i, e.errorMessage);
                case 9 -> {
                    if (mayHaveRecords) {
                        envelope = true;
                        i = records(i, h);
                    } else {
                        i = skip(i, 1);
                    }
                }
                case 10, 11, 12, 13, 14, 15, 16 -> i = typed(i, '"', '"', 1);
                case 17, 18 -> i = typed(i, 't', 'f', 1);
                case 19 -> i = resources(i);
                case 20 -> {
                    insight = true;
                    i = skip(i, 1);
                }
                default -> i = skip(i, 1);
            }
            i = json.next(i, '}');
        }
        int end = -1 - i;
        if (!envelope) {
            finish(end - start, h);
        }
        return end;
    }

    private int records(int i, Handler h) {
        if (b[i] == 'n') {
            return skip(i, 1);
        }
        if (b[i] != '[') {
            h.refuse("Records is no array");
            return skip(i, 1);
        }
        i = json.open(i, ']');
        while (i >= 0) {
            if (b[i] == '{') {
                i = record(i, false, h);
            } else {
                h.refuse("an element of Records is no object");
                i = skip(i, 2);
            }
            i = json.next(i, ']');
        }
        return -1 - i;
    }

    /** Passes the record on, if it is one. */
    private void finish(int size, Handler h) {
        Event e = event;
        if (size > RECORD_BYTES) {
            h.refuse("too large");
        } else if (wrong) {
            h.refuse("a field has a type that it never has");
        } else if (e.type.is(INSIGHT_TYPE) || e.category.is(INSIGHT) || insight && e.name.isEmpty()) {
            return; // a statistic about calls, not a call
        } else if (e.eventTime.isEmpty() || e.source.isEmpty() || e.name.isEmpty()) {
            h.refuse("no eventTime, eventSource or eventName");
        } else if ((e.time = clock.parse(e.eventTime)) == Time.NONE) {
            h.refuse("eventTime is no time");
        } else if (e.source.startsWith(NOTIFICATION)) {
            h.refuse("a service's notification");
        } else {
            h.event(e);
        }
    }

    private int identity(int i) {
        if (b[i] != '{') {
            return other(i, 1);
        }
        Event e = event;
        i = json.open(i, '}');
        while (i >= 0) {
            i = key(i);
            switch (IDENTITY.id(b, keyFrom, keyTo)) {
                case 0 -> i = text(i, e.identityType);
                case 1 -> i = text(i, e.principalId);
                case 2 -> i = text(i, e.arn);
                case 3 -> i = text(i, e.accountId);
                case 4 -> i = text(i, e.userName);
                case 5 -> i = text(i, e.invokedBy);
                case 6 -> i = text(i, e.identityProvider);
                case 7 -> i = text(i, e.ownSourceIdentity);
                case 8 -> i = session(i);
                case 9 -> i = user(i);
                case 10, 11 -> i = typed(i, '"', '"', 2);
                default -> i = skip(i, 2);
            }
            i = json.next(i, '}');
        }
        return -1 - i;
    }

    private int session(int i) {
        if (b[i] != '{') {
            return other(i, 2);
        }
        i = json.open(i, '}');
        while (i >= 0) {
            i = key(i);
            switch (SESSION.id(b, keyFrom, keyTo)) {
                case 0 -> i = issuer(i);
                case 1 -> i = text(i, event.sessionSourceIdentity);
                case 2 -> i = attributes(i);
                default -> i = skip(i, 3);
            }
            i = json.next(i, '}');
        }
        return -1 - i;
    }

    private int issuer(int i) {
        if (b[i] != '{') {
            return other(i, 3);
        }
        Event e = event;
        i = json.open(i, '}');
        while (i >= 0) {
            i = key(i);
            switch (ISSUER.id(b, keyFrom, keyTo)) {
                case 0 -> i = text(i, e.issuerType);
                case 1 -> i = text(i, e.issuerArn);
                case 2 -> i = text(i, e.issuerAccountId);
                case 3 -> i = text(i, e.issuerUserName);
                case 4 -> i = typed(i, '"', '"', 4);
                default -> i = skip(i, 4);
            }
            i = json.next(i, '}');
        }
        return -1 - i;
    }

    private int attributes(int i) {
        if (b[i] != '{') {
            return other(i, 3);
        }
        i = json.open(i, '}');
        while (i >= 0) {
            i = key(i);
            switch (ATTRIBUTES.id(b, keyFrom, keyTo)) {
                case 0 -> i = typed(i, '"', '"', 4);
                case 1 -> i = b[i] == '"' ? json.stringEnd(i) : typed(i, 't', 'f', 4);
                default -> i = skip(i, 4);
            }
            i = json.next(i, '}');
        }
        return -1 - i;
    }

    private int user(int i) {
        if (b[i] != '{') {
            return other(i, 2);
        }
        i = json.open(i, '}');
        while (i >= 0) {
            i = key(i);
            switch (USER.id(b, keyFrom, keyTo)) {
                case 0 -> i = text(i, event.onBehalfOf);
                case 1 -> i = typed(i, '"', '"', 3);
                default -> i = skip(i, 3);
            }
            i = json.next(i, '}');
        }
        return -1 - i;
    }

    private int resources(int i) {
        if (b[i] != '[') {
            return other(i, 1);
        }
        i = json.open(i, ']');
        while (i >= 0) {
            if (b[i] == '{') {
                i = json.open(i, '}');
                while (i >= 0) {
                    i = key(i);
                    i = RESOURCE.id(b, keyFrom, keyTo) >= 0 ? typed(i, '"', '"', 3) : skip(i, 3);
                    i = json.next(i, '}');
                }
                i = -1 - i;
            } else {
                i = other(i, 2);
            }
            i = json.next(i, ']');
        }
        return -1 - i;
    }

    /** Reads the key at i into keyFrom and keyTo, and returns where its value starts. Keys with escapes are none that matter. */
    private int key(int i) {
        int end = json.stringEnd(i);
        keyFrom = i + 1;
        keyTo = end - 1;
        return json.colon(end);
    }

    private int text(int i, Text to) {
        if (b[i] != '"') {
            return other(i, 1);
        }
        int end = json.stringEnd(i);
        if (json.plain) {
            to.set(b, i + 1, end - 1);
        } else {
            unquote(i + 1, end - 1, to);
        }
        return end;
    }

    /** Passes over a value that begins with one of two characters, or is null. */
    private int typed(int i, char one, char two, int depth) {
        int c = b[i];
        if (c == '"' && one == '"') {
            return json.stringEnd(i);
        }
        return c == one || c == two ? skip(i, depth) : other(i, depth);
    }

    /** Passes over a value of another type than wanted, which is a mistake unless it is null. */
    private int other(int i, int depth) {
        wrong |= b[i] != 'n';
        return skip(i, depth);
    }

    private int skip(int i, int depth) {
        return b[i] == '"' ? json.stringEnd(i) : json.skip(i, Json.MAX_DEPTH - depth);
    }

    /** Reads the inside of a good JSON string. Invalid UTF-8 and half surrogate pairs become U+FFFD, byte by byte as Go does. */
    private void unquote(int from, int to, Text into) {
        if (unquoted.length < used + 3 * (to - from)) {
            unquoted = new byte[Math.max(2 * unquoted.length, 3 * (to - from))]; // who has the old one keeps it
            used = 0;
        }
        byte[] out = unquoted;
        int n = used;
        for (int i = from; i < to; ) {
            int c = b[i];
            if (c < 0) {
                int size = Utf8.size(b, i, to);
                if (size == 0) {
                    n = Utf8.put(out, n, Utf8.REPLACEMENT);
                    i++;
                } else {
                    System.arraycopy(b, i, out, n, size);
                    n += size;
                    i += size;
                }
                continue;
            }
            if (c != '\\') {
                out[n++] = (byte) c;
                i++;
                continue;
            }
            c = b[i + 1];
            i += 2;
            switch (c) {
                case 'b' -> out[n++] = '\b';
                case 'f' -> out[n++] = '\f';
                case 'n' -> out[n++] = '\n';
                case 'r' -> out[n++] = '\r';
                case 't' -> out[n++] = '\t';
                case 'u' -> {
                    int r = hex(i);
                    i += 4;
                    if (r >= 0xD800 && r < 0xE000) {
                        int low = r < 0xDC00 && i + 6 <= to && b[i] == '\\' && b[i + 1] == 'u' ? hex(i + 2) : 0;
                        if (low >= 0xDC00 && low < 0xE000) {
                            r = Character.toCodePoint((char) r, (char) low);
                            i += 6;
                        } else {
                            r = Utf8.REPLACEMENT;
                        }
                    }
                    n = Utf8.put(out, n, r);
                }
                default -> out[n++] = (byte) c;
            }
        }
        into.set(out, used, n);
        used = n;
    }

    private int hex(int i) {
        int r = 0;
        for (int k = 0; k < 4; k++) {
            r = r << 4 | Character.digit(b[i + k], 16);
        }
        return r;
    }
}
