package dataflare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// NoConfig is the configuration of a plugin that has none.
type NoConfig struct{}

// A configuration is a struct. Its exported fields are the keys, with these tags:
//
//   - json: the key's name
//   - doc: one line that describes it, for the JSON Schema
//   - default: its value as text, if the operator does not give one
//   - enum: the texts that it may be, separated by commas
//
// A key without a default is required, unless its field is a pointer. A text is not empty, unless its default is.

// option is a key of a configuration.
type option struct {
	index        int
	name         string
	doc          string
	otherwise    string
	hasOtherwise bool
	enum         []string
	optional     bool
	kind         reflect.Type
}

func optionsOf(kind reflect.Type) []option {
	var found []option
	for i := range kind.NumField() {
		field := kind.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		each := option{index: i, name: name, doc: field.Tag.Get("doc"), kind: field.Type}
		each.otherwise, each.hasOtherwise = field.Tag.Lookup("default")
		if enum := field.Tag.Get("enum"); enum != "" {
			each.enum = strings.Split(enum, ",")
		}
		each.optional = field.Type.Kind() == reflect.Pointer || each.hasOtherwise
		found = append(found, each)
	}
	return found
}

// ParseConfig reads a configuration. The error names the key, and what it should be.
func ParseConfig[C any](text string) (C, error) {
	var config C
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var given any
	if err := decoder.Decode(&given); err != nil {
		return config, InvalidConfig("the configuration: %v", err)
	}
	err := readStruct(reflect.ValueOf(&config).Elem(), given, "")
	return config, err
}

func readStruct(to reflect.Value, given any, path string) error {
	keys, isObject := given.(map[string]any)
	if !isObject {
		return wrongOption(path, "an object")
	}
	options := optionsOf(to.Type())
	known := map[string]bool{}
	for _, each := range options {
		known[each.name] = true
		place := joined(path, each.name)
		value, isGiven := keys[each.name]
		switch {
		case isGiven:
			if err := readValue(to.Field(each.index), value, place, each); err != nil {
				return err
			}
		case each.hasOtherwise:
			if err := readValue(to.Field(each.index), each.value(), place, each); err != nil {
				panic(fmt.Sprintf("the default of %s: %v", place, err))
			}
		case !each.optional:
			return InvalidConfig("%s: it is missing", place)
		}
	}
	for _, key := range sortedKeys(keys) {
		if !known[key] {
			return InvalidConfig("%s: there is no such option, %s", joined(path, key), namesOf(options))
		}
	}
	return nil
}

func readValue(to reflect.Value, given any, path string, said option) error {
	if to.Kind() == reflect.Pointer {
		if given == nil {
			return nil
		}
		to.Set(reflect.New(to.Type().Elem()))
		return readValue(to.Elem(), given, path, said)
	}
	switch to.Kind() {
	case reflect.Struct:
		return readStruct(to, given, path)
	case reflect.Slice:
		items, isList := given.([]any)
		if !isList {
			return wrongOption(path, "a list")
		}
		to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
		for i, item := range items {
			if err := readValue(to.Index(i), item, fmt.Sprintf("%s[%d]", path, i), option{}); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		entries, isObject := given.(map[string]any)
		if !isObject {
			return wrongOption(path, "an object")
		}
		to.Set(reflect.MakeMap(to.Type()))
		for _, key := range sortedKeys(entries) {
			value := reflect.New(to.Type().Elem()).Elem()
			if err := readValue(value, entries[key], joined(path, key), option{}); err != nil {
				return err
			}
			to.SetMapIndex(reflect.ValueOf(key), value)
		}
		return nil
	case reflect.Interface:
		if given != nil {
			to.Set(reflect.ValueOf(given))
		}
		return nil
	}
	return readScalar(to, given, path, said)
}

func readScalar(to reflect.Value, given any, path string, said option) error {
	switch to.Kind() {
	case reflect.String:
		text, isText := given.(string)
		if len(said.enum) > 0 && (!isText || !contains(said.enum, text)) {
			return wrongOption(path, "one of "+strings.Join(said.enum, ", "))
		}
		if !isText || (text == "" && !(said.hasOtherwise && said.otherwise == "")) {
			return wrongOption(path, "a text that is not empty")
		}
		to.SetString(text)
	case reflect.Bool:
		value, isBool := given.(bool)
		if !isBool {
			return wrongOption(path, "true or false")
		}
		to.SetBool(value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		value, err := strconv.ParseInt(numberText(given), 10, 64)
		if err != nil || to.OverflowInt(value) {
			return wrongOption(path, "a whole number")
		}
		to.SetInt(value)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		value, err := strconv.ParseUint(numberText(given), 10, 64)
		if err != nil || to.OverflowUint(value) {
			return wrongOption(path, "a whole number that is at least 0")
		}
		to.SetUint(value)
	case reflect.Float32, reflect.Float64:
		value, err := strconv.ParseFloat(numberText(given), 64)
		if err != nil || math.IsInf(value, 0) {
			return wrongOption(path, "a number")
		}
		to.SetFloat(value)
	default:
		panic(fmt.Sprintf("%s: a configuration cannot have the type %v", path, to.Type()))
	}
	return nil
}

func numberText(given any) string {
	number, _ := given.(json.Number)
	return number.String()
}

// value is the default, as it would stand in JSON.
func (o *option) value() any {
	kind := o.kind
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Kind() == reflect.String {
		return o.otherwise
	}
	decoder := json.NewDecoder(strings.NewReader(o.otherwise))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		panic(fmt.Sprintf("the default of %s is not JSON: %v", o.name, err))
	}
	return value
}

func wrongOption(path, wanted string) error {
	if path == "" {
		path = "the configuration"
	}
	return InvalidConfig("%s: give %s", path, wanted)
}

func joined(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func namesOf(options []option) string {
	if len(options) == 0 {
		return "there are none"
	}
	names := make([]string, len(options))
	for i, each := range options {
		names[i] = each.name
	}
	return "there are " + strings.Join(names, ", ")
}

func sortedKeys(entries map[string]any) []string {
	keys := make([]string, 0, len(entries))
	for key := range entries {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func contains(texts []string, text string) bool {
	for _, each := range texts {
		if each == text {
			return true
		}
	}
	return false
}

// schemaOf describes a configuration as a JSON Schema.
func schemaOf[C any]() string {
	var config C
	schema := structSchema(reflect.TypeOf(config))
	return string(marshalled(schema))
}

func structSchema(kind reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, each := range optionsOf(kind) {
		property := valueSchema(each.kind, each)
		if each.doc != "" {
			property["description"] = each.doc
		}
		if each.hasOtherwise {
			property["default"] = each.value()
		}
		if !each.optional {
			required = append(required, each.name)
		}
		properties[each.name] = property
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func valueSchema(kind reflect.Type, said option) map[string]any {
	switch kind.Kind() {
	case reflect.Pointer:
		return valueSchema(kind.Elem(), said)
	case reflect.String:
		schema := map[string]any{"type": "string"}
		if len(said.enum) > 0 {
			schema["enum"] = said.enum
		} else if !said.hasOtherwise || said.otherwise != "" {
			schema["minLength"] = 1
		}
		return schema
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": valueSchema(kind.Elem(), option{})}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": valueSchema(kind.Elem(), option{})}
	case reflect.Struct:
		return structSchema(kind)
	}
	return map[string]any{}
}

// marshalled is a value as JSON, in which `<`, `>` and `&` stay as they are.
func marshalled(value any) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("JSON cannot hold %T: %v", value, err))
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
