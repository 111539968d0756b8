package layouts

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// maxCost limits one evaluation, so that no expression can hang a run. Splitting a long name costs
// a few hundred.
const maxCost = 100_000

// expression is a compiled CEL expression from text to text. It is safe for concurrent use.
type expression struct {
	program cel.Program
	list    bool // it reads "values", a list, instead of "value"
}

var (
	valueEnv  = sync.OnceValues(func() (*cel.Env, error) { return newEnv(cel.Variable("value", cel.StringType)) })
	valuesEnv = sync.OnceValues(func() (*cel.Env, error) {
		return newEnv(cel.Variable("values", cel.ListType(cel.StringType)))
	})
)

func newEnv(v cel.EnvOption) (*cel.Env, error) {
	return cel.NewEnv(v, ext.Strings())
}

// compile compiles an expression over "value", or over "values" if list is set.
func compile(source string, list bool) (*expression, error) {
	get := valueEnv
	if list {
		get = valuesEnv
	}
	env, err := get()
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	tree, issues := env.Compile(source)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("expression, line %d, character %d: %s", first.Location.Line(), first.Location.Column()+1, first.Message)
	}
	if !tree.OutputType().IsExactType(cel.StringType) {
		return nil, fmt.Errorf("the expression returns a %s; it must return a string", tree.OutputType())
	}
	program, err := env.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("prepare expression: %w", err)
	}
	return &expression{program: program, list: list}, nil
}

// eval returns the expression's text; false if it fails.
func (e *expression) eval(value string, values []string) (string, bool) {
	vars := map[string]any{"value": value}
	if e.list {
		vars = map[string]any{"values": values}
	}
	out, _, err := e.program.Eval(vars)
	if err != nil {
		return "", false
	}
	s, ok := out.Value().(string)
	return s, ok
}
