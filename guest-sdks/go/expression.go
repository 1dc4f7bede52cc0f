package dataflare

import (
	"fmt"

	"dataflare/internal/host"
)

// Expression is a column, a constant, or a function of the host on these, which the host computes: no value is copied into
// the plugin.
//
// The arguments of its methods are expressions, or constants: bool, int, int64, float64, string, []byte or nil. Sums and
// products fail where they do not fit their type. All other functions of the host are there by [Call].
type Expression struct{ of *expressionNode }

type expressionNode struct {
	node      host.Node
	arguments []Expression
}

// Col is a column.
func Col(name string) Expression {
	return Expression{&expressionNode{node: host.Node{Kind: host.ColumnNode, Name: name}}}
}

// Lit is a constant; nil is null.
func Lit(value any) Expression {
	return Expression{&expressionNode{node: host.Node{Kind: host.LiteralNode, Literal: literalOf(value)}}}
}

// TypedLit is a constant of an Arrow type, such as "date32[day]", by its text.
func TypedLit(typeName, text string) Expression {
	return Lit(host.Typed{Type: typeName, Text: text})
}

// Call is a function of the host: Call("coalesce", Col("a"), 0).
func Call(name string, arguments ...any) Expression {
	made := &expressionNode{node: host.Node{Kind: host.CallNode, Name: name}}
	for _, each := range arguments {
		made.arguments = append(made.arguments, expressionOf(each))
	}
	return Expression{made}
}

func literalOf(value any) any {
	switch value := value.(type) {
	case nil, bool, int64, float64, string, []byte, host.Typed:
		return value
	case int:
		return int64(value)
	case int32:
		return int64(value)
	case uint32:
		return int64(value)
	case float32:
		return float64(value)
	}
	panic(fmt.Sprintf("an expression cannot have a constant of the type %T", value))
}

func expressionOf(value any) Expression {
	if expression, is := value.(Expression); is {
		return expression
	}
	return Lit(value)
}

// Option is the same call with an option: Col("x").Call("round").Option("ndigits", 2). Only calls have options.
func (e Expression) Option(name string, value any) Expression {
	if e.of.node.Kind != host.CallNode {
		panic("only a call has options")
	}
	made := &expressionNode{node: e.of.node, arguments: e.of.arguments}
	made.node.Options = append(append([]host.Option(nil), e.of.node.Options...), host.Option{Name: name, Value: literalOf(value)})
	return Expression{made}
}

// Call is a function of this and of others: Col("name").Call("utf8_lower").
func (e Expression) Call(name string, rest ...any) Expression {
	return Call(name, append([]any{e}, rest...)...)
}

// Cast converts to another Arrow type.
func (e Expression) Cast(typeName string) Expression { return e.Call("cast").Option("type", typeName) }

// Add is a sum.
func (e Expression) Add(other any) Expression { return e.Call("add_checked", other) }

// Sub is a difference.
func (e Expression) Sub(other any) Expression { return e.Call("subtract_checked", other) }

// Mul is a product.
func (e Expression) Mul(other any) Expression { return e.Call("multiply_checked", other) }

// Div is a quotient.
func (e Expression) Div(other any) Expression { return e.Call("divide", other) }

// Mod is the remainder of a division, with the sign of the divisor.
func (e Expression) Mod(other any) Expression { return e.Call("modulo", other) }

// Neg is the negative value.
func (e Expression) Neg() Expression { return e.Call("negate_checked") }

// Eq is whether both are equal.
func (e Expression) Eq(other any) Expression { return e.Call("equal", other) }

// Ne is whether they differ.
func (e Expression) Ne(other any) Expression { return e.Call("not_equal", other) }

// Lt is whether it is less than another.
func (e Expression) Lt(other any) Expression { return e.Call("less", other) }

// Le is whether it is at most another.
func (e Expression) Le(other any) Expression { return e.Call("less_equal", other) }

// Gt is whether it is more than another.
func (e Expression) Gt(other any) Expression { return e.Call("greater", other) }

// Ge is whether it is at least another.
func (e Expression) Ge(other any) Expression { return e.Call("greater_equal", other) }

// Between is whether it is within two others.
func (e Expression) Between(low, high any) Expression { return e.Call("between", low, high) }

// IsIn is whether it is one of these constants.
func (e Expression) IsIn(values ...any) Expression { return e.Call("is_in", values...) }

// And is whether both hold.
func (e Expression) And(other any) Expression { return e.Call("and_kleene", other) }

// Or is whether one of both holds.
func (e Expression) Or(other any) Expression { return e.Call("or_kleene", other) }

// Not is whether it does not hold.
func (e Expression) Not() Expression { return e.Call("invert") }

// IsNull is whether it is null.
func (e Expression) IsNull() Expression { return e.Call("is_null") }

// IsValid is whether it is not null.
func (e Expression) IsValid() Expression { return e.Call("is_valid") }

// OrElse is this value, or another where it is null.
func (e Expression) OrElse(other any) Expression { return e.Call("coalesce", other) }

// IfElse is one of two values, by whether this holds.
func (e Expression) IfElse(yes, no any) Expression { return e.Call("if_else", yes, no) }

// nodesOf gives the nodes of expressions, each after its arguments and once, and the place of each expression.
func nodesOf(expressions ...Expression) ([]host.Node, []uint32) {
	var nodes []host.Node
	known := map[*expressionNode]uint32{}
	var place func(Expression) uint32
	place = func(expression Expression) uint32 {
		if found, is := known[expression.of]; is {
			return found
		}
		node := expression.of.node
		for _, argument := range expression.of.arguments {
			node.Arguments = append(node.Arguments, place(argument))
		}
		nodes = append(nodes, node)
		known[expression.of] = uint32(len(nodes) - 1)
		return uint32(len(nodes) - 1)
	}
	places := make([]uint32, len(expressions))
	for i, each := range expressions {
		places[i] = place(each)
	}
	return nodes, places
}
