// Package model holds farcall's stages and stores against a naive oracle, under random histories of faults. It has tests only,
// on two levels: TestHistories drives stages and stores step by step, without a Kafka, with a fault between any two steps;
// TestWorkers runs the workers on the embedded broker in virtual time. In both, people make exceptions and give verdicts about alerts
// that came, and what follows is predicted from the documents alone. `make torture` goes on with both for hours.
package model
