// Package sdk holds the tests that drive a running gateway with the official
// OpenAI library for Go. The test one folder up starts the gateways; this
// folder is a module of its own, so that the gateway does not depend on it.
package sdk
