//go:build !wasip1

package dataflare

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflare/internal/host"
)

// shop is a log whose events are given; a position is the number of those before it.
type shop struct {
	events  []Event
	failsAt int
	safe    int
}

func (s *shop) Datasets() ([]Dataset, error) {
	modes, id := []Mode{Changes}, Nullable("id", "int64")
	return []Dataset{
		{Name: "orders", Columns: []Field{id, Nullable("note", "string")}, Key: []string{"id"}, Modes: modes},
		{Name: "lines", Columns: []Field{Nullable("order", "int64"), Nullable("line", "int64")}, Key: []string{"order", "line"}, Modes: modes},
		{Name: "others", Columns: []Field{id}, Key: []string{"id"}, Modes: modes},
	}, nil
}

func (s *shop) Changes(position *int, _ []Dataset) iter.Seq2[Event, error] {
	begin := 0
	if position != nil {
		begin = *position
	}
	return func(yield func(Event, error) bool) {
		for at := begin; at < len(s.events); at++ {
			if at == s.failsAt {
				s.failsAt = -1
				yield(nil, Unavailable("for a moment"))
				return
			}
			if !yield(s.events[at], nil) {
				return
			}
		}
	}
}

func (s *shop) Acknowledge(position int) error {
	s.safe = position
	return nil
}

type row map[string]any

var (
	logged = []Event{
		Insert{"orders", row{"id": 1, "note": "a"}},
		Commit[int]{2},
		Insert{"lines", struct {
			Order int `json:"order"`
			Line  int `json:"line"`
		}{1, 1}},
		Insert{"others", row{"id": 7}},
		Update{"orders", row{"id": 2, "note": "b"}, row{"id": 1}},
		Commit[int]{6},
		Delete{"orders", row{"id": 2, "note": "b"}},
		Commit[int]{8},
	}
	rowsOfLog = []string{
		`{"id":1,"note":"a","_operation":0}`,
		`{"order":1,"line":1,"_operation":0}`,
		`{"id":1,"note":null,"_operation":2}`,
		`{"id":2,"note":"b","_operation":0}`,
		`{"id":2,"note":null,"_operation":2}`,
	}
	orders = host.Selection{Name: "orders", Mode: "changes"}
	both   = []host.Selection{orders, {Name: "lines", Mode: "changes"}}
)

func openedLog(t *testing.T, plugin *shop, state []byte) *sourceOf[int] {
	t.Helper()
	source := &sourceOf[int]{plugin: plugin}
	if _, err := source.open(both, nil, state); err != nil {
		t.Fatal(err)
	}
	return source
}

