package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// withAPI runs f with a connection to the system that the flags, the environment or a running `nthlayer dev` name.
func (a *app) withAPI(f func(*client.Client) error) error {
	api, err := connection.Open(a.settings)
	if err != nil {
		return err
	}
	return errors.Join(f(api), api.Close())
}

// completeTeams offers the teams the system knows.
func (a *app) completeTeams(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	err := a.withAPI(func(api *client.Client) error {
		resp, err := api.Teams.ListTeams(cmd.Context(), &nthlayerv1.ListTeamsRequest{PageSize: 1000, Query: typed})
		for _, team := range resp.GetTeams() {
			found = append(found, cobra.CompletionWithDesc(team.GetTeamId(), team.GetName()))
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// one asks for one argument and says what it is.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return fmt.Errorf("%s takes one argument, %s, and got %d; see %s --help", cmd.CommandPath(), what, len(args), cmd.CommandPath())
	}
}
