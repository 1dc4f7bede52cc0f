package dataflare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"dataflare/internal/host"
)

// Processor changes records one by one.
//
// In is a type that JSON is read into: a struct gets the fields that it has; [Record] gets all. Out is what JSON is written
// from. Where both are structs whose fields are int, int32, int64, float64, bool and string, or pointers to these for nulls, the
// records of a batch are read from its columns and written into columns, which is several times faster.
type Processor[In, Out any] interface {
	// Process returns the record, changed or not; nil drops it.
	Process(record *In) (*Out, error)
}

// BatchProcessor is a [Processor] with a faster way of its own to do the same for all records of a batch.
type BatchProcessor interface {
	ProcessBatch(batch *Batch) (*Batch, error)
}

// processing is a processor of any types.
type processing interface {
	process(text string) (changed string, keep bool, err error)
	processBatch(batch *Batch) (*Batch, error)
}

type processorOf[In, Out any] struct{ plugin Processor[In, Out] }

func (p *processorOf[In, Out]) process(text string) (string, bool, error) {
	var lines bytes.Buffer
	keep, err := p.processTo(&lines, []byte(text))
	return string(bytes.TrimSuffix(lines.Bytes(), []byte("\n"))), keep, err
}

// processTo writes what becomes of a record as a line; it says whether anything does.
func (p *processorOf[In, Out]) processTo(lines *bytes.Buffer, text []byte) (bool, error) {
	var record In
	if err := json.Unmarshal(text, &record); err != nil {
		return false, InvalidInput("the record: %s", jsonProblem(err))
	}
	changed, err := p.plugin.Process(&record)
	if err != nil || changed == nil {
		return false, err
	}
	if record, is := any(changed).(*Record); is {
		// The general encoder would check and copy all of it again.
		lines.Write(append(record.append(lines.AvailableBuffer()), '\n'))
		return true, nil
	}
	encoder := json.NewEncoder(lines)
	encoder.SetEscapeHTML(false)
	return true, encoder.Encode(changed)
}

func (p *processorOf[In, Out]) processBatch(batch *Batch) (*Batch, error) {
	if own, is := any(p.plugin).(BatchProcessor); is {
		return own.ProcessBatch(batch)
	}
	if fields, isTyped := canWriteTyped[Out](batch.Schema()); isTyped {
		if records, isTyped := readTyped[In](batch); isTyped {
			return p.processTyped(batch, records, fields)
		}
	}
	text, err := batch.ToJSONLines()
	if err != nil {
		return nil, err
	}
	var lines bytes.Buffer
	lines.Grow(len(text))
	for row, line := range linesOf(text) {
		if _, err := p.processTo(&lines, []byte(line)); err != nil {
			return nil, ofRow(row, err)
		}
	}
	if lines.Len() == 0 {
		return batch.Slice(0, 0)
	}
	return readLike(lines.String(), batch.Schema())
}

func (p *processorOf[In, Out]) processTyped(batch *Batch, records []In, fields []typedField) (*Batch, error) {
	changed := make([]*Out, len(records))
	for row := range records {
		var err error
		if changed[row], err = p.plugin.Process(&records[row]); err != nil {
			return nil, ofRow(row, err)
		}
	}
	return writeTyped(batch, fields, changed)
}

// ofRow says which row an error of a record is about.
func ofRow(row int, err error) error {
	if found := host.AsError(err); found.Kind == host.InvalidInput {
		return InvalidInput("row %d: %s", row, found.Message)
	}
	return err
}

// readLike reads lines into columns; those that a schema has keep their types and metadata.
func readLike(lines string, known Schema) (*Batch, error) {
	made, err := FromJSONLines(lines, nil)
	if err != nil {
		return nil, err
	}
	schema := made.Schema()
	for i := range schema.Fields {
		if field := known.Column(schema.Fields[i].Name); field != nil {
			schema.Fields[i] = *field
		}
	}
	return FromJSONLines(lines, &schema)
}

// jsonProblem says what is wrong with a text, without the names of Go's types.
func jsonProblem(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return fmt.Sprintf("%s: it is a %s, not %v", wrongType.Field, wrongType.Value, wrongType.Type)
	}
	return err.Error()
}
