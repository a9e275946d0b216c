package cli

import (
	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) upstream() *cobra.Command {
	return group("upstream", "Show how the platforms are doing", a.upstreamStatus())
}

func (a *app) upstreamStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show breakers and quotas, as each process sees them",
		Long: `Show each platform as each process that calls it sees it: whether its breaker lets calls through, what quota the
credential has, how many calls could be made at once, and whether the quota is shared by all processes or, while Redis is
away, each keeps to its own share.`,
		Example: "  nthlayer upstream status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.Upstreams.ListUpstreams(cmd.Context(), &nthlayerv1.ListUpstreamsRequest{})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), list)
				}
				return output.ShowUpstreams(a.Out, a.Now(), list.GetUpstreams())
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}
