// Package endtoend runs the built farcall binary against Apache Kafka and looks at it from outside: it produces CloudTrail,
// stops, kills and restarts processes, and reads topics with a client that shares no code with farcall. It has tests only.
package endtoend
