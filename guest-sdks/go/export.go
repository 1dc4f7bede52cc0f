package dataflare

import "dataflare/internal/host"

// Initializer is a plugin of any kind that prepares for work: it opens files, or connects. Called once, after the
// configuration.
type Initializer interface {
	Initialize() error
}

// Shutdowner is a plugin of any kind that releases something at the end. Called once.
type Shutdowner interface {
	Shutdown() error
}

// HealthReporter is a plugin of any kind that says what is wrong with it, for the operator; empty if nothing is.
type HealthReporter interface {
	Health() string
}

// exported is what the plugin's init function has exported.
var exported struct {
	kind   host.Kind
	schema func() string
	// configure makes the plugin anew; use is it, as the exports of its kind see it.
	configure func(config string) (plugin, use any, err error)
}

// current is the configured plugin.
var current struct{ plugin, use any }

func export[C, P, U any](kind host.Kind, make func(C) (P, error), use func(P) U) {
	if exported.kind != "" {
		panic("a plugin is exported once")
	}
	exported.kind = kind
	exported.schema = schemaOf[C]
	exported.configure = func(text string) (any, any, error) {
		config, err := ParseConfig[C](text)
		if err != nil {
			return nil, nil, err
		}
		plugin, err := make(config)
		if err != nil {
			return nil, nil, err
		}
		return plugin, use(plugin), nil
	}
}

func configure(text string) error {
	current.plugin, current.use = nil, nil
	plugin, use, err := exported.configure(text)
	if err == nil {
		current.plugin, current.use = plugin, use
	}
	return err
}

func initialize() error {
	if current.plugin == nil {
		return notConfigured()
	}
	if own, is := current.plugin.(Initializer); is {
		return own.Initialize()
	}
	return nil
}

func shutdown() error {
	if own, is := current.plugin.(Shutdowner); is {
		return own.Shutdown()
	}
	return nil
}

func health() string {
	if own, is := current.plugin.(HealthReporter); is {
		return own.Health()
	}
	return ""
}

func notConfigured() error { return Unsupported("`configure` comes first") }

// used gives the configured plugin to a call of its kind.
func used[U any]() (U, error) {
	use, is := current.use.(U)
	if !is {
		return use, notConfigured()
	}
	return use, nil
}
