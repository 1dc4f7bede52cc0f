//! Adds a column that is a ratio of two others.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
var of: [*c]const u8 = null;
var to: [*c]const u8 = null;
var column: [*c]const u8 = null;

const options = [_]df.Option{
    .{ .name = "of", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&of), .description = "The column above the line." },
    .{ .name = "to", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&to), .description = "The column below it." },
    .{ .name = "column", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&column), .otherwise = "\"ratio\"", .description = "The name of the new column." },
};

/// Let the host compute: no value comes into the plugin.
fn transform(batch: [*c]df.Batch, err: [*c]df.Error) callconv(.c) bool {
    const ratio = c.df_divide(c.df_cast(c.df_column(of), "double"), c.df_column(to));
    return c.df_put(batch, column, ratio, err);
}

export const df_transformer_plugin: c.df_transformer = .{
    .options = &options,
    .option_count = options.len,
    .transform = &transform,
};

test "a ratio is added" {
    c.df_test_configure("{\"of\":\"amount\",\"to\":\"quantity\"}");
    const found = c.df_test_transform("{\"amount\":3,\"quantity\":2}\n");
    try std.testing.expectEqualStrings("{\"amount\":3,\"quantity\":2,\"ratio\":1.5}\n", df.slice(found));
}

test "a column that is not there is told" {
    c.df_test_configure("{\"of\":\"amount\",\"to\":\"missing\"}");
    const wrong = c.df_test_transform_error("{\"amount\":3}\n");
    try std.testing.expectEqualStrings("there is no column missing", df.slice(wrong));
}
