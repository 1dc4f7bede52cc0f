//go:build !wasip1

// Package dataflaretest is for unit tests of plugins, which `go test` runs natively, against a host in memory.
//
// The host has the most used functions of expressions, and no Arrow streams, groups and joins: what it does not have says so,
// and is tested in the sandbox by `dataflare test`. There is one host: [Make] empties it, and tests do not run in parallel.
package dataflaretest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"dataflare"
	"dataflare/internal/twin"
)

// Make makes a plugin of a configuration, which is JSON, with an empty host. The test fails if the plugin refuses it.
func Make[C, P any](t testing.TB, construct func(C) (P, error), config string) P {
	t.Helper()
	plugin, err := TryMake(construct, config)
	if err != nil {
		t.Fatalf("the configuration %s: %v", config, err)
	}
	return plugin
}

// TryMake does the same, and gives the error.
func TryMake[C, P any](construct func(C) (P, error), config string) (P, error) {
	*twin.Host = *twin.New()
	var plugin P
	made, err := dataflare.ParseConfig[C](config)
	if err == nil {
		plugin, err = construct(made)
	}
	return plugin, err
}

// Process has a processor process a record, which is JSON, as the host does; empty if it drops it.
func Process[In, Out any](t testing.TB, plugin dataflare.Processor[In, Out], record string) string {
	t.Helper()
	changed, err := TryProcess(plugin, record)
	if err != nil {
		t.Fatalf("the record %s: %v", record, err)
	}
	return changed
}

// TryProcess does the same, and gives the error.
func TryProcess[In, Out any](plugin dataflare.Processor[In, Out], record string) (string, error) {
	var read In
	if err := json.Unmarshal([]byte(record), &read); err != nil {
		return "", err
	}
	changed, err := plugin.Process(&read)
	if err != nil || changed == nil {
		return "", err
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err = encoder.Encode(changed)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// Rows makes a batch of records, each JSON.
func Rows(t testing.TB, records ...string) *dataflare.Batch {
	t.Helper()
	batch, err := dataflare.FromJSONLines(strings.Join(records, "\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// Same fails the test unless a batch has these rows, each JSON.
func Same(t testing.TB, batch *dataflare.Batch, records ...string) {
	t.Helper()
	found, err := batch.ToJSONLines()
	if err != nil {
		t.Fatal(err)
	}
	if wanted := strings.Join(records, "\n"); !reflect.DeepEqual(values(t, found), values(t, wanted)) {
		t.Errorf("the rows are\n%s\nnot\n%s", strings.TrimSuffix(found, "\n"), wanted)
	}
}

func values(t testing.TB, lines string) []any {
	t.Helper()
	var found []any
	for decoder := json.NewDecoder(strings.NewReader(lines)); decoder.More(); {
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		found = append(found, value)
	}
	return found
}

// ReadAll reads all of a dataset, in chunks of at most so many rows, as the host does. All rows must have the same columns.
func ReadAll[S any](t testing.TB, source dataflare.Source[S], name string, maxRows int) *dataflare.Batch {
	t.Helper()
	datasets, err := source.Datasets()
	if err != nil {
		t.Fatal(err)
	}
	for _, dataset := range datasets {
		if dataset.Name == name {
			request := dataflare.Request[S]{Dataset: dataset, Mode: dataflare.Full, MaxRows: maxRows, Schema: dataset.Schema()}
			return readAll(t, source, &request)
		}
	}
	t.Fatalf("there is no dataset %q", name)
	return nil
}

func readAll[S any](t testing.TB, source dataflare.Source[S], request *dataflare.Request[S]) *dataflare.Batch {
	t.Helper()
	var parts []*dataflare.Batch
	for {
		chunk, err := source.Read(request)
		if err != nil {
			t.Fatal(err)
		}
		if chunk == nil {
			break
		}
		parts = append(parts, chunk.Rows)
		request.State = &chunk.State
		if chunk.Schema != nil {
			request.Schema = *chunk.Schema
		}
	}
	if len(parts) == 0 {
		return dataflare.BatchOfRows(0)
	}
	rows, err := dataflare.Concat(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Event is something that was logged.
type Event = twin.Event

// Logged gives what was logged.
func Logged() []Event { return twin.Host.Events }

// Figures gives the metrics, by name.
func Figures() map[string]float64 { return twin.Host.Figures }

// PutSecret gives the plugin a secret.
func PutSecret(name, value string) { twin.Host.Secrets[name] = value }

// PutFile gives the plugin a file; the first part of its path is the directory that is granted.
func PutFile(path string, data []byte) { twin.Host.Files[path] = data }

// File gives a file that the plugin wrote, or was given; nil if there is none.
func File(path string) []byte { return twin.Host.Files[path] }

// Request is one that the plugin sent.
type Request = twin.Request

// Answer answers requests to an address; others are denied.
func Answer(url string, status int, body string) {
	twin.Host.Responses[url] = twin.Response{Status: status, Body: []byte(body)}
}

// Requests gives the requests that the plugin sent.
func Requests() []Request { return twin.Host.Requests }

// Cancel cancels the work.
func Cancel() { twin.Host.Cancelled = true }
