//go:build wasip1

package http

import (
	"time"

	wit "dataflare/internal/abi/types"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_http"
)

func send(request Request) (*Response, error) {
	timeout := wit.None[uint32]()
	if request.Timeout > 0 {
		timeout = wit.Some(uint32(max(request.Timeout/time.Millisecond, 1)))
	}
	result := dataflare_host_http.Send(dataflare_host_http.Request{
		Method: request.Method, Url: request.URL, Headers: host.Tuples(request.Headers),
		Body: host.Optional(request.Body), TimeoutMs: timeout,
	})
	if result.IsErr() {
		return nil, errorOf(result.Err())
	}
	response := result.Ok()
	return &Response{Status: int(response.Status), Headers: host.Pairs(response.Headers), Body: response.Body}, nil
}

func errorOf(err dataflare_host_http.HttpError) error {
	switch err.Tag() {
	case dataflare_host_http.HttpErrorDenied:
		return host.Errorf(host.Denied, "%s", err.Denied())
	case dataflare_host_http.HttpErrorInvalidRequest:
		return host.Errorf(host.Internal, "%s", err.InvalidRequest())
	case dataflare_host_http.HttpErrorConnectionFailed:
		return host.Errorf(host.Unavailable, "%s", err.ConnectionFailed())
	case dataflare_host_http.HttpErrorTimedOut:
		return host.Errorf(host.Unavailable, "no answer within %d ms", err.TimedOut())
	case dataflare_host_http.HttpErrorTooLarge:
		return host.Errorf(host.Other, "a request or a response has at most %d bytes", err.TooLarge())
	case dataflare_host_http.HttpErrorRateLimited:
		return &host.Error{Kind: host.RateLimited, RetryAfter: time.Duration(err.RateLimited()) * time.Millisecond}
	}
	return host.Errorf(host.Other, "%s", err.Other())
}
