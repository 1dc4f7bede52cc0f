//go:build !wasip1

package files

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"dataflare/internal/twin"
)

type twinReader struct{ *bytes.Reader }

func (r twinReader) Size() (int64, error) { return r.Reader.Size(), nil }

func (r twinReader) Close() error { return nil }

type twinWriter struct {
	path string
	data bytes.Buffer
}

func (w *twinWriter) Write(data []byte) (int, error) { return w.data.Write(data) }

func (w *twinWriter) Sync() error { return nil }

func (w *twinWriter) Publish() error {
	twin.Host.Files[w.path] = bytes.Clone(w.data.Bytes())
	return nil
}

func (w *twinWriter) Close() error { return nil }

// granted gives the directories of the files that the test gave, and those that the plugin wrote.
func granted() []Directory {
	var found []Directory
	for _, path := range slices.Sorted(maps.Keys(twin.Host.Files)) {
		name, _, _ := strings.Cut(path, "/")
		if len(found) == 0 || found[len(found)-1].Name != name {
			found = append(found, Directory{Name: name, IsWritable: true})
		}
	}
	return found
}

func open(path string) (Reader, error) {
	data, is := twin.Host.Files[path]
	if !is {
		return nil, notFound("there is no " + path)
	}
	return twinReader{bytes.NewReader(data)}, nil
}

func create(path string, replace bool) (Writer, error) {
	if _, is := twin.Host.Files[path]; is && !replace {
		return nil, alreadyExists(path + " exists already")
	}
	return &twinWriter{path: path}, nil
}

func appendTo(path string) (Writer, error) {
	writer := &twinWriter{path: path}
	writer.data.Write(twin.Host.Files[path])
	return writer, nil
}

func stat(path string) (Entry, error) {
	if data, is := twin.Host.Files[path]; is {
		return Entry{Name: path[strings.LastIndex(path, "/")+1:], Size: int64(len(data))}, nil
	}
	if entries, err := list(path); err == nil && len(entries) > 0 {
		return Entry{Name: path[strings.LastIndex(path, "/")+1:], IsDirectory: true}, nil
	}
	return Entry{}, notFound("there is no " + path)
}

func list(path string) ([]Entry, error) {
	var found []Entry
	for _, each := range slices.Sorted(maps.Keys(twin.Host.Files)) {
		rest, is := strings.CutPrefix(each, strings.TrimSuffix(path, "/")+"/")
		if !is {
			continue
		}
		name, _, isDeeper := strings.Cut(rest, "/")
		if len(found) == 0 || found[len(found)-1].Name != name {
			entry := Entry{Name: name, IsDirectory: isDeeper}
			if !isDeeper {
				entry.Size = int64(len(twin.Host.Files[each]))
			}
			found = append(found, entry)
		}
	}
	if found == nil {
		return nil, notFound("there is no " + path)
	}
	return found, nil
}

func remove(path string) error {
	delete(twin.Host.Files, path)
	return nil
}
