//! Makes rows of consecutive numbers, and continues where a read ended.

const std = @import("std");
const df = @import("dataflare");
const c = df.c;

pub const panic = df.panic;

// The configuration: its JSON Schema, and the checks of what the operator writes, come from the options.
var rows: i64 = 0;

const options = [_]df.Option{
    .{ .name = "rows", .type = c.DF_INTEGER_OPTION, .into = &rows, .otherwise = "10", .description = "How many rows to make." },
};

fn configured(err: [*c]df.Error) callconv(.c) bool {
    return rows >= 0 or df.fail(err, .invalid_config, "rows: give at least 0", .{});
}

const columns = [_]df.Field{ .{ .name = "id", .type = "int64" }, .{ .name = "square", .type = "int64" } };
const key = [_][*c]const u8{"id"};
const all = [_]df.Dataset{
    .{ .name = "numbers", .columns = &columns, .column_count = columns.len, .key = &key, .key_count = key.len },
};

fn datasets(found: [*c]c.df_datasets, _: [*c]df.Error) callconv(.c) bool {
    found.* = .{ .items = &all, .count = all.len };
    return true;
}

/// Give rows, and the state from which a later read continues: the next number.
fn read(request: [*c]const df.Request, chunk: [*c]df.Chunk, ended: [*c]bool, err: [*c]df.Error) callconv(.c) bool {
    var begin: i64 = 0;
    if (request.*.state != null and !c.df_as_integer(request.*.state, &begin))
        return df.fail(err, .invalid_state, "the state is not a number", .{});
    ended.* = begin >= rows;
    if (ended.*) return true;
    const count: usize = @intCast(@min(rows - begin, @as(i64, @intCast(request.*.max_rows))));
    const ids = df.allocator.alloc(i64, count) catch @panic("out of memory");
    const squares = df.allocator.alloc(i64, count) catch @panic("out of memory");
    for (ids, squares, 0..) |*id, *square, place| {
        id.* = begin + @as(i64, @intCast(place));
        square.* = id.* * id.*;
    }
    const batch = &chunk.*.rows;
    batch.* = c.df_new_batch(count);
    chunk.*.state = c.df_integer(begin + @as(i64, @intCast(count)));
    return c.df_put_integers(batch, "id", .{ .values = ids.ptr, .count = count }, err) and
        c.df_put_integers(batch, "square", .{ .values = squares.ptr, .count = count }, err);
}

export const df_source_plugin: c.df_source = .{
    .options = &options,
    .option_count = options.len,
    .configured = &configured,
    .datasets = &datasets,
    .read = &read,
};

test "all rows are read in chunks of any size" {
    c.df_test_configure("{\"rows\":2}");
    const wanted = "{\"id\":0,\"square\":0}\n{\"id\":1,\"square\":1}\n";
    try std.testing.expectEqualStrings(wanted, df.slice(c.df_test_read("numbers", 1)));
    try std.testing.expectEqualStrings(wanted, df.slice(c.df_test_read("numbers", 100)));
}

test "fewer rows than none are refused" {
    try std.testing.expectEqualStrings("rows: give at least 0", df.slice(c.df_test_refusal("{\"rows\":-1}")));
}
