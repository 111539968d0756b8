// Package where selects records by an expression in CEL, as 'kafka publish' and 'kafka dlq replay' do.
package where

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
)

// Filter is a compiled expression. It is safe for concurrent use. The nil Filter matches everything.
type Filter struct{ program cel.Program }

// Compile compiles an expression that yields true or false. variables are the names that it may use:
// a name alone is a text, and a name with a type is of that type: "offset int", "record map", which
// has texts by name, and "lines list", which has such maps. An empty expression gives the nil Filter.
func Compile(expression string, variables ...string) (*Filter, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, nil
	}
	var options []cel.EnvOption
	for _, v := range variables {
		name, kind, _ := strings.Cut(v, " ")
		options = append(options, cel.Variable(name, typeOf(kind)))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, fmt.Errorf("the expression is wrong: %w", issues.Err())
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("the expression yields %s, not true or false", ast.OutputType())
	}
	// A limit, so that an expression over long lists cannot take forever.
	program, err := env.Program(ast, cel.CostLimit(10_000_000))
	if err != nil {
		return nil, err
	}
	return &Filter{program}, nil
}

func typeOf(kind string) *cel.Type {
	switch kind {
	case "int":
		return cel.IntType
	case "map":
		return cel.MapType(cel.StringType, cel.StringType)
	case "list":
		return cel.ListType(cel.MapType(cel.StringType, cel.StringType))
	}
	return cel.StringType
}

// Match reports whether the values of the variables match. A field that a record does not have makes
// a comparison with it false, as if nothing matched; the error is any other failure, and holds no
// value.
func (f *Filter) Match(values map[string]any) (bool, error) {
	if f == nil {
		return true, nil
	}
	out, _, err := f.program.Eval(values)
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return false, nil
		}
		return false, fmt.Errorf("the expression failed on a record: use has(record.name) or size() before what may be missing")
	}
	match, ok := out.Value().(bool)
	return ok && match, nil
}
