// Package files has the directories that the operator granted: list `files` under `needs` in `plugin.yaml`. A path begins with
// the name of a directory: "in/people.csv".
package files

import (
	"errors"
	"io"
	"time"

	"dataflare/internal/host"
)

// Directory is one that the operator granted.
type Directory struct {
	Name       string
	IsWritable bool
}

// Entry is a file or a directory. Size and Modified are of files.
type Entry struct {
	Name        string
	IsDirectory bool
	Size        int64
	Modified    time.Time
}

// Reader is a file that is read. Close it.
type Reader interface {
	io.ReadSeekCloser
	// Size is the length of the file, in bytes.
	Size() (int64, error)
}

// Writer is a file that is written. What is written counts with Publish alone: a file that is closed before is as it was. Close
// it.
type Writer interface {
	io.WriteCloser
	// Sync waits until all that was written is on the disk.
	Sync() error
	// Publish makes what was written count, in one step.
	Publish() error
}

// Granted gives the directories that the operator granted.
func Granted() []Directory { return granted() }

// Open opens a file for reading.
func Open(path string) (Reader, error) { return open(path) }

// Create begins to write a file; others see it when it is published.
func Create(path string, replace bool) (Writer, error) { return create(path, replace) }

// Append begins to write at the end of a file, which is created if it is not there.
func Append(path string) (Writer, error) { return appendTo(path) }

// Stat describes a file or a directory.
func Stat(path string) (Entry, error) { return stat(path) }

// List gives the entries of a directory, by name.
func List(path string) ([]Entry, error) { return list(path) }

// Delete deletes a file, if it is there.
func Delete(path string) error { return remove(path) }

// ReadFile reads a whole file.
func ReadFile(path string) ([]byte, error) {
	reader, err := open(path)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	return io.ReadAll(reader)
}

// WriteFile writes a whole file. Others see it only when it is complete.
func WriteFile(path string, data []byte) error {
	writer, err := create(path, true)
	if err != nil {
		return err
	}
	defer writer.Close()
	if _, err := writer.Write(data); err != nil {
		return err
	}
	return writer.Publish()
}

// ErrNotFound and the others say why a call failed, for errors.Is.
var (
	ErrNotFound      = errors.New("there is no such file")
	ErrAlreadyExists = errors.New("the file exists already")
)

func notFound(text string) error {
	return &host.Error{Kind: host.InvalidConfig, Message: text, Cause: ErrNotFound}
}

func alreadyExists(text string) error {
	return &host.Error{Kind: host.Other, Message: text, Cause: ErrAlreadyExists}
}
