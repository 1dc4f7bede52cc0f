//go:build wasip1

package dataflare

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strings"

	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/lifecycle"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_plugin_types"
)

// pluginFile is what `plugin.yaml` says of the plugin, in JSON and in hexadecimal digits; the linker gives it.
var pluginFile string

func init() {
	lifecycle.GetMetadata = getMetadata
	lifecycle.Configure = func(config string) wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return done(func() error { return configure(config) })
	}
	lifecycle.Initialize = func() wit.Result[wit.Unit, dataflare_plugin_types.Error] { return done(initialize) }
	lifecycle.Shutdown = func() wit.Result[wit.Unit, dataflare_plugin_types.Error] { return done(shutdown) }
	lifecycle.HealthCheck = healthCheck
}

func getMetadata() dataflare_plugin_types.Metadata {
	defer endCall()
	var said struct{ Name, Version, Description string }
	text, err := hex.DecodeString(pluginFile)
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		panic(fmt.Sprintf("what plugin.yaml says is damaged: %v", err))
	}
	kinds := map[host.Kind]uint8{
		host.Source:      dataflare_plugin_types.KindSource,
		host.Destination: dataflare_plugin_types.KindDestination,
		host.Processor:   dataflare_plugin_types.KindProcessor,
		host.Transformer: dataflare_plugin_types.KindTransformer,
		host.Validator:   dataflare_plugin_types.KindValidator,
	}
	if exported.kind == "" {
		panic("the plugin exports nothing: call dataflare.Export... in an init function")
	}
	return dataflare_plugin_types.Metadata{
		Name: said.Name, Version: said.Version, Description: said.Description,
		Kind: kinds[exported.kind], ConfigSchema: exported.schema(),
	}
}

func healthCheck() dataflare_plugin_types.Health {
	defer endCall()
	if message := health(); message != "" {
		return dataflare_plugin_types.Health{Status: dataflare_plugin_types.HealthStatusUnhealthy, Message: message}
	}
	return dataflare_plugin_types.Health{Status: dataflare_plugin_types.HealthStatusHealthy}
}

// done is a call that gives nothing.
func done(call func() error) wit.Result[wit.Unit, dataflare_plugin_types.Error] {
	return answer(func() (wit.Unit, error) { return wit.Unit{}, call() })
}

// answer makes a call, and gives what it gave to the host.
func answer[T any](call func() (T, error)) wit.Result[T, dataflare_plugin_types.Error] {
	defer endCall()
	return host.WitResult(call())
}

// answerBatch makes a call that gives a batch.
func answerBatch(input *dataflare_data_batches.Batch, call func(*Batch) (*Batch, error)) wit.Result[*dataflare_data_batches.Batch, dataflare_plugin_types.Error] {
	return answer(func() (*dataflare_data_batches.Batch, error) {
		batch, err := call(newBatch(host.WrapBatch(input)))
		if err != nil {
			return nil, err
		}
		return host.HandleOf(batch.take()), nil
	})
}

// endCall gives back what belonged to a call, or says what ended it, and ends the plugin.
func endCall() {
	if reason := recover(); reason != nil {
		host.Log(host.Failure, told(reason), nil)
		os.Exit(2)
	}
	release()
	host.LetGo()
}

// told says what a panic was about, with the places in the code of the plugin, the innermost first.
func told(reason any) string {
	text := fmt.Sprint(reason)
	if err, is := reason.(error); is {
		text = err.Error()
	}
	places := make([]uintptr, 64)
	frames := runtime.CallersFrames(places[:runtime.Callers(3, places)])
	var lines []string
	for {
		frame, more := frames.Next()
		if place := placeOf(frame); place != "" {
			lines = append(lines, place)
		}
		if !more {
			break
		}
	}
	if len(lines) == 0 {
		return "panic: " + text
	}
	return fmt.Sprintf("%s: panic: %s\n%s", strings.Fields(lines[0])[0], text, strings.Join(lines, "\n"))
}

// placeOf is a place in the code of the plugin, or of a module that it uses.
func placeOf(frame runtime.Frame) string {
	first, _, _ := strings.Cut(frame.Function, "/")
	isPlugins := strings.HasPrefix(frame.Function, "main.") || strings.HasPrefix(frame.Function, mainModule())
	// Go's own packages have no dot there, and no slash or none before it.
	if !isPlugins && (!strings.Contains(frame.Function, "/") || !strings.Contains(first, ".")) {
		return ""
	}
	name := frame.Function[strings.LastIndex(frame.Function, "/")+1:]
	return fmt.Sprintf("%s:%d in %s", path.Base(frame.File), frame.Line, name)
}

func mainModule() string {
	if info, known := debug.ReadBuildInfo(); known && info.Main.Path != "" {
		return info.Main.Path
	}
	return "main."
}
