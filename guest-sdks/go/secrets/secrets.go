// Package secrets gives secrets, by the names that the operator granted: list `secrets` under `needs` in `plugin.yaml`.
package secrets

// Get gives a secret as it is now. Ask again rather than keep it.
func Get(name string) (string, error) { return get(name) }
