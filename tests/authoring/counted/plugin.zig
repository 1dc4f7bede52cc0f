//! A log of three rows, each in a transaction of its own, for tests; a position is the number of rows before it.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

var at: i64 = 0;

const columns = [_]df.Field{.{ .name = "id", .type = "int64" }};
const key = [_][*c]const u8{"id"};
const all = [_]df.Dataset{.{
    .name = "numbers",
    .columns = &columns,
    .column_count = columns.len,
    .key = &key,
    .key_count = key.len,
    .modes = c.DATAFLARE_PLUGIN_DATASETS_READING_MODES_CHANGES,
}};

fn datasets(found: [*c]c.df_datasets, _: [*c]df.Error) callconv(.c) bool {
    found.* = .{ .items = &all, .count = all.len };
    return true;
}

fn changes(position: [*c]const df.Value, _: [*c]const df.Dataset, _: usize, _: [*c]df.Error) callconv(.c) bool {
    at = 0;
    if (position != null) _ = c.df_as_integer(position, &at);
    at *= 2;
    return true;
}

fn nextEvent(event: [*c]df.Event, _: [*c]df.Error) callconv(.c) bool {
    if (at == 6) return true;
    if (@rem(at, 2) == 1) {
        event.* = .{ .type = c.DF_COMMIT, .position = c.df_integer(@divFloor(at, 2) + 1) };
    } else {
        event.* = .{ .type = c.DF_INSERT, .dataset = "numbers", .row = c.df_object() };
        c.df_set(event.*.row, "id", c.df_integer(@divFloor(at, 2)));
    }
    at += 1;
    return true;
}

export const df_source_plugin: c.df_source = .{
    .datasets = &datasets,
    .changes = &changes,
    .next_event = &nextEvent,
};

test "a log is read in chunks of any size" {
    c.df_test_configure("{}");
    const wanted = "{\"id\":0,\"_operation\":0}\n{\"id\":1,\"_operation\":0}\n{\"id\":2,\"_operation\":0}\n";
    try std.testing.expectEqualStrings(wanted, df.slice(c.df_test_read("numbers", 1)));
    try std.testing.expectEqualStrings(wanted, df.slice(c.df_test_read("numbers", 100)));
}
