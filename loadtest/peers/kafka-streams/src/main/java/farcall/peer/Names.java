package farcall.peer;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** The method and the principal of an event, by the rules of farcall's cloudtrail/method.go and principal.go. */
final class Names {
    /** The longest principal. */
    static final int PRINCIPAL_BYTES = 512;
    /** The longest method. */
    static final int METHOD_BYTES = 512;

    private static final byte[] AMAZON = ascii(".amazonaws.com");
    private static final byte[] LAMBDA = ascii("lambda");
    private static final byte[] CLOUDFRONT = ascii("cloudfront");
    private static final byte[] SIGN_IN = ascii("signin.amazonaws.com");
    private static final byte[] ARN = ascii("arn:");
    private static final byte[] ASSUMED_ROLE = ascii(":assumed-role/");
    private static final byte[] ROLE = ascii(":role/");
    private static final byte[] FEDERATED_USER = ascii(":federated-user/");
    private static final byte[] OIDC = ascii(":oidc-provider/");
    private static final byte[] SAML = ascii(":saml-provider/");
    private static final byte[] SSO_ROLE = ascii("AWSReservedSSO_");
    private static final byte[] ROLE_TYPE = ascii("Role");
    private static final byte[] UNKNOWN = ascii("unknown");

    private static final Keys TYPES = new Keys("IAMUser", "AssumedRole", "Role", "FederatedUser", "Root", "AWSAccount",
            "AWSService", "WebIdentityUser", "SAMLUser");

    private final Text account = new Text();
    private final Text name = new Text();
    private final Text part = new Text();
    private final Text session = new Text();

    static byte[] ascii(String s) {
        return s.getBytes(StandardCharsets.US_ASCII);
    }

    /** Writes "service:Action", at most METHOD_BYTES of it, without NUL. */
    void method(Event e, Text to) {
        to.clear();
        Text source = e.source;
        int n = source.endsWith(AMAZON) ? source.len - AMAZON.length : source.len;
        to.add(source.a, source.off, n);
        int action = e.name.len;
        if (to.is(LAMBDA) || to.is(CLOUDFRONT)) {
            action -= apiVersion(e.name);
        }
        to.add(':').add(e.name.a, e.name.off, action);
        if (to.len > METHOD_BYTES) {
            to.len = Utf8.cut(to.a, 0, METHOD_BYTES);
        }
        for (int i = 0; i < to.len; i++) {
            if (to.a[i] == 0) {
                to.a[i] = '?';
            }
        }
    }

    /** Length of the API version that a name ends in: a date as 20150331 or 2020_05_31, perhaps followed by v and digits. */
    private static int apiVersion(Text name) {
        int end = name.len;
        while (end > 0 && isDigit(name.at(end - 1))) {
            end--;
        }
        if (end == name.len || end == 0 || name.at(end - 1) != 'v') {
            end = name.len;
        } else {
            end--;
        }
        for (String layout : new String[] {"yyyymmdd", "yyyy_mm_dd"}) {
            int start = end - layout.length();
            if (start > 0 && !isDigit(name.at(start - 1)) && isDate(name, start, layout)) {
                return name.len - start;
            }
        }
        return 0;
    }

    private static boolean isDate(Text s, int from, String layout) {
        int month = 0;
        int day = 0;
        for (int i = 0; i < layout.length(); i++) {
            byte c = s.at(from + i);
            if (layout.charAt(i) == '_') {
                if (c != '_') {
                    return false;
                }
                continue;
            }
            if (!isDigit(c)) {
                return false;
            }
            if (layout.charAt(i) == 'm') {
                month = 10 * month + c - '0';
            } else if (layout.charAt(i) == 'd') {
                day = 10 * day + c - '0';
            }
        }
        return s.at(from) == '2' && s.at(from + 1) == '0' && month >= 1 && month <= 12 && day >= 1 && day <= 31;
    }

    private static boolean isDigit(byte c) {
        return c >= '0' && c <= '9';
    }

    /** Writes who made the call. */
    void principal(Event e, Text to) {
        to.clear();
        write(e, to);
        if (to.len > PRINCIPAL_BYTES) {
            shorten(to);
        }
    }

