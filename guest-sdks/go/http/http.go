// Package http sends requests to the origins that the operator granted: list `http` under `needs` in `plugin.yaml`.
package http

import (
	"time"

	"dataflare/internal/host"
)

// Header is a name with a value.
type Header = host.Pair

// Request is a request. Its method is GET if it says none.
type Request struct {
	Method  string
	URL     string
	Headers []Header
	// Body is nil for a request without one.
	Body []byte
	// Timeout is until the response has ended; 0 takes the operator's limit.
	Timeout time.Duration
}

// Response is a complete response; its headers have names in lower case.
type Response struct {
	Status  int
	Headers []Header
	Body    []byte
}

// Header gives the first value of a header, by its name in lower case; empty if there is none.
func (r *Response) Header(name string) string {
	for _, header := range r.Headers {
		if header.Key == name {
			return header.Value
		}
	}
	return ""
}

// Send sends a request and waits for its response. A response with any status is a response, not an error.
func Send(request Request) (*Response, error) {
	if request.Method == "" {
		request.Method = "GET"
	}
	return send(request)
}

// Get sends a GET.
func Get(url string) (*Response, error) { return Send(Request{URL: url}) }
