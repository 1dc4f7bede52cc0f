package dataflare

import (
	"context"
	"log/slog"

	"dataflare/internal/host"
)

// The logger of log/slog is the host's: slog.Info("read", "pages", 3) reaches the operator. So does what is printed, line by
// line.
func init() { slog.SetDefault(slog.New(&logHandler{})) }

// LevelTrace is for every step, to find a fault.
const LevelTrace = slog.LevelDebug - 4

type logHandler struct {
	fields []host.Pair
	prefix string
}

func levelOf(level slog.Level) host.Level {
	switch {
	case level >= slog.LevelError:
		return host.Failure
	case level >= slog.LevelWarn:
		return host.Warn
	case level >= slog.LevelInfo:
		return host.Info
	case level >= slog.LevelDebug:
		return host.Debug
	}
	return host.Trace
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return host.IsLogged(levelOf(level))
}

func (h *logHandler) Handle(_ context.Context, record slog.Record) error {
	fields := h.fields[:len(h.fields):len(h.fields)]
	record.Attrs(func(attribute slog.Attr) bool {
		fields = appendField(fields, h.prefix, attribute)
		return true
	})
	host.Log(levelOf(record.Level), record.Message, fields)
	return nil
}

func (h *logHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	made := &logHandler{fields: h.fields[:len(h.fields):len(h.fields)], prefix: h.prefix}
	for _, attribute := range attributes {
		made.fields = appendField(made.fields, h.prefix, attribute)
	}
	return made
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{fields: h.fields, prefix: h.prefix + name + "."}
}

func appendField(fields []host.Pair, prefix string, attribute slog.Attr) []host.Pair {
	value := attribute.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attribute.Key != "" {
			prefix += attribute.Key + "."
		}
		for _, each := range value.Group() {
			fields = appendField(fields, prefix, each)
		}
		return fields
	}
	return append(fields, host.Pair{Key: prefix + attribute.Key, Value: value.String()})
}
