package farcall.peer;

/** What is needed of one CloudTrail record. The texts alias the payload; all of it is valid until the next record. */
final class Event {
    /** Unix milliseconds. */
    long time;

    final Text eventTime = new Text();
    final Text source = new Text();
    final Text name = new Text();
    final Text address = new Text();
    final Text type = new Text();
    final Text category = new Text();
    final Text errorCode = new Text();
    final Text errorMessage = new Text();

    // userIdentity
    final Text identityType = new Text();
    final Text principalId = new Text();
    final Text arn = new Text();
    final Text accountId = new Text();
    final Text userName = new Text();
    final Text invokedBy = new Text();
    final Text identityProvider = new Text();
    final Text ownSourceIdentity = new Text();
    final Text onBehalfOf = new Text();

    // userIdentity.sessionContext
    final Text sessionSourceIdentity = new Text();
    final Text issuerType = new Text();
    final Text issuerArn = new Text();
    final Text issuerAccountId = new Text();
    final Text issuerUserName = new Text();

    private final Text[] all = {
        eventTime, source, name, address, type, category, errorCode, errorMessage, identityType, principalId, arn, accountId,
        userName, invokedBy, identityProvider, ownSourceIdentity, onBehalfOf, sessionSourceIdentity, issuerType, issuerArn,
        issuerAccountId, issuerUserName,
    };

    void clear() {
        for (Text t : all) {
            t.clear();
        }
    }
}
