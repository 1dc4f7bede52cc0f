package dataflare

import "dataflare/internal/host"

// WritingMode says how rows are written.
type WritingMode = host.WritingMode

// The writing modes.
const (
	Append  = host.Append
	Replace = host.Replace
	Merge   = host.Merge
)

// Abilities are what a destination can do.
type Abilities = host.Abilities

// The abilities. Combine them with |.
const (
	CanAppend       = host.CanAppend
	CanReplace      = host.CanReplace
	CanMerge        = host.CanMerge
	CanDelete       = host.CanDelete
	CanAddColumns   = host.CanAddColumns
	CanWidenColumns = host.CanWidenColumns
	CanKeepToken    = host.CanKeepToken
	CanShutOut      = host.CanShutOut
)

// Run is the run that writes.
type Run = host.Run

// Target is a dataset that is written to. Its name has the namespace in front.
type Target = host.Target

// PlannedChange is what a run would change.
type PlannedChange = host.PlannedChange

// The kinds of changes.
const (
	CreateDataset = host.CreateDataset
	ReplaceRows   = host.ReplaceRows
	AddColumn     = host.AddColumn
	WidenColumn   = host.WidenColumn
	OtherChange   = host.OtherChange
)

// RejectedRow is a row that was not written, and why. Its column may be empty.
type RejectedRow = host.RejectedRow

// Destination writes rows: a run ends with all of them or none. What else it can do, it says by the interfaces below.
type Destination interface {
	// Write writes rows; it returns those that are rejected.
	Write(target *Target, rows *Batch) ([]RejectedRow, error)
	// Finish ends the run: all rows become visible. It may come again after an error.
	Finish(token []byte) error
	// Abort ends the run: all rows that were not flushed go.
	Abort() error
}

// Able is a [Destination] that can do something else than append. A target of another mode is refused, and so is a change of
// columns without the ability for it.
type Able interface {
	Abilities() Abilities
}

// Planner is a [Destination] that says what a run would change.
type Planner interface {
	Plan(targets []Target) ([]PlannedChange, error)
}

// Opener is a [Destination] that prepares a run.
type Opener interface {
	// Open begins a run; it returns the token that the last run kept, nil if there is none.
	Open(run Run, targets []Target) ([]byte, error)
}

// SchemaChanger is a [Destination] that takes note of rows with other columns. The target has them from then on.
type SchemaChanger interface {
	ChangeSchema(target *Target, schema Schema) error
}

// Flusher is a [Destination] whose rows can be safe before the run ends.
type Flusher interface {
	// Flush makes all written rows safe, with the token; false if they are safe only after Finish.
	Flush(token []byte) (bool, error)
}

// writing is a destination and its run.
type writing struct {
	plugin  Destination
	targets []Target
}

func (w *writing) abilities() Abilities {
	if able, is := w.plugin.(Able); is {
		return able.Abilities()
	}
	return CanAppend
}

func (w *writing) plan(targets []Target) ([]PlannedChange, error) {
	if planner, is := w.plugin.(Planner); is {
		return planner.Plan(targets)
	}
	return nil, nil
}

func (w *writing) open(run Run, targets []Target) ([]byte, error) {
	needed := map[WritingMode]Abilities{Append: CanAppend, Replace: CanReplace, Merge: CanMerge}
	for _, target := range targets {
		if w.abilities()&needed[target.Mode] == 0 {
			return nil, Unsupported("dataset %q: rows cannot be written in the mode %s", target.Name, target.Mode)
		}
	}
	var token []byte
	if opener, is := w.plugin.(Opener); is {
		var err error
		if token, err = opener.Open(run, targets); err != nil {
			return nil, err
		}
	}
	w.targets = targets
	return token, nil
}

func (w *writing) target(number int) (*Target, error) {
	if number >= len(w.targets) {
		return nil, InvalidInput("there is no target %d, only %d", number, len(w.targets))
	}
	return &w.targets[number], nil
}

func (w *writing) write(number int, rows *Batch) ([]RejectedRow, error) {
	target, err := w.target(number)
	if err != nil {
		return nil, err
	}
	return w.plugin.Write(target, rows)
}

// requireChange refuses a change of columns that is not among the abilities.
func (w *writing) requireChange(target *Target, schema Schema) error {
	for _, field := range schema.Fields {
		needed, what := CanAddColumns, "added"
		if known := target.Schema.Column(field.Name); known != nil {
			if known.Type == field.Type {
				continue
			}
			needed, what = CanWidenColumns, field.Type
		}
		if w.abilities()&needed == 0 {
			return Unsupported("dataset %q: column %q cannot be %s", target.Name, field.Name, what)
		}
	}
	return nil
}

func (w *writing) changeSchema(number int, schema Schema) error {
	target, err := w.target(number)
	if err != nil {
		return err
	}
	if err := w.requireChange(target, schema); err != nil {
		return err
	}
	if changer, is := w.plugin.(SchemaChanger); is {
		if err := changer.ChangeSchema(target, schema); err != nil {
			return err
		}
	}
	target.Schema = schema
	return nil
}

func (w *writing) flush(token []byte) (bool, error) {
	if flusher, is := w.plugin.(Flusher); is {
		return flusher.Flush(token)
	}
	return false, nil
}
