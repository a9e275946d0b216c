package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is how scripts get the answer.
type Format string

// The formats of -o. Table is for people.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats lists the formats for help texts and completion.
func Formats() []string { return []string{string(Table), string(JSON), string(YAML)} }

// Encode writes a message with the names of the API, every field present: a script need not know which are empty.
func Encode(w io.Writer, format Format, m proto.Message) error {
	compact, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return encode(w, format, compact)
}

// EncodeValue writes what is no message of the API's.
func EncodeValue(w io.Writer, format Format, v any) error {
	compact, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return encode(w, format, compact)
}

func encode(w io.Writer, format Format, compact []byte) error {
	// protojson spaces its output at random, so that nobody relies on it; scripts may.
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	out.WriteByte('\n')
	if format == YAML {
		return encodeYAML(w, out.Bytes())
	}
	_, err := w.Write(out.Bytes())
	return err
}

// encodeYAML turns JSON into YAML. JSON is YAML, so reading it as such keeps the order of the fields.
func encodeYAML(w io.Writer, content []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return fmt.Errorf("encode the answer as YAML: %w", err)
	}
	blockStyle(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("encode the answer as YAML: %w", err)
	}
	return enc.Close()
}

// blockStyle drops JSON's brackets and quotes; the encoder quotes again what needs it.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}