    private void write(Event e, Text to) {
        if (!e.onBehalfOf.isEmpty()) {
            to.add(ascii("identity-center")).add('/').add(e.onBehalfOf);
            return;
        }
        account(e);
        Text identity = e.sessionSourceIdentity.isEmpty() ? e.ownSourceIdentity : e.sessionSourceIdentity;
        if (!identity.isEmpty()) {
            parts(to, "/source-identity/", identity);
            return;
        }
        Text type = e.identityType;
        switch (TYPES.id(type.a, type.off, type.off + type.len)) {
            case 0: // IAMUser
                if (!e.userName.isEmpty()) {
                    parts(to, "/user/", e.userName);
                    return;
                }
                lastPart(e.arn, name);
                if (name.isEmpty()) {
                    beforeColon(e.principalId, name);
                }
                if (!name.isEmpty()) {
                    parts(to, "/user/", name);
                    return;
                }
                break;
            case 1: // AssumedRole
            case 2: // Role
                if (role(e, name)) {
                    lastPart(name, part);
                    if (part.startsWith(SSO_ROLE) && sessionName(e, session)) {
                        parts(to, "/sso/", part);
                        to.add('/').add(session);
                        return;
                    }
                    parts(to, "/role/", name);
                    return;
                }
                break;
            case 3: // FederatedUser
                name.set(e.issuerUserName.a, e.issuerUserName.off, e.issuerUserName.off + e.issuerUserName.len);
                if (name.isEmpty() && e.issuerType.is(ascii("Root"))) {
                    name.set(ascii("root"), 0, 4);
                }
                if (name.isEmpty()) {
                    lastPart(e.issuerArn, name);
                }
                if (name.isEmpty() && !sessionName(e, name)) {
                    copy(e.principalId, name);
                }
                if (!name.isEmpty()) {
                    parts(to, "/federated/", name);
                    return;
                }
                break;
            case 4: // Root
                to.add(account).add(ascii("/root"));
                return;
            case 5: // AWSAccount
                beforeColon(e.principalId, name);
                to.add(account).add(ascii("/account"));
                if (!name.isEmpty()) {
                    to.add('/').add(name);
                }
                return;
            case 6: // AWSService
                if (!e.invokedBy.isEmpty() || !e.principalId.isEmpty()) {
                    to.add(ascii("service/")).add(e.invokedBy.isEmpty() ? e.principalId : e.invokedBy);
                    return;
                }
                break;
            case 7: // WebIdentityUser
                provided(e, "/web/", to);
                return;
            case 8: // SAMLUser
                provided(e, "/saml/", to);
                return;
            default:
        }
        beforeColon(e.principalId, name);
        for (Text t : new Text[] {e.userName, e.issuerArn, name, e.arn}) {
            if (!t.isEmpty()) {
                parts(to, "/other/", t);
                return;
            }
        }
        if (!e.invokedBy.isEmpty()) {
            to.add(ascii("service/")).add(e.invokedBy);
            return;
        }
        to.add(account).add('/').add(UNKNOWN);
    }

    private void parts(Text to, String kind, Text rest) {
        to.add(account);
        for (int i = 0; i < kind.length(); i++) {
            to.add(kind.charAt(i));
        }
        to.add(rest);
    }

    /** The account that the caller belongs to. */
    private void account(Event e) {
        if (!e.accountId.isEmpty()) {
            copy(e.accountId, account);
        } else if (!e.issuerAccountId.isEmpty()) {
            copy(e.issuerAccountId, account);
        } else if (!arnAccount(e.arn) && !arnAccount(e.issuerArn) && !arnAccount(e.identityProvider)) {
            account.set(UNKNOWN, 0, UNKNOWN.length);
        }
    }

    /** Takes the account of arn:partition:service:region:account:resource. */
    private boolean arnAccount(Text arn) {
        if (!arn.startsWith(ARN)) {
            return false;
        }
        int from = 0;
        for (int k = 0; k < 4; k++) {
            from = arn.indexOf(':', from) + 1;
            if (from == 0) {
                return false;
            }
        }
        int to = arn.indexOf(':', from);
        if (to <= from) {
            return false;
        }
        account.set(arn.a, arn.off + from, arn.off + to);
        return true;
    }

    /** The path and name of the role in use, or what best stands for it. */
    private static boolean role(Event e, Text to) {
        if (arnAfter(e.issuerArn, ROLE, to) && !to.isEmpty()) {
            return true;
        }
        if (!e.issuerUserName.isEmpty()) {
            copy(e.issuerUserName, to);
            return true;
        }
        if (arnAfter(e.arn, ASSUMED_ROLE, to)) {
            int slash = to.indexOf('/', 0);
            to.len = slash < 0 ? to.len : slash;
            if (!to.isEmpty()) {
                return true;
            }
        }
        if (arnAfter(e.arn, ROLE, to) && !to.isEmpty()) {
            return true;
        }
        beforeColon(e.principalId, to);
        return !to.isEmpty();
    }

