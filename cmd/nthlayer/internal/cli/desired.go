package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const maxDesiredBytes = 4 << 20

func desiredFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "desired", "", "YAML or JSON `file` with the ownership to use instead of the catalogue's (- for stdin)")
	must(cmd.MarkFlagFilename("desired", "yaml", "yml", "json"))
}

// readDesired reads an ownership in the API's own words; nil where no file is named.
func readDesired(path string) (*nthlayerv1.Desired, error) {
	if path == "" {
		return nil, nil
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("read the desired ownership: %w", err)
		}
		defer file.Close()
	}
	content, err := io.ReadAll(io.LimitReader(file, maxDesiredBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the desired ownership: %w", err)
	}
	if len(content) > maxDesiredBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxDesiredBytes>>20)
	}
	// YAML contains JSON, and the API's decoder knows which fields there are.
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, fmt.Errorf("%s is neither YAML nor JSON: %w", path, err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	desired := &nthlayerv1.Desired{}
	if err := protojson.Unmarshal(asJSON, desired); err != nil {
		return nil, fmt.Errorf("%s is not an ownership (name, description, members: [{email, role}]): %w", path, err)
	}
	return desired, nil
}
