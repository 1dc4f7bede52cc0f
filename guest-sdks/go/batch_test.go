//go:build !wasip1

package dataflare

import (
	"errors"
	"slices"
	"testing"

	"dataflare/internal/host"
)

func rows(t *testing.T, lines string) *Batch {
	t.Helper()
	batch, err := FromJSONLines(lines, nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func lines(t *testing.T, batch *Batch, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	found, err := batch.ToJSONLines()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestColumnsGiveBackWhatWasPutIntoThem(t *testing.T) {
	real, text := 1.5, "é"
	batch, err := NewBatch(
		Named{"whole", []int{1, 2}},
		Named{"real", NewColumnOf([]*float64{&real, nil})},
		Named{"yes", []bool{true, false}},
		Named{"text", NewColumnOf([]*string{nil, &text})},
		Named{"bytes", [][]byte{{0}, {}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Read[int64](batch, "whole")
	if err != nil || !slices.Equal(whole.Values, []int64{1, 2}) || whole.IsNull(0) {
		t.Error(whole, err)
	}
	reals, err := Read[float64](batch, "real")
	if value, ok := reals.Get(0); err != nil || value != 1.5 || !ok || !reals.IsNull(1) {
		t.Error(reals, err)
	}
	texts, err := Read[string](batch, "text")
	if err != nil || !texts.IsNull(0) || texts.Values[1] != "é" {
		t.Error(texts, err)
	}
	if bytes, err := Read[[]byte](batch, "bytes"); err != nil || len(bytes.Values[0]) != 1 || len(bytes.Values[1]) != 0 {
		t.Error(bytes, err)
	}
	texts.Set(0, "a")
	texts.SetNull(1)
	changed, err := batch.WithColumn("text", texts)
	if found := lines(t, changed, err); found != `{"whole":1,"real":1.5,"yes":true,"text":"a","bytes":"AA=="}`+"\n"+
		`{"whole":2,"real":null,"yes":false,"text":null,"bytes":""}`+"\n" {
		t.Error(found)
	}
}

func TestColumnsOfOtherTypesAndLengthsAreRefused(t *testing.T) {
	batch := rows(t, `{"a":"x"}`)
	var wrong *DataError
	if _, err := Read[int64](batch, "a"); !errors.As(err, &wrong) || wrong.Kind != host.WrongType || wrong.Found != "string" {
		t.Error(err)
	}
	if _, err := Read[int64](batch, "b"); !errors.As(err, &wrong) || wrong.Kind != host.NoSuchColumn || wrong.Message != "b" {
		t.Error(err)
	}
	if _, err := batch.WithColumn("b", []int64{1, 2}); err == nil {
		t.Error("two values fit one row")
	}
}

func TestExpressionsAreComputed(t *testing.T) {
	batch := rows(t, "{\"a\":1,\"b\":2}\n{\"a\":-7,\"b\":2}\n{\"a\":null,\"b\":3}")
	found, err := batch.WithColumns(
		Computed{"sum", Col("a").Add(Col("b")).Mul(2)},
		Computed{"rest", Col("a").Mod(3)},
		Computed{"ratio", Col("a").Cast("double").Div(Col("b"))},
		Computed{"good", Col("a").Between(0, 5).Or(Col("b").Eq(3)).And(Lit(true))},
		Computed{"known", Col("a").OrElse(0).Gt(0).IfElse("yes", "no")},
		Computed{"odd", Col("a").IsIn(1, 5).Not()},
	)
	wanted := `{"a":1,"b":2,"sum":6,"rest":1,"ratio":0.5,"good":true,"known":"yes","odd":false}` + "\n" +
		`{"a":-7,"b":2,"sum":-10,"rest":2,"ratio":-3.5,"good":false,"known":"no","odd":true}` + "\n" +
		`{"a":null,"b":3,"sum":null,"rest":null,"ratio":null,"good":true,"known":"no","odd":true}` + "\n"
	if text := lines(t, found, err); text != wanted {
		t.Error(text)
	}
	kept, err := batch.Filter(Col("a").IsValid())
	if err != nil {
		t.Fatal(err)
	}
	sorted, err := kept.Sort(SortKey{Column: "a"})
	if text := lines(t, sorted, err); text != "{\"a\":-7,\"b\":2}\n{\"a\":1,\"b\":2}\n" {
		t.Error(text)
	}
	if _, err := batch.WithColumn("c", Lit(int64(1<<62)).Mul(Col("b"))); err == nil {
		t.Error("the product is too large")
	}
	if _, err := batch.WithColumn("c", Col("a").Call("round")); host.AsError(err).Kind != host.Unsupported {
		t.Error(err)
	}
}

func TestPartsOfExpressionsAreNodesOnce(t *testing.T) {
	sum := Col("a").Add(1)
	nodes, places := nodesOf(sum.Mul(sum), sum)
	if len(nodes) != 4 || !slices.Equal(places, []uint32{3, 2}) || !slices.Equal(nodes[3].Arguments, []uint32{2, 2}) {
		t.Errorf("%+v %v", nodes, places)
	}
}

func TestRecordsAreReadAndWritten(t *testing.T) {
	type person struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	found, err := Records[person](rows(t, "{\"id\":1,\"name\":\"Ada\",\"age\":36}\n{\"id\":2,\"name\":null}"))
	if err != nil || !slices.Equal(found, []person{{1, "Ada"}, {2, ""}}) {
		t.Error(found, err)
	}
	if _, err := Records[person](rows(t, `{"id":"x"}`)); err == nil || err.Error() != "row 0: id: it is a string, not int64" {
		t.Error(err)
	}
	batch, err := FromRecords(found, nil)
	if text := lines(t, batch, err); text != "{\"id\":1,\"name\":\"Ada\"}\n{\"id\":2,\"name\":\"\"}\n" {
		t.Error(text)
	}
}

func TestBatchesAreCutAndPutTogether(t *testing.T) {
	batch := rows(t, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}")
	end, err := batch.Slice(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	both, err := Concat(batch, end)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := both.FilterRows([]bool{true, false, false, false, true})
	if text := lines(t, kept, err); text != "{\"a\":1}\n{\"a\":3}\n" {
		t.Error(text)
	}
	renamed, err := kept.Rename("a", "b")
	if text := lines(t, renamed, err); text != "{\"b\":1}\n{\"b\":3}\n" {
		t.Error(text)
	}
	if _, err := batch.Slice(2, 2); err == nil {
		t.Error("there are three rows")
	}
}