// untilIdle gives the rows until the log is idle, and what came.
func untilIdle(t *testing.T, source *sourceOf[int], maxRows int) (rows []string, found []progress, err error) {
	t.Helper()
	for {
		next, err := source.read(maxRows)
		if err != nil {
			return rows, found, err
		}
		found = append(found, next)
		switch {
		case next.idle != nil:
			return rows, found, nil
		case next.rows != nil:
			text := lines(t, next.rows, nil)
			rows = append(rows, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
		}
	}
}

func after(t *testing.T, state []byte) any {
	t.Helper()
	var said map[string]any
	if state != nil && json.Unmarshal(state, &said) != nil {
		t.Fatal(string(state))
	}
	return said["after"]
}

func TestChangesComeInOrderAndGoOnFromEveryState(t *testing.T) {
	for _, maxRows := range []int{1, 2, 10} {
		rows, found, err := untilIdle(t, openedLog(t, &shop{events: logged, failsAt: -1}, nil), maxRows)
		if err != nil || !slices.Equal(rows, rowsOfLog) {
			t.Fatal(maxRows, rows, err)
		}
		count := 0
		for _, each := range found {
			if each.rows != nil {
				count += each.rows.Len()
			}
			if each.state == nil {
				continue
			}
			rest, _, err := untilIdle(t, openedLog(t, &shop{events: logged, failsAt: -1}, each.state), maxRows)
			if err != nil || !slices.Equal(rest, rowsOfLog[count:]) {
				t.Error(after(t, each.state), rest, err)
			}
		}
	}
}

func TestChunksHaveAStateWhereATransactionEnds(t *testing.T) {
	_, found, _ := untilIdle(t, openedLog(t, &shop{events: logged, failsAt: -1}, nil), 10)
	var said []string
	for _, each := range found {
		said = append(said, fmt.Sprint(each.selection, after(t, each.state), each.idle != nil))
	}
	if wanted := []string{"0 2 false", "1 <nil> false", "0 8 false", "0 8 true"}; !slices.Equal(said, wanted) {
		t.Error(said)
	}
	if milliseconds := found[3].idle.milliseconds(); milliseconds != 1000 {
		t.Error(milliseconds)
	}
}

func TestLogGoesOnAfterAnErrorWhereverItCame(t *testing.T) {
	for at := range logged {
		source := openedLog(t, &shop{events: logged, failsAt: at}, nil)
		rows, _, err := untilIdle(t, source, 1)
		if err == nil || host.AsError(err).Kind != host.Unavailable {
			t.Fatal(at, err)
		}
		rest, _, err := untilIdle(t, source, 1)
		if err != nil || !slices.Equal(slices.Concat(rows, rest), rowsOfLog) {
			t.Error(at, rows, rest, err)
		}
	}
}

func TestTransactionCanPause(t *testing.T) {
	events := slices.Insert(slices.Clone(logged[:4]), 3, Event(Idle{20 * time.Millisecond}))
	source := openedLog(t, &shop{events: append(events[:4:4], logged[4:]...), failsAt: -1}, nil)
	rows, found, err := untilIdle(t, source, 10)
	if pause := found[len(found)-1]; err != nil || pause.state != nil || pause.idle.milliseconds() != 20 {
		t.Fatal(pause, err)
	}
	rest, _, err := untilIdle(t, source, 10)
	if err != nil || !slices.Equal(slices.Concat(rows, rest), rowsOfLog) {
		t.Error(rows, rest, err)
	}
}

func TestNewSchemaOfALogComesBeforeItsRows(t *testing.T) {
	columns := []Field{Nullable("id", "int64"), Nullable("note", "string"), Nullable("paid", "bool")}
	events := []Event{NewSchema{"orders", columns}, Update{"orders", row{"id": 1, "note": "a", "paid": true}, nil}, Commit[int]{3}}
	_, found, err := untilIdle(t, openedLog(t, &shop{events: events, failsAt: -1}, nil), 10)
	if err != nil || found[0].schema == nil || len(found[0].schema.Fields) != 4 || found[0].schema.Fields[3].Name != "_operation" {
		t.Fatal(found, err)
	}
	schemas, err := (&sourceOf[int]{plugin: &shop{}}).open(both, nil, found[1].state)
	if err != nil || len(schemas[0].Fields) != 4 || len(schemas[1].Fields) != 3 {
		t.Error(schemas, err)
	}
}

func TestChangesThatLoseValuesAndWhatIsNoEventAreRefused(t *testing.T) {
	for _, each := range []struct {
		event   Event
		message string
	}{
		{Insert{"orders", row{"id": 1, "size": 2}}, `dataset "orders": the rows have a column "size"`},
		{Insert{"orders", row{"note": "a"}}, `dataset "orders": a change lacks the key column "id"`},
		{Update{"orders", row{"id": 1}, nil}, `dataset "orders": an update lacks the column "note"`},
		{Update{"orders", row{"id": 1, "note": nil}, row{}}, `dataset "orders": a change lacks the key column "id"`},
		{Delete{"lines", row{"order": 1, "line": nil}}, `dataset "lines": a change lacks the key column "line"`},
		{Insert{"orders", 3}, `dataset "orders": a row is not a JSON object`},
		{Insert{"ordres", row{"id": 1}}, `there is no dataset "ordres", only orders, lines, others`},
		{Insert{"", row{"id": 1}}, `there is no dataset ""`},
		{Commit[string]{"2"}, "Changes gave a dataflare.Commit[string], which is not an event with a position of int"},
		{nil, "Changes gave a <nil>"},
	} {
		_, _, err := untilIdle(t, openedLog(t, &shop{events: []Event{each.event}, failsAt: -1}, nil), 10)
		if err == nil || !strings.Contains(err.Error(), each.message) {
			t.Errorf("%v, and should be %q", err, each.message)
		}
	}
}

func TestStatesOfALogBelongToItsSelections(t *testing.T) {
	plugin := &shop{events: logged, failsAt: -1}
	_, found, _ := untilIdle(t, openedLog(t, plugin, nil), 10)
	state := found[0].state
	refused := func(selections []host.Selection, state []byte) {
		t.Helper()
		source := &sourceOf[int]{plugin: plugin}
		if _, err := source.open(selections, nil, state); err == nil || host.AsError(err).Kind != host.InvalidState {
			t.Errorf("%s: %v", state, err)
		}
	}
	refused(both[:1], state)
	refused([]host.Selection{both[1], both[0]}, state)
	refused([]host.Selection{{Name: "orders", Mode: "changes", Columns: []string{"note"}}, both[1]}, state)
	for _, damaged := range []string{"", "3", "[]", `{"after":1}`, `{"after":1,"datasets":[3],"mode":"changes"}`} {
		refused(both, []byte(damaged))
	}
	source := &sourceOf[int]{plugin: plugin}
	if err := source.acknowledge(state); err != nil || plugin.safe != 2 {
		t.Error(plugin.safe, err)
	}
	if _, err := source.split(both, nil, 2); host.AsError(err).Kind != host.Unsupported {
		t.Error(err)
	}
	if _, err := source.open([]host.Selection{{Name: "orders", Mode: "full"}}, nil, nil); host.AsError(err).Kind != host.InvalidConfig {
		t.Error(err)
	}
}