    /** The name that the caller gave the session of a role or a federated user. */
    private static boolean sessionName(Event e, Text to) {
        if (arnAfter(e.arn, ASSUMED_ROLE, to)) {
            int slash = to.indexOf('/', 0);
            if (slash >= 0) {
                to.set(to.a, to.off + slash + 1, to.off + to.len);
                return !to.isEmpty();
            }
        }
        if (e.identityType.is(ROLE_TYPE)) {
            return false; // a role by itself has no session
        }
        if (arnAfter(e.arn, FEDERATED_USER, to)) {
            return !to.isEmpty();
        }
        int colon = e.principalId.indexOf(':', 0);
        to.set(e.principalId.a, e.principalId.off + colon + 1, e.principalId.off + (colon < 0 ? 0 : e.principalId.len));
        return !to.isEmpty();
    }

    /** Writes a user of an outside identity provider. */
    private void provided(Event e, String kind, Text to) {
        copy(e.identityProvider, name);
        for (byte[] mark : new byte[][] {OIDC, SAML}) {
            if (arnAfter(name, mark, part)) {
                copy(part, name);
            }
        }
        if (name.isEmpty()) {
            name.set(UNKNOWN, 0, UNKNOWN.length);
        }
        parts(to, kind, name);
        to.add('/');
        Text user = e.userName.isEmpty() ? e.principalId : e.userName;
        if (user.isEmpty()) {
            to.add(UNKNOWN);
        } else {
            to.add(user);
        }
    }

    private static void copy(Text from, Text to) {
        to.set(from.a, from.off, from.off + from.len);
    }

    /** Takes what follows the first mark, such as ":role/", in an ARN. */
    private static boolean arnAfter(Text arn, byte[] mark, Text to) {
        int i = arn.indexOf(mark);
        if (i < 0) {
            return false;
        }
        to.set(arn.a, arn.off + i + mark.length, arn.off + arn.len);
        return true;
    }

    private static void lastPart(Text s, Text to) {
        to.set(s.a, s.off + s.lastIndexOf('/') + 1, s.off + s.len);
    }

    /** Takes a principalId without the session name behind the unique id. One that is an ARN stays whole. */
    private static void beforeColon(Text id, Text to) {
        int colon = id.startsWith(ARN) ? -1 : id.indexOf(':', 0);
        to.set(id.a, id.off, id.off + (colon < 0 ? id.len : colon));
    }

    /** Overwrites the tail of a principal that is too long with a hash of all of it. */
    private static void shorten(Text p) {
        try {
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            sha.update(p.a, 0, p.len);
            byte[] sum = sha.digest();
            int keep = PRINCIPAL_BYTES - 33;
            while (keep > 0 && (p.a[keep] & 0xC0) == 0x80) {
                keep--;
            }
            p.len = keep;
            p.add('~');
            for (int i = 0; i < 16; i++) {
                p.add(Character.forDigit(sum[i] >> 4 & 15, 16)).add(Character.forDigit(sum[i] & 15, 16));
            }
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    /** Whether the call failed because the caller was not authorised, or was not authenticated. */
    static boolean denied(Event e) {
        if (e.errorCode.isEmpty() && e.errorMessage.isEmpty()) {
            return false;
        }
        if (e.source.is(SIGN_IN)) {
            return true;
        }
        Text code = e.errorCode;
        int from = code.startsWith(CLIENT) ? CLIENT.length : 0;
        from += code.startsWith(SERVER, from) ? SERVER.length : 0;
        if (code.len == from) {
            return e.errorMessage.startsWith(FAILED);
        }
        for (byte[] part : DENIED_PARTS) {
            if (code.indexOf(part) >= from) {
                return true;
            }
        }
        for (byte[] word : DENIED_CODES) {
            if (word.length == code.len - from && code.startsWith(word, from)) {
                return true;
            }
        }
        return false;
    }

    private static final byte[] CLIENT = ascii("Client.");
    private static final byte[] SERVER = ascii("Server.");
    private static final byte[] FAILED = ascii("Failed authentication");
    private static final byte[][] DENIED_PARTS = words("AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden");
    private static final byte[][] DENIED_CODES = words("AuthFailure", "AuthenticationFailed", "AuthorizationError",
            "AuthorizationErrorException", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId",
            "InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
            "SignatureDoesNotMatch", "UnrecognizedClient", "UnrecognizedClientException", "ExpiredToken",
            "ExpiredTokenException", "TokenRefreshRequired", "InvalidIdentityToken", "IDPRejectedClaim");

    private static byte[][] words(String... all) {
        byte[][] w = new byte[all.length][];
        for (int i = 0; i < all.length; i++) {
            w[i] = ascii(all[i]);
        }
        return w;
    }
}
