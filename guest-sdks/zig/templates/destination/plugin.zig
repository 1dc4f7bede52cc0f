//! Keeps rows by key in the state that the host has for the plugin. Rows are visible when the run is finished.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
var key: [*c]const u8 = null;

const options = [_]df.Option{
    .{ .name = "key", .type = c.DF_TEXT_OPTION, .into = @ptrCast(&key), .otherwise = "\"id\"", .description = "The column whose values rows are kept by." },
};

/// A row of the run, as JSON: what outlives a call has an allocator of its own.
const Kept = struct { name: [*c]u8, record: [*c]u8 };
const long_lived = std.heap.c_allocator;
var kept: std.ArrayList(Kept) = .empty;

fn forget() void {
    for (kept.items) |row| {
        std.c.free(row.name);
        std.c.free(row.record);
    }
    kept.clearRetainingCapacity();
}

fn json(value: [*c]const df.Value) [*c]u8 {
    return c.df_c_string(c.df_write(value));
}

/// Take rows; those without a key are sent back.
fn write(target: [*c]const c.df_target, rows: df.Batch, rejected: [*c]c.df_rejected, err: [*c]df.Error) callconv(.c) bool {
    var records: [*c][*c]df.Value = null;
    if (!c.df_records(rows, &records, err)) return false;
    for (0..c.df_rows(rows)) |row| {
        const value = c.df_get(records[row], key);
        if (!c.df_is_valid(value)) {
            c.df_reject(rejected, row, key, "%s is null", key);
            continue;
        }
        const name = c.df_list();
        for ([_][*c]const u8{ target.*.namespace_, target.*.name, json(value) }) |part| c.df_append(name, c.df_text(part));
        kept.append(long_lived, .{ .name = c.df_keep_text(json(name)), .record = c.df_keep_text(json(records[row])) }) catch
            @panic("out of memory");
    }
    return true;
}

/// Make them visible. After an error this may come again, and must do no harm.
fn finish(_: c.df_list_u8_t, err: [*c]df.Error) callconv(.c) bool {
    for (kept.items) |row| {
        var wrong: [*c]const u8 = null;
        const record = c.df_parse(row.record, df.slice(row.record).len, &wrong);
        if (!c.df_state_set(row.name, record, err)) return false;
    }
    forget();
    return true;
}

/// Forget them.
fn abort(_: [*c]df.Error) callconv(.c) bool {
    forget();
    return true;
}

export const df_destination_plugin: c.df_destination = .{
    .options = &options,
    .option_count = options.len,
    .write = &write,
    .finish = &finish,
    .abort = &abort,
};

test "rows are visible when the run is finished" {
    c.df_test_forget();
    c.df_test_configure("{}");
    c.df_test_open("people");
    const rejected = c.df_test_json(c.df_test_write("{\"id\":1,\"name\":\"Ada\"}\n"));
    try std.testing.expectEqualStrings("[]", df.slice(rejected));
    try std.testing.expectEqualStrings("nothing", df.slice(c.df_test_state("[\"\",\"people\",\"1\"]")));
    c.df_test_finish();
    const visible = c.df_test_state("[\"\",\"people\",\"1\"]");
    try std.testing.expectEqualStrings("{\"id\":1,\"name\":\"Ada\"}", df.slice(visible));
}

test "a row without a key is sent back" {
    c.df_test_configure("{}");
    c.df_test_open("people");
    const rejected = c.df_test_json(c.df_test_write("{\"id\":null,\"name\":\"Bo\"}\n"));
    try std.testing.expectEqualStrings("[{\"row\":0,\"column\":\"id\",\"reason\":\"id is null\"}]", df.slice(rejected));
    c.df_test_abort();
}
