package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func (a *app) migrate() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to the schema of this version",
		Long: `Bring the database of NTHLAYER_DATABASE_URL to the schema of this version. Run it before the services of the version;
they refuse to start on another schema. Several at once wait for each other, and a second run changes nothing.`,
		Example: "  NTHLAYER_DATABASE_URL=postgres://nthlayer@db.internal:5432/nthlayer nthlayer migrate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url := connection.Getenv(a.Environ, "NTHLAYER_DATABASE_URL")
			if url == "" {
				return errors.New("NTHLAYER_DATABASE_URL is not set: it names the database, for example postgres://user:password@host:5432/nthlayer")
			}
			version, err := store.Migrate(cmd.Context(), config.NewSecret(url))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "the database has schema version %d\n", version)
			return nil
		},
	}
}
