//go:build wasip1

package files

import (
	"io"
	"time"
	"unsafe"

	wit "dataflare/internal/abi/types"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_host_files"
)

// Bytes that cross the boundary at a time.
const atOnce = 1 << 20

func got[T any](result wit.Result[T, dataflare_host_files.FileError]) (T, error) {
	if result.IsErr() {
		return result.Ok(), errorOf(result.Err())
	}
	return result.Ok(), nil
}

func errorOf(err dataflare_host_files.FileError) error {
	switch err.Tag() {
	case dataflare_host_files.FileErrorNotFound:
		return notFound(err.NotFound())
	case dataflare_host_files.FileErrorDenied:
		return host.Errorf(host.Denied, "%s", err.Denied())
	case dataflare_host_files.FileErrorAlreadyExists:
		return alreadyExists(err.AlreadyExists())
	case dataflare_host_files.FileErrorWrongKind:
		return host.Errorf(host.InvalidConfig, "%s", err.WrongKind())
	case dataflare_host_files.FileErrorInvalidPath:
		return host.Errorf(host.InvalidConfig, "%s", err.InvalidPath())
	case dataflare_host_files.FileErrorNoSpace:
		return host.Errorf(host.Other, "%s", err.NoSpace())
	case dataflare_host_files.FileErrorInputOutput:
		return host.Errorf(host.Unavailable, "%s", err.InputOutput())
	case dataflare_host_files.FileErrorBusy:
		return host.Errorf(host.Unavailable, "%s", err.Busy())
	}
	return host.Errorf(host.Other, "%s", err.Other())
}

type componentReader struct {
	handle *dataflare_host_files.Reader
}

func (r componentReader) Read(into []byte) (int, error) {
	if len(into) == 0 {
		return 0, nil
	}
	found, err := got(r.handle.ReadWords(uint32(min(len(into), atOnce))))
	if err != nil {
		return 0, err
	}
	if found.ByteLength == 0 {
		return 0, io.EOF
	}
	// A file that is read in one call may be larger than what memory is left.
	host.LetGo()
	return copy(into, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(found.Words))), found.ByteLength)), nil
}

func (r componentReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += int64(r.handle.Tell().OffsetBytes)
	case io.SeekEnd:
		size, err := r.Size()
		if err != nil {
			return 0, err
		}
		offset += size
	}
	if offset < 0 {
		return 0, host.Errorf(host.Internal, "a position cannot be before the file's beginning")
	}
	_, err := got(r.handle.Seek(dataflare_host_files.Position{OffsetBytes: uint64(offset)}))
	return offset, err
}

func (r componentReader) Size() (int64, error) {
	length, err := got(r.handle.Length())
	return int64(length.OffsetBytes), err
}

func (r componentReader) Close() error {
	r.handle.Drop()
	return nil
}

type componentWriter struct {
	handle *dataflare_host_files.Writer
}

func (w componentWriter) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		piece := data[written:min(written+atOnce, len(data))]
		words := make([]uint64, (len(piece)+7)/8)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8), piece)
		buffer := dataflare_data_batches.WordBuffer{ByteLength: uint32(len(piece)), Words: words}
		if _, err := got(w.handle.WriteWords(buffer)); err != nil {
			return written, err
		}
		written += len(piece)
	}
	return written, nil
}

func (w componentWriter) Sync() error {
	_, err := got(w.handle.Sync())
	return err
}

func (w componentWriter) Publish() error {
	_, err := got(w.handle.Publish())
	return err
}

func (w componentWriter) Close() error {
	w.handle.Drop()
	return nil
}

func granted() []Directory {
	found := dataflare_host_files.Granted()
	directories := make([]Directory, len(found))
	for i, each := range found {
		directories[i] = Directory{Name: each.Name, IsWritable: each.Writable}
	}
	return directories
}

func open(path string) (Reader, error) {
	handle, err := got(dataflare_host_files.Open(path))
	if err != nil {
		return nil, err
	}
	return componentReader{handle}, nil
}

func create(path string, replace bool) (Writer, error) {
	return writerOr(got(dataflare_host_files.Create(path, replace)))
}

func appendTo(path string) (Writer, error) { return writerOr(got(dataflare_host_files.Append(path))) }

func writerOr(handle *dataflare_host_files.Writer, err error) (Writer, error) {
	if err != nil {
		return nil, err
	}
	return componentWriter{handle}, nil
}

func entryOf(entry dataflare_host_files.Entry) Entry {
	return Entry{
		Name: entry.Name, IsDirectory: entry.Kind == dataflare_host_files.EntryKindDirectory,
		Size: int64(entry.SizeBytes), Modified: time.UnixMilli(int64(entry.ModifiedMs)).UTC(),
	}
}

func stat(path string) (Entry, error) {
	found, err := got(dataflare_host_files.Stat(path))
	return entryOf(found), err
}

func list(path string) ([]Entry, error) {
	found, err := got(dataflare_host_files.ListEntries(path))
	entries := make([]Entry, len(found))
	for i, each := range found {
		entries[i] = entryOf(each)
	}
	return entries, err
}

func remove(path string) error {
	_, err := got(dataflare_host_files.Delete(path))
	return err
}
