package dataflare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Record is a JSON object with any fields, in their order. What is not looked at stays as it was written, so that no number
// loses a digit.
type Record struct {
	members []member
}

type member struct {
	name string
	text json.RawMessage
}

func (r *Record) find(name string) int {
	for i := range r.members {
		if r.members[i].name == name {
			return i
		}
	}
	return -1
}

// Names are the names of the fields, in order.
func (r *Record) Names() []string {
	names := make([]string, len(r.members))
	for i := range r.members {
		names[i] = r.members[i].name
	}
	return names
}

// Has says whether there is a field of this name.
func (r *Record) Has(name string) bool { return r.find(name) >= 0 }

// IsNull says whether a field is null, or not there.
func (r *Record) IsNull(name string) bool {
	at := r.find(name)
	return at < 0 || string(r.members[at].text) == "null"
}

// Get reads a field into a value, as [json.Unmarshal] does. It gives false where the field is null or not there, or where
// its value does not fit.
func (r *Record) Get(name string, into any) bool {
	return !r.IsNull(name) && json.Unmarshal(r.members[r.find(name)].text, into) == nil
}

// JSON is the value of a field, as JSON; empty if there is no such field.
func (r *Record) JSON(name string) string {
	if at := r.find(name); at >= 0 {
		return string(r.members[at].text)
	}
	return ""
}

// Text is the text in a field; false if it has no text.
func (r *Record) Text(name string) (text string, ok bool) {
	at := r.find(name)
	if at < 0 || r.members[at].text[0] != '"' {
		return "", false
	}
	return unquoted(r.members[at].text), true
}

// Int is the whole number in a field; false if it has none.
func (r *Record) Int(name string) (value int64, ok bool) {
	ok = r.Get(name, &value)
	return value, ok
}

// Float is the number in a field; false if it has none.
func (r *Record) Float(name string) (value float64, ok bool) {
	ok = r.Get(name, &value)
	return value, ok
}

// Bool is the truth value in a field; false if it has none.
func (r *Record) Bool(name string) (value, ok bool) {
	ok = r.Get(name, &value)
	return value, ok
}

// Set gives a field a value: anything that JSON can hold. A new field comes last.
func (r *Record) Set(name string, value any) {
	text := json.RawMessage(marshalled(value))
	if at := r.find(name); at >= 0 {
		r.members[at].text = text
		return
	}
	r.members = append(r.members, member{name, text})
}

// Delete removes a field, if it is there.
func (r *Record) Delete(name string) {
	if at := r.find(name); at >= 0 {
		r.members = append(r.members[:at], r.members[at+1:]...)
	}
}

// Rename gives a field another name; it stays where it is. A field that has the name goes.
func (r *Record) Rename(name, to string) {
	if name == to || !r.Has(name) {
		return
	}
	r.Delete(to)
	r.members[r.find(name)].name = to
}

// MarshalJSON writes the record.
func (r *Record) MarshalJSON() ([]byte, error) { return r.append(nil), nil }

func (r *Record) append(text []byte) []byte {
	text = append(text, '{')
	for i := range r.members {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, quoted(r.members[i].name)...)
		text = append(text, ':')
		text = append(text, r.members[i].text...)
	}
	return append(text, '}')
}

// UnmarshalJSON reads a record. Of fields of one name, the last counts.
func (r *Record) UnmarshalJSON(text []byte) error {
	if !json.Valid(text) {
		var nothing any
		return json.Unmarshal(text, &nothing)
	}
	at := skipSpace(text, 0)
	if text[at] != '{' {
		return fmt.Errorf("it is not an object")
	}
	r.members = r.members[:0]
	for at = skipSpace(text, at+1); text[at] != '}'; {
		end := skipValue(text, at)
		name := unquoted(text[at:end])
		at = skipSpace(text, skipSpace(text, end)+1)
		end = skipValue(text, at)
		r.put(name, compacted(text[at:end]))
		at = skipSpace(text, end)
		if text[at] == ',' {
			at = skipSpace(text, at+1)
		}
	}
	return nil
}

func (r *Record) put(name string, text json.RawMessage) {
	if at := r.find(name); at >= 0 {
		r.members[at].text = text
		return
	}
	r.members = append(r.members, member{name, text})
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') {
		at++
	}
	return at
}

// skipValue finds the end of the value that begins at a place of valid JSON.
func skipValue(text []byte, at int) int {
	depth := 0
	for ; at < len(text); at++ {
		switch text[at] {
		case '"':
			for at++; text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
			if depth == 0 {
				return at + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return at
			}
			if depth--; depth == 0 {
				return at + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return at
			}
		}
	}
	return at
}

// compacted is a value without white space between its parts; it shares the text where there is none.
func compacted(text []byte) json.RawMessage {
	if text[0] != '{' && text[0] != '[' {
		return text
	}
	var buffer bytes.Buffer
	if err := json.Compact(&buffer, text); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

func unquoted(text []byte) string {
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text[1 : len(text)-1])
	}
	var found string
	if err := json.Unmarshal(text, &found); err != nil {
		panic(err)
	}
	return found
}

func quoted(name string) []byte {
	for i := range len(name) {
		if name[i] < ' ' || name[i] == '"' || name[i] == '\\' || name[i] >= 0x7f {
			return marshalled(name)
		}
	}
	return strconv.AppendQuote(nil, name)
}
