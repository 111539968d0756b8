package messages

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/messages/registry"
)

type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroFixed
	avroEnum
	avroRecord
	avroArray
	avroMap
	avroUnion
)

var avroPrimitives = map[string]avroKind{
	"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroLong, "float": avroFloat,
	"double": avroDouble, "bytes": avroBytes, "string": avroString,
}

// avroType is a type of a schema. Types refer to each other, possibly in circles.
type avroType struct {
	kind    avroKind
	name    string // of the type, or its full name
	logical string
	scale   int
	size    int // of a fixed
	symbols []string
	fields  []avroField
	of      []*avroType // the branches of a union, or the element of an array or a map
}

type avroField struct {
	name string
	typ  *avroType
}

// columnProperty is the property of an Avro field that has the name of its column, if that is not
// allowed as the name of a field.
const columnProperty = "column"

// avroParser parses schemas that refer to each other by name.
type avroParser struct{ names map[string]*avroType }

// parseAvro returns the type of a schema.
func parseAvro(s *registry.Schema) (*avroType, error) {
	p := avroParser{names: map[string]*avroType{}}
	return p.schema(s, 0)
}

func (p *avroParser) schema(s *registry.Schema, depth int) (*avroType, error) {
	if depth > maxSchemaDepth {
		return nil, errDeep
	}
	for _, r := range s.References {
		if r.Schema == nil {
			return nil, fmt.Errorf("the schema %q that it refers to is missing", r.Name)
		}
		if _, err := p.schema(r.Schema, depth+1); err != nil {
			return nil, err
		}
	}
	var v any
	if err := json.Unmarshal([]byte(s.Text), &v); err != nil {
		// Some registries write the schema of a primitive type as a bare name.
		if _, ok := avroPrimitives[s.Text]; !ok {
			return nil, errors.New("it is not JSON")
		}
		v = s.Text
	}
	return p.parse(v, "", 0)
}

func (p *avroParser) parse(v any, namespace string, depth int) (*avroType, error) {
	if depth > maxSchemaDepth {
		return nil, errDeep
	}
	switch v := v.(type) {
	case string:
		return p.named(v, namespace)
	case []any:
		t := &avroType{kind: avroUnion, name: "union"}
		for _, b := range v {
			branch, err := p.parse(b, namespace, depth+1)
			if err != nil {
				return nil, err
			}
			if branch.kind == avroUnion {
				return nil, errors.New("a union contains a union")
			}
			t.of = append(t.of, branch)
		}
		return t, nil
	case map[string]any:
		return p.complex(v, namespace, depth)
	}
	return nil, errors.New("a type is neither a name nor a list nor an object")
}

// named returns a primitive type, or one that was defined before.
func (p *avroParser) named(name, namespace string) (*avroType, error) {
	if k, ok := avroPrimitives[name]; ok {
		return &avroType{kind: k, name: name}, nil
	}
	if t := p.names[qualified(name, namespace)]; t != nil {
		return t, nil
	}
	if t := p.names[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("the type %q is not defined", cut(name))
}

func qualified(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

func (p *avroParser) complex(v map[string]any, namespace string, depth int) (*avroType, error) {
	kind, ok := v["type"].(string)
	if !ok {
		return p.parse(v["type"], namespace, depth+1)
	}
	t := &avroType{name: kind}
	switch kind {
	case "record", "error":
		t.kind = avroRecord
		return t, p.record(t, v, namespace, depth)
	case "enum":
		t.kind = avroEnum
		for _, s := range listOf(v["symbols"]) {
			symbol, ok := s.(string)
			if !ok {
				return nil, errors.New("a symbol of an enum is not text")
			}
			t.symbols = append(t.symbols, symbol)
		}
		_, err := p.define(t, v, namespace)
		return t, err
	case "fixed":
		t.kind = avroFixed
		size, ok := v["size"].(float64)
		if !ok || size < 0 || size > 1<<24 {
			return nil, errors.New("the size of a fixed is not a number in range")
		}
		t.size = int(size)
		t.setLogical(v)
		_, err := p.define(t, v, namespace)
		return t, err
	case "array", "map":
		t.kind = avroArray
		of := v["items"]
		if kind == "map" {
			t.kind, of = avroMap, v["values"]
		}
		element, err := p.parse(of, namespace, depth+1)
		t.of = []*avroType{element}
		return t, err
	}
	base, err := p.named(kind, namespace)
	if err != nil || base.kind >= avroFixed {
		return base, err
	}
	t.kind = base.kind
	t.setLogical(v)
	return t, nil
}

func listOf(v any) []any {
	l, _ := v.([]any)
	return l
}

// define makes a type known by its name and returns the namespace of what it contains.
func (p *avroParser) define(t *avroType, v map[string]any, namespace string) (string, error) {
	name, _ := v["name"].(string)
	if name == "" {
		return "", fmt.Errorf("a type of kind %s has no name", t.name)
	}
	if n, ok := v["namespace"].(string); ok {
		namespace = n
	}
	full := qualified(name, namespace)
	if p.names[full] != nil {
		return "", fmt.Errorf("the type %q is defined twice", cut(full))
	}
	p.names[full] = t
	if dot := strings.LastIndexByte(full, '.'); dot >= 0 {
		return full[:dot], nil
	}
	return "", nil
}

func (p *avroParser) record(t *avroType, v map[string]any, namespace string, depth int) error {
	namespace, err := p.define(t, v, namespace)
	if err != nil {
		return err
	}
	for _, f := range listOf(v["fields"]) {
		field, ok := f.(map[string]any)
		if !ok {
			return errors.New("a field of a record is not an object")
		}
		name, _ := field["name"].(string)
		if name == "" {
			return errors.New("a field of a record has no name")
		}
		typ, err := p.parse(field["type"], namespace, depth+1)
		if err != nil {
			return err
		}
		if column, ok := field[columnProperty].(string); ok && column != "" {
			name = column
		}
		t.fields = append(t.fields, avroField{name, typ})
	}
	return nil
}

// setLogical sets the logical type. As the specification demands, one that does not fit the type is
// ignored.
func (t *avroType) setLogical(v map[string]any) {
	logical, _ := v["logicalType"].(string)
	fits := false
	switch logical {
	case "decimal":
		scale, _ := v["scale"].(float64)
		precision, ok := v["precision"].(float64)
		fits = ok && (t.kind == avroBytes || t.kind == avroFixed) && precision >= 1 &&
			scale == float64(int(scale)) && 0 <= scale && scale <= precision && scale <= columnar.MaxScale
		t.scale = int(scale)
		if fits {
			t.name = fmt.Sprintf("decimal(%d,%d)", int(precision), t.scale)
		}
	case "date", "time-millis":
		fits = t.kind == avroInt
	case "time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos",
		"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
		fits = t.kind == avroLong
	case "uuid":
		fits = t.kind == avroString || t.kind == avroFixed && t.size == 16
	}
	if !fits {
		return
	}
	t.logical = logical
	switch {
	case strings.HasPrefix(logical, "timestamp-"):
		t.name = "timestamp[UTC]"
	case strings.HasPrefix(logical, "local-timestamp-"):
		t.name = "timestamp"
	case strings.HasPrefix(logical, "time-"):
		t.name = "time"
	case logical != "decimal":
		t.name = logical
	}
}
