package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
)

// flows are the flows that can be drawn.
func flows() map[string]func() (string, error) {
	return map[string]func() (string, error){"team.reconcile": reconcile.Mermaid, "team.audit": audit.Mermaid}
}

func (a *app) flow() *cobra.Command {
	return group("flow", "Show how runs and audits go", a.flowGraph())
}

func (a *app) flowGraph() *cobra.Command {
	var embed string
	cmd := &cobra.Command{
		Use:   "graph [FLOW]",
		Short: "Draw the flow of team.reconcile, or of team.audit, as a Mermaid diagram",
		Example: `  nthlayer flow graph
  nthlayer flow graph team.audit --embed docs/architecture.md`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: slices.Sorted(maps.Keys(flows())),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "team.reconcile"
			if len(args) > 0 {
				name = args[0]
			}
			diagram, err := flows()[name]()
			if err != nil {
				return err
			}
			if embed == "" {
				_, err = fmt.Fprint(a.Out, diagram)
				return err
			}
			return embedDiagram(embed, name, diagram)
		},
	}
	cmd.Flags().StringVar(&embed, "embed", "", "put the diagram into this `file`, between its marker lines")
	must(cmd.MarkFlagFilename("embed", "md"))
	return cmd
}

// embedDiagram puts the diagram between two lines of a document that name the flow.
func embedDiagram(path, flow, diagram string) error {
	diagramBegins, diagramEnds := "<!-- begin: flow "+flow+" -->\n", "<!-- end: flow "+flow+" -->\n"
	document, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("embed the diagram: %w", err)
	}
	before, rest, begins := bytes.Cut(document, []byte(diagramBegins))
	_, after, ends := bytes.Cut(rest, []byte(diagramEnds))
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q to put the diagram between", path, diagramBegins, diagramEnds)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s```mermaid\n%s```\n%s%s", before, diagramBegins, diagram, diagramEnds, after)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("embed the diagram: %w", err)
	}
	return nil
}
