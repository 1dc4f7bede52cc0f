package dataflare

import (
	"slices"
	"strconv"

	"dataflare/internal/host"
)

// Severity says how severe it is that a rule is broken.
type Severity = host.Severity

// The severities. A rule that says nothing else is of the severity Wrong.
const (
	Wrong   = host.Wrong
	Warning = host.Warning
	Notice  = host.Notice
)

// Rule is what rows must keep.
type Rule struct {
	Name string
	// Holds is true for good rows; rows where it is null are good too. Without it, the plugin is a [RowValidator].
	Holds *Expression
	// Description is one line that says what must hold.
	Description string
	Severity    Severity
	// Column is the column that it is about; it may be empty.
	Column string
}

// NewRule makes a rule of an expression: NewRule("adult", Col("age").Ge(18)).
func NewRule(name string, holds Expression) Rule { return Rule{Name: name, Holds: &holds} }

// Violation is a row that breaks a rule.
type Violation struct {
	Rule string
	// Row counts from 0; it is -1 for the batch as a whole.
	Row int
	// Message says what is wrong; if it is empty, the rule's description does.
	Message string
}

// Validator checks batches.
type Validator interface {
	// Rules are what is checked.
	Rules() []Rule
}

// RowValidator is a [Validator] that finds violations by itself, rather than by expressions.
type RowValidator interface {
	Validate(batch *Batch) ([]Violation, error)
}

// mostReported are the violations of a rule that are reported for a batch; all are counted.
const mostReported = 100

func validate(plugin Validator, batch *Batch) (host.Report, error) {
	rules := plugin.Rules()
	violations, err := violationsOf(plugin, rules, batch)
	if err != nil {
		return host.Report{}, err
	}
	report := host.Report{RowsChecked: batch.Len()}
	for _, rule := range rules {
		report.Counts = append(report.Counts, host.RuleCount{Rule: rule.Name})
	}
	for _, each := range violations {
		at := slices.IndexFunc(rules, func(rule Rule) bool { return rule.Name == each.Rule })
		if at < 0 {
			return host.Report{}, host.Errorf(host.Internal, "there is no rule %q", each.Rule)
		}
		report.Counts[at].Violations++
		if report.Counts[at].Violations > mostReported {
			continue
		}
		rule := rules[at]
		if each.Message == "" {
			each.Message = rule.Description
		}
		report.Violations = append(report.Violations, host.Violation{
			Row: each.Row, Column: rule.Column, Rule: rule.Name, Severity: rule.Severity, Message: each.Message,
		})
	}
	return report, nil
}

func violationsOf(plugin Validator, rules []Rule, batch *Batch) ([]Violation, error) {
	if own, is := plugin.(RowValidator); is {
		return own.Validate(batch)
	}
	var computed []Computed
	for place, rule := range rules {
		if rule.Holds != nil {
			computed = append(computed, Computed{strconv.Itoa(place), rule.Holds.Not()})
		}
	}
	if len(computed) == 0 {
		return nil, nil
	}
	checked, err := batch.SelectComputed(computed...)
	if err != nil {
		return nil, err
	}
	var found []Violation
	for place, rule := range rules {
		if rule.Holds == nil {
			continue
		}
		// A null has the value false.
		broken, err := checked.raw.BooleanColumn(strconv.Itoa(place))
		if err != nil {
			return nil, err
		}
		for row, isBroken := range broken {
			if isBroken {
				found = append(found, Violation{Rule: rule.Name, Row: row})
			}
		}
	}
	return found, nil
}
