//! Trims a text field, and drops records in which it is empty.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
var field: [*c]const u8 = null;

const options = [_]df.Option{
    .{ .name = "field", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&field), .otherwise = "\"name\"", .description = "The field to trim." },
};

/// Change the record; `keep.* = false` drops it.
fn process(record: [*c]df.Value, keep: [*c]bool, err: [*c]df.Error) callconv(.c) bool {
    const value = c.df_get(record, field);
    if (c.df_is_valid(value) and value.*.type != c.DF_TEXT)
        return df.fail(err, .invalid_input, "{s} is not a text", .{df.slice(field)});
    const trimmed: [*c]const u8 = if (c.df_is_valid(value)) c.df_trim(value.*.text) else "";
    keep.* = trimmed.* != 0;
    if (keep.*) c.df_set(record, field, c.df_text(trimmed));
    return true;
}

export const df_processor_plugin: c.df_processor = .{
    .options = &options,
    .option_count = options.len,
    .process = &process,
};

test "white space at the ends goes" {
    c.df_test_configure("{}");
    const found = c.df_test_json(c.df_test_process("{\"id\":1,\"name\":\" Ada \"}"));
    try std.testing.expectEqualStrings("{\"id\":1,\"name\":\"Ada\"}", df.slice(found));
}

test "a record without a name is dropped" {
    c.df_test_configure("{}");
    try std.testing.expect(c.df_test_process("{\"id\":2,\"name\":\"  \"}") == null);
}
