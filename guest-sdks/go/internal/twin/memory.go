//go:build !wasip1

// Package twin is the host in memory: what unit tests of plugins run against.
package twin

// Event is something that was logged.
type Event struct {
	Level   uint8
	Message string
	Fields  map[string]string
}

// Memory is what the host holds.
type Memory struct {
	Cancelled bool
	Events    []Event
	Figures   map[string]float64
	Files     map[string][]byte
	Requests  []Request
	Responses map[string]Response
	Secrets   map[string]string
	Shared    map[string]any
	State     map[string][]byte
}

// Request is one that the plugin sent.
type Request struct {
	Method, URL string
	Headers     [][2]string
	Body        []byte
}

// Response is what a test answers to a request.
type Response struct {
	Status int
	Body   []byte
}

// Host is the host of this process. Tests that run in parallel share it.
var Host = New()

// New makes an empty one.
func New() *Memory {
	return &Memory{
		Figures: map[string]float64{}, Files: map[string][]byte{}, Responses: map[string]Response{},
		Secrets: map[string]string{}, Shared: map[string]any{}, State: map[string][]byte{},
	}
}
