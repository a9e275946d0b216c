package config

import "log/slog"

const redacted = "[redacted]"

// Secret is a value that is never printed: fmt, JSON, YAML and slog all show "[redacted]", also where the secret sits
// deep inside another struct. Reveal is the only way to the value.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal gives the value. Call it where the value is used, not before.
func (s Secret) Reveal() string { return s.value }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

// UnmarshalText reads the value from the environment.
func (s *Secret) UnmarshalText(text []byte) error { s.value = string(text); return nil }

// MarshalText hides the value from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// String hides the value from %v and %s.
func (s Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (s Secret) GoString() string { return redacted }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
