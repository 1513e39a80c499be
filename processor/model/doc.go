// Package model holds farcall's stages and stores against a naive oracle, under random histories of faults. It has tests only:
// `go test ./processor/model`, and `make torture` for hours.
package model
