package cli

import (
	"bytes"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/pkg/reconcile"
)

// The diagram in a document stands between these two lines.
const (
	diagramBegins = "<!-- begin: nthlayer flow graph -->\n"
	diagramEnds   = "<!-- end: nthlayer flow graph -->\n"
)

func (a *app) flow() *cobra.Command { return group("flow", "Show how a run goes", a.flowGraph()) }

func (a *app) flowGraph() *cobra.Command {
	var embed string
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw the flow of team.reconcile as a Mermaid diagram",
		Example: `  nthlayer flow graph
  nthlayer flow graph --embed docs/architecture.md`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			diagram, err := reconcile.Mermaid()
			if err != nil {
				return err
			}
			if embed == "" {
				_, err = fmt.Fprint(a.Out, diagram)
				return err
			}
			return embedDiagram(embed, diagram)
		},
	}
	cmd.Flags().StringVar(&embed, "embed", "", "put the diagram into this `file`, between its marker lines")
	must(cmd.MarkFlagFilename("embed", "md"))
	return cmd
}

func embedDiagram(path, diagram string) error {
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
