package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"dataflare"
	"dataflare/clock"
	"dataflare/files"
	"dataflare/http"
	"dataflare/metrics"
	"dataflare/random"
	"dataflare/secrets"
	"dataflare/shared"
	"dataflare/state"
	"dataflare/tasks"
)

type plugin struct{}

var kept [][]byte

func deeper(level int) int {
	var pad [256]byte
	pad[level&255] = byte(level)
	if level < 0 {
		return 0
	}
	return deeper(level+1) + int(pad[level&255])
}

func (plugin) Process(record *dataflare.Record) (*dataflare.Record, error) {
	what, _ := record.Text("do")
	var numbers []int
	switch what {
	case "panic":
		panic("no more é")
	case "index":
		numbers[len(what)] = 1
	case "nil":
		var nothing *dataflare.Record
		nothing.Set("a", 1)
	case "elsewhere":
		done := make(chan int)
		go func() { panic("in another goroutine") }()
		<-done
	case "deadlock":
		<-make(chan int)
	case "exit":
		fmt.Printf("auf W\u00e9g \xff\xe9\xed\xa0\x80 \U0001f600\n")
		os.Exit(3)
	case "recurse":
		return nil, fmt.Errorf("%d", deeper(1))
	case "allocate":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	case "random":
		_, err := rand.Read(make([]byte, 8))
		return nil, err
	case "fail":
		return nil, dataflare.RateLimited(250 * time.Millisecond)
	case "error":
		return nil, errors.New("something else")
	case "wrapped":
		return nil, fmt.Errorf("field 7: %w", dataflare.InvalidInput("too long"))
	case "file":
		_, err := os.ReadFile("/etc/passwd")
		return nil, err
	case "state":
		return record, useState(record)
	case "files":
		return record, useFiles(record)
	case "others":
		return record, useOthers(record)
	case "secret":
		_, err := secrets.Get("token")
		return nil, err
	case "http":
		_, err := http.Get("http://127.0.0.1:1/")
		return nil, err
	case "sleep":
		time.Sleep(time.Hour)
		slog.Info("awake", "hours", 1)
	}
	return record, nil
}

func useState(record *dataflare.Record) error {
	var number int
	isKnown, err := state.Load("a", &number)
	record.Set("known", isKnown)
	if err == nil {
		err = errors.Join(state.Put("a", 7), state.Set("b", []byte{}), state.Delete("c"))
	}
	if _, err := state.Load("a", &number); err != nil {
		return err
	}
	record.Set("number", number)
	isSwapped, _ := state.CompareAndSwap("a", []byte("8"), nil)
	isReplaced, _ := state.CompareAndSwap("a", []byte("7"), []byte("9"))
	empty, _ := state.Get("b")
	missing, _ := state.Get("c")
	keys, more, err := state.List("", "", 1)
	record.Set("found", []any{isSwapped, isReplaced, empty != nil, missing == nil, keys, more})
	return err
}

func useFiles(record *dataflare.Record) error {
	data := bytes.Repeat([]byte("abc"), 1_000_000)
	if err := files.WriteFile("out/a.txt", data); err != nil {
		return err
	}
	if err := files.WriteFile("out/a.txt", data[:7]); err != nil {
		return err
	}
	writer, err := files.Append("out/a.txt")
	if err != nil {
		return err
	}
	_, err = writer.Write(data)
	if err := errors.Join(err, writer.Publish(), writer.Close()); err != nil {
		return err
	}
	found, err := files.ReadFile("out/a.txt")
	record.Set("same", bytes.Equal(found, append(data[:7:7], data...)) && err == nil)
	reader, err := files.Open("out/a.txt")
	if err != nil {
		return err
	}
	end, _ := reader.Seek(-2, io.SeekEnd)
	last, _ := io.ReadAll(reader)
	_, err = files.Open("out/b.txt")
	_, again := files.Create("out/a.txt", false)
	entry, _ := files.Stat("out/a.txt")
	entries, _ := files.List("out")
	record.Set("found", []any{
		end, string(last), errors.Is(err, files.ErrNotFound), err.Error(), errors.Is(again, files.ErrAlreadyExists),
		entry.Size, len(entries), files.Granted(),
	})
	return errors.Join(reader.Close(), files.Delete("out/a.txt"))
}

func useOthers(record *dataflare.Record) error {
	before := clock.Monotonic()
	metrics.Add("seen", 1, metrics.Label{Key: "a", Value: "b"})
	metrics.Set("level", 2)
	metrics.Record("time_ms", 3)
	tasks.ReportProgress(1, 2, "half")
	batch, err := dataflare.FromJSONLines(`{"a":1}`, nil)
	if err != nil {
		return err
	}
	empty, _ := shared.Get("table")
	if err := shared.Put("table", batch); err != nil {
		return err
	}
	table, err := shared.Get("table")
	if err != nil {
		return err
	}
	stream, err := table.ToArrow()
	if err != nil {
		return err
	}
	again, err := dataflare.FromArrow(stream)
	if err != nil {
		return err
	}
	text, err := again.ToJSONLines()
	record.Set("found", []any{
		clock.Now().Year() > 2000, clock.Monotonic() >= before, len(random.Bytes(5)), tasks.IsCancelled(), empty == nil, text,
	})
	return err
}

func init() {
	dataflare.ExportProcessor(func(dataflare.NoConfig) (plugin, error) { return plugin{}, nil })
}

func main() {}
