// Reads folders of partitioned files: PATH/DATASET/KEY=VALUE/*.jsonl. The files are read in parts where the host wants it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"dataflare"
	"dataflare/files"
)

// Config is the configuration.
type Config struct {
	Path      string            `json:"path"
	"slices" doc:"The folder, whose folders are the datasets."`
	Partition string            `json:"partition" doc:"The key of the folders in a dataset, such as day for day=1."`
	Columns   map[string]string `json:"columns" doc:"Types by the name of a column."`
}

// Folders is the source.
type Folders struct {
	config  Config
	columns []dataflare.Field
}

// At is where a read came to: the rows before an offset of a file.
type At struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
}

// Part is the files from one to another; the first may be read from an offset on.
type Part struct {
	First At     `json:"first"`
	Last  string `json:"last"`
}

// New makes the plugin of its configuration.
func New(config Config) (*Folders, error) {
	if config.Partition == "" {
		return nil, dataflare.InvalidConfig("partition: give the key of the folders")
	}
	return &Folders{config: config}, nil
}

// Datasets are the folders.
func (p *Folders) Datasets() ([]dataflare.Dataset, error) {
	entries, err := files.List(p.config.Path)
	if err != nil {
		return nil, err
	}
	var found []dataflare.Dataset
	for _, each := range entries {
		if each.IsDirectory {
			found = append(found, dataflare.Dataset{
				Name:       each.Name,
				Columns:    p.fields(),
				Splittable: true,
			})
		}
	}
	return found, nil
}

func (p *Folders) fields() []dataflare.Field {
	names := make([]string, 0, len(p.config.Columns))
	for name := range p.config.Columns {
		names = append(names, name)
	}
	slices.Sort(names)
	fields := []dataflare.Field{{Name: p.config.Partition, Type: "string"}}
	for _, name := range names {
		fields = append(fields, dataflare.Nullable(name, p.config.Columns[name]))
	}
	return fields
}

// Split divides the files that are left.
func (p *Folders) Split(request *dataflare.Request[At], atMost int) ([]any, error) {
	paths, err := p.files(request)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return []any{Part{}}, nil
	}
	count := min(atMost, len(paths))
	var parts []any
	for at := range count {
		first := At{File: paths[at*len(paths)/count]}
		if request.State != nil && first.File == request.State.File {
			first = *request.State
		}
		parts = append(parts, Part{first, paths[(at+1)*len(paths)/count-1]})
	}
	return parts, nil
}

// Read returns rows of one file, and the state after them.
func (p *Folders) Read(request *dataflare.Request[At]) (*dataflare.Chunk[At], error) {
	paths, err := p.files(request)
	if err != nil {
		return nil, err
	}
	begin, err := begins(request)
	if err != nil {
		return nil, err
	}
	for _, name := range paths {
		var offset int64
		if name == begin.File {
			offset = begin.Offset
		}
		records, next, err := p.lines(request.Dataset.Name, name, offset, request.MaxRows)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			continue
		}
		rows, err := dataflare.FromRecords(records, &request.Schema)
		if err != nil {
			return nil, dataflare.InvalidInput("%s: %v", name, err)
		}
		return &dataflare.Chunk[At]{Rows: rows, State: At{name, next}}, nil
	}
	return nil, nil
}

func (p *Folders) lines(dataset, name string, offset int64, most int) ([]map[string]json.RawMessage, int64, error) {
	file, err := files.Open(path.Join(p.config.Path, dataset, name))
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, err
	}
	value, _ := url.PathUnescape(strings.SplitN(path.Dir(name), "=", 2)[1])
	partition, _ := json.Marshal(value)
	reader := bufio.NewReader(file)
	var records []map[string]json.RawMessage
	for len(records) < most {
		line, err := reader.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		offset += int64(len(line))
		if strings.TrimSpace(line) != "" {
			var record map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				return nil, 0, dataflare.InvalidInput("%s, before byte %d: %v", name, offset, err)
			}
			record[p.config.Partition] = partition
			records = append(records, record)
		}
		if err != nil {
			break
		}
	}
	return records, offset, nil
}

// begins is where the read begins: after its state, or at the begin of its part.
func begins(request *dataflare.Request[At]) (At, error) {
	if request.State != nil {
		return *request.State, nil
	}
	var part Part
	if _, err := request.Part(&part); err != nil {
		return At{}, dataflare.InvalidState("the part is not one of this source: %v", err)
	}
	return part.First, nil
}

// files are those of the request's part that are not read, in order.
func (p *Folders) files(request *dataflare.Request[At]) ([]string, error) {
	var part Part
	isPart, err := request.Part(&part)
	if err != nil {
		return nil, dataflare.InvalidState("the part is not one of this source: %v", err)
	}
	folders, err := files.List(path.Join(p.config.Path, request.Dataset.Name))
	if err != nil {
		return nil, err
	}
	var found []string
	begin, err := begins(request)
	if err != nil {
		return nil, err
	}
	known := begin.File == ""
	for _, folder := range folders {
		if !folder.IsDirectory || !strings.HasPrefix(folder.Name, p.config.Partition+"=") {
			continue
		}
		entries, err := files.List(path.Join(p.config.Path, request.Dataset.Name, folder.Name))
		if err != nil {
			return nil, err
		}
		for _, each := range entries {
			name := folder.Name + "/" + each.Name
			if !strings.HasSuffix(name, ".jsonl") || name < begin.File || isPart && name > part.Last {
				continue
			}
			if name == begin.File {
				known = 0 <= begin.Offset && begin.Offset <= each.Size
			}
			found = append(found, name)
		}
	}
	if !known {
		return nil, dataflare.InvalidState("the file %s is gone, or it was shortened", begin.File)
	}
	slices.Sort(found)
	return found, nil
}

func init() { dataflare.ExportSource(New) }

func main() {}
