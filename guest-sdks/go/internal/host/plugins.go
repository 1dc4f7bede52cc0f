package host

// Kind is what a plugin does.
type Kind string

// The kinds.
const (
	Source      Kind = "source"
	Destination Kind = "destination"
	Processor   Kind = "processor"
	Transformer Kind = "transformer"
	Validator   Kind = "validator"
)

// Selection is a dataset to read, and how.
type Selection struct {
	Namespace, Name string
	// Mode is "full", "incremental" or "changes"; Cursor is of "incremental" alone.
	Mode, Cursor string
	Columns      []string
}

// Severity says how severe it is that a rule is broken.
type Severity int

// The severities, the most usual one first.
const (
	Wrong Severity = iota
	Warning
	Notice
)

// RuleCount is how often a rule was broken.
type RuleCount struct {
	Rule       string
	Violations int
}

// Violation is a row that breaks a rule; Row is -1 for the batch as a whole.
type Violation struct {
	Row      int
	Column   string
	Rule     string
	Severity Severity
	Message  string
}

// Report is what a check of a batch found.
type Report struct {
	RowsChecked int
	Counts      []RuleCount
	Violations  []Violation
}

// WritingMode says how rows are written.
type WritingMode string

// The writing modes.
const (
	Append  WritingMode = "append"
	Replace WritingMode = "replace"
	Merge   WritingMode = "merge"
)

// Abilities are what a destination can do.
type Abilities uint8

// The abilities.
const (
	CanAppend Abilities = 1 << iota
	CanReplace
	CanMerge
	CanDelete
	CanAddColumns
	CanWidenColumns
	CanKeepToken
	CanShutOut
)

// Run is the run that writes: the pipeline's name, the run's name, and a number that rises with every run.
type Run struct {
	Pipeline, Run string
	Generation    uint64
}

// Target is a dataset that is written to: its name, with the namespace in front, the columns of its rows, those that
// identify a row, and how rows are written.
type Target struct {
	Name   string
	Schema Schema
	Key    []string
	Mode   WritingMode
}

// ChangeKind is a kind of change.
type ChangeKind uint8

// The kinds of changes.
const (
	CreateDataset ChangeKind = iota
	ReplaceRows
	AddColumn
	WidenColumn
	OtherChange
)

// PlannedChange is what a run would change: of which target, and in words.
type PlannedChange struct {
	Target int
	Kind   ChangeKind
	Detail string
}

// RejectedRow is a row that was not written.
type RejectedRow struct {
	Row            int
	Column, Reason string
}
