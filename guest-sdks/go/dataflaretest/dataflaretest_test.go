package dataflaretest_test

import (
	"errors"
	"io"
	"testing"

	"dataflare"
	"dataflare/clock"
	"dataflare/dataflaretest"
	"dataflare/files"
	"dataflare/http"
	"dataflare/metrics"
	"dataflare/plugins"
	"dataflare/random"
	"dataflare/secrets"
	"dataflare/shared"
	"dataflare/state"
	"dataflare/tasks"
)

type settings struct {
	URL string `json:"url" default:"https://a.example/1"`
}

// fetcher uses what a test gives it.
type fetcher struct{ settings settings }

func newFetcher(settings settings) (*fetcher, error) { return &fetcher{settings}, nil }

func (f *fetcher) Process(record *dataflare.Record) (*dataflare.Record, error) {
	token, err := secrets.Get("token")
	if err != nil {
		return nil, err
	}
	request := http.Request{URL: f.settings.URL, Headers: []http.Header{{Key: "authorization", Value: token}}}
	response, err := http.Send(request)
	if err != nil {
		return nil, err
	}
	metrics.Add("fetched", 1)
	record.Set("status", response.Status)
	record.Set("body", string(response.Body))
	return record, nil
}

func TestTwinAnswersAsTheTestSays(t *testing.T) {
	plugin := dataflaretest.Make(t, newFetcher, `{}`)
	if _, err := dataflaretest.TryProcess(plugin, `{}`); err == nil {
		t.Error("there is no secret")
	}
	dataflaretest.PutSecret("token", "s")
	if _, err := dataflaretest.TryProcess(plugin, `{}`); err == nil {
		t.Error("there is no answer")
	}
	dataflaretest.Answer("https://a.example/1", 200, "hello")
	if found := dataflaretest.Process(t, plugin, `{"id":1}`); found != `{"id":1,"status":200,"body":"hello"}` {
		t.Error(found)
	}
	sent := dataflaretest.Requests()
	if len(sent) != 2 || sent[1].Method != "GET" || sent[1].Headers[0] != [2]string{"authorization", "s"} {
		t.Errorf("%+v", sent)
	}
	if dataflaretest.Figures()["fetched"] != 1 {
		t.Error(dataflaretest.Figures())
	}
	if _, err := dataflaretest.TryMake(newFetcher, `{"url":1}`); err == nil || len(dataflaretest.Requests()) != 0 {
		t.Error(err)
	}
}

func TestFilesAreWrittenWhenTheyArePublished(t *testing.T) {
	dataflaretest.Make(t, newFetcher, `{}`)
	dataflaretest.PutFile("in/a.txt", []byte("abc"))
	writer, err := files.Append("in/a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer, "de"); err != nil || string(dataflaretest.File("in/a.txt")) != "abc" {
		t.Error(err)
	}
	if err := errors.Join(writer.Sync(), writer.Publish(), writer.Close()); err != nil {
		t.Error(err)
	}
	if data, err := files.ReadFile("in/a.txt"); err != nil || string(data) != "abcde" {
		t.Error(string(data), err)
	}
	if err := files.WriteFile("out/deep/b.txt", nil); err != nil {
		t.Error(err)
	}
	if _, err := files.Create("in/a.txt", false); !errors.Is(err, files.ErrAlreadyExists) {
		t.Error(err)
	}
	if _, err := files.Open("in/b.txt"); !errors.Is(err, files.ErrNotFound) {
		t.Error(err)
	}
	entries, err := files.List("out")
	if err != nil || len(entries) != 1 || !entries[0].IsDirectory || len(files.Granted()) != 2 {
		t.Error(entries, err)
	}
	if entry, err := files.Stat("in/a.txt"); err != nil || entry.Size != 5 || entry.Name != "a.txt" {
		t.Error(entry, err)
	}
	if err := files.Delete("in/a.txt"); err != nil || dataflaretest.File("in/a.txt") != nil {
		t.Error(err)
	}
}

func TestStateIsKept(t *testing.T) {
	dataflaretest.Make(t, newFetcher, `{}`)
	for _, key := range []string{"b/2", "a", "b/1"} {
		if err := state.Put(key, []int{1}); err != nil {
			t.Fatal(err)
		}
	}
	if keys, more, err := state.List("b/", "b/1", 0); err != nil || more || len(keys) != 1 || keys[0] != "b/2" {
		t.Error(keys, more, err)
	}
	if isSwapped, err := state.CompareAndSwap("a", []byte("[1]"), nil); !isSwapped || err != nil {
		t.Error(isSwapped, err)
	}
	if isSwapped, err := state.CompareAndSwap("a", []byte("[1]"), []byte("2")); isSwapped || err != nil {
		t.Error(isSwapped, err)
	}
	var number string
	if _, err := state.Load("b/1", &number); err == nil {
		t.Error("a list is no text")
	}
}

func TestTheRestOfTheTwin(t *testing.T) {
	dataflaretest.Make(t, newFetcher, `{}`)
	batch := dataflaretest.Rows(t, `{"a":1}`)
	if err := shared.Put("table", batch); err != nil {
		t.Fatal(err)
	}
	found, err := shared.Get("table")
	if err != nil {
		t.Fatal(err)
	}
	dataflaretest.Same(t, found, `{"a":1}`)
	if _, err := plugins.Call("other", found); err == nil {
		t.Error("there is no other plugin")
	}
	if tasks.IsCancelled() {
		t.Error("nothing is cancelled yet")
	}
	dataflaretest.Cancel()
	if !tasks.IsCancelled() || clock.Now().Year() < 2000 || len(random.Bytes(3)) != 3 {
		t.Error("cancelled, clock or random")
	}
}
