//! Checks that a column is within bounds: rows out of bounds break its rule, nulls do not.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
var column: [*c]const u8 = null;
var least: f64 = 0;
var greatest: f64 = 0;

const options = [_]df.Option{
    .{ .name = "column", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&column), .description = "The column to check." },
    .{ .name = "least", .type = c.DF_NUMBER_OPTION, .into = &least, .otherwise = "0", .description = "The least value." },
    .{ .name = "greatest", .type = c.DF_NUMBER_OPTION, .into = &greatest, .otherwise = "100", .description = "The greatest value." },
};

fn configured(err: [*c]df.Error) callconv(.c) bool {
    return least <= greatest or df.fail(err, .invalid_config, "least: it is above greatest", .{});
}

/// What must hold: an expression, which the host computes.
fn rules(found: [*c]c.df_rules, _: [*c]df.Error) callconv(.c) bool {
    c.df_add_rule(found, .{
        .name = "within",
        .description = df.text("{s} is within {d} and {d}", .{ df.slice(column), least, greatest }),
        .column = column,
        .holds = c.df_between(c.df_column(column), c.df_literal_number(least), c.df_literal_number(greatest)),
    });
    return true;
}

export const df_validator_plugin: c.df_validator = .{
    .options = &options,
    .option_count = options.len,
    .configured = &configured,
    .rules = &rules,
};

test "rows out of bounds are found, and nulls are not" {
    c.df_test_configure("{\"column\":\"age\"}");
    const found = c.df_test_json(c.df_test_validate("{\"age\":36}\n{\"age\":-1}\n{\"age\":null}\n"));
    try std.testing.expectEqualStrings("[{\"row\":1,\"column\":\"age\",\"rule\":\"within\"}]", df.slice(found));
}

test "bounds that nothing is within are refused" {
    const refusal = c.df_test_refusal("{\"column\":\"age\",\"least\":2,\"greatest\":1}");
    try std.testing.expectEqualStrings("least: it is above greatest", df.slice(refusal));
}
