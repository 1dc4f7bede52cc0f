//go:build wasip1 && dataflare_validator

package dataflare

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/validator"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_plugin_types"
	"dataflare/internal/wit/dataflare_plugin_validator"
	// What the host calls.
	_ "dataflare/internal/wit/exports_validator"
)

var severities = map[Severity]uint8{
	Wrong:   dataflare_plugin_validator.SeverityError,
	Warning: dataflare_plugin_validator.SeverityWarning,
	Notice:  dataflare_plugin_validator.SeverityInfo,
}

func init() {
	validator.Rules = func() wit.Result[[]dataflare_plugin_validator.Rule, dataflare_plugin_types.Error] {
		return answer(func() ([]dataflare_plugin_validator.Rule, error) {
			plugin, err := used[Validator]()
			if err != nil {
				return nil, err
			}
			var found []dataflare_plugin_validator.Rule
			for _, rule := range plugin.Rules() {
				found = append(found, dataflare_plugin_validator.Rule{
					Name: rule.Name, Description: rule.Description, Severity: severities[rule.Severity],
				})
			}
			return found, nil
		})
	}
	validator.Validate = func(input *dataflare_data_batches.Batch) wit.Result[dataflare_plugin_validator.Report, dataflare_plugin_types.Error] {
		return answer(func() (dataflare_plugin_validator.Report, error) {
			batch := newBatch(host.WrapBatch(input))
			plugin, err := used[Validator]()
			if err != nil {
				return dataflare_plugin_validator.Report{}, err
			}
			report, err := validate(plugin, batch)
			return witReport(report), err
		})
	}
}

func witReport(report host.Report) dataflare_plugin_validator.Report {
	found := dataflare_plugin_validator.Report{RowsChecked: uint32(report.RowsChecked)}
	for _, each := range report.Counts {
		found.Counts = append(found.Counts, dataflare_plugin_validator.RuleCount{Rule: each.Rule, Violations: uint32(each.Violations)})
	}
	for _, each := range report.Violations {
		row := wit.None[uint32]()
		if each.Row >= 0 {
			row = wit.Some(uint32(each.Row))
		}
		found.Violations = append(found.Violations, dataflare_plugin_validator.Violation{
			Row: row, Column: host.OptionalText(each.Column), Rule: each.Rule, Severity: severities[each.Severity], Message: each.Message,
		})
	}
	return found
}
