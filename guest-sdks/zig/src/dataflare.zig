//! DataFlare plugins in Zig: what is nicer than in C. `c` has everything of `dataflare.h`.

const std = @import("std");

pub const c = @import("c");

pub const Batch = c.df_batch;
pub const Chunk = c.df_chunk;
pub const Dataset = c.df_dataset;
pub const Error = c.df_error;
pub const Event = c.df_event;
pub const Expression = [*c]c.df_expression;
pub const Field = c.df_field;
pub const Option = c.df_option;
pub const Request = c.df_request;
pub const Value = c.df_value;

/// Send the message of a panic to the log before the plugin ends: `pub const panic = df.panic;` in `plugin.zig`.
pub const panic = std.debug.FullPanic(struct {
    fn report(message: []const u8, _: ?usize) noreturn {
        c.df_panic("%.*s", @as(c_int, @intCast(message.len)), message.ptr);
    }
}.report);

pub const ErrorKind = enum(c_uint) {
    invalid_config = c.DF_INVALID_CONFIG,
    invalid_input = c.DF_INVALID_INPUT,
    invalid_state = c.DF_INVALID_STATE,
    denied = c.DF_DENIED,
    unavailable = c.DF_UNAVAILABLE,
    superseded = c.DF_SUPERSEDED,
    unsupported = c.DF_UNSUPPORTED,
    internal = c.DF_INTERNAL,
    other = c.DF_OTHER,
};

/// Fill the error with a text, as `std.fmt` makes it; returns `false`.
pub fn fail(err: [*c]Error, kind: ErrorKind, comptime format: []const u8, arguments: anytype) bool {
    return c.df_fail(err, @intFromEnum(kind), "%s", text(format, arguments).ptr);
}

/// A text that lives until the call ends.
pub fn text(comptime format: []const u8, arguments: anytype) [:0]u8 {
    return std.fmt.allocPrintSentinel(allocator, format, arguments, 0) catch @panic("out of memory");
}

/// Memory that lives until the call ends.
pub const allocator: std.mem.Allocator = .{ .ptr = undefined, .vtable = &.{
    .alloc = alloc,
    .resize = std.mem.Allocator.noResize,
    .remap = std.mem.Allocator.noRemap,
    .free = std.mem.Allocator.noFree,
} };

fn alloc(_: *anyopaque, size: usize, alignment: std.mem.Alignment, _: usize) ?[*]u8 {
    // What the SDK gives is aligned to 16 bytes.
    if (alignment.toByteUnits() > 16) return null;
    return @ptrCast(c.df_alloc(size));
}

/// A C string as a slice.
pub fn slice(string: [*c]const u8) []const u8 {
    return std.mem.span(string);
}

/// The text of a value; `null` for a value that is not a text.
pub fn textOf(value: [*c]const Value) ?[]const u8 {
    if (value == null or value.*.type != c.DF_TEXT) return null;
    return value.*.text[0..value.*.length];
}
