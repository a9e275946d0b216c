package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/nthlayer/nthlayer/pkg/rpc/apijson"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const maxDesiredBytes = 4 << 20

const desiredExample = `  it should look like this:
    name: Payments
    members:
      - {email: ada@example.org, role: manager}`

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
	desired, err := parseDesired(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", path, err, desiredExample)
	}
	return desired, nil
}

// parseDesired: YAML contains JSON, and the API's decoder knows which fields there are.
func parseDesired(content []byte) (*nthlayerv1.Desired, error) {
	var tree any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, fmt.Errorf("it is neither YAML nor JSON: %w", err)
	}
	if tree == nil {
		return nil, errors.New("it is empty")
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, errors.New("every name of a field must be text")
	}
	desired := &nthlayerv1.Desired{}
	return desired, apijson.Unmarshal(raw, desired)
}
