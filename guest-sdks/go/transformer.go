package dataflare

// Transformer changes batches.
type Transformer interface {
	// Transform returns the batch, changed.
	Transform(batch *Batch) (*Batch, error)
}

// SchemaTransformer is a [Transformer] that says by itself which columns its result has. Those of others are found by
// transforming a batch without rows.
type SchemaTransformer interface {
	OutputSchema(input Schema) (Schema, error)
}

func outputSchema(plugin Transformer, input Schema) (Schema, error) {
	if own, is := plugin.(SchemaTransformer); is {
		return own.OutputSchema(input)
	}
	empty, err := FromJSONLines("", &input)
	if err != nil {
		return Schema{}, err
	}
	made, err := plugin.Transform(empty)
	if err != nil {
		return Schema{}, err
	}
	return made.Schema(), nil
}
