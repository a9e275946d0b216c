package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) delivery() *cobra.Command {
	return group("delivery", "Show what was told to whom, and tell it again", a.deliveryList(), a.deliveryResend())
}

func (a *app) deliveryList() *cobra.Command {
	req := &nthlayerv1.ListDeliveriesRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List deliveries, newest first",
		Example: "  nthlayer delivery list --status failed",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				deliveries, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListDeliveriesResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Deliveries.ListDeliveries(cmd.Context(), req)
				}, (*nthlayerv1.ListDeliveriesResponse).GetDeliveries)
				if err != nil {
					return err
				}
				a.sayMore(len(deliveries), next)
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListDeliveriesResponse{Deliveries: deliveries, NextPageToken: next})
				}
				return output.ShowDeliveries(a.Out, a.Now(), deliveries)
			})
		},
	}
	cmd.Flags().StringVar(&req.JobId, "job", "", "only deliveries of this run")
	cmd.Flags().StringVar(&req.Status, "status", "", "only deliveries that are pending, delivered or failed")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"pending", "delivered", "failed"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) deliveryResend() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resend KEY",
		Short:   "Send a delivery that failed once more",
		Long:    "Send a delivery that failed once more. One that was delivered is refused: nobody is told twice.",
		Example: "  nthlayer delivery resend \"$(nthlayer delivery list --status failed -o json | jq -r '.deliveries[0].delivery_key')\"",
		Args:    one("the delivery's key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				delivery, err := api.Deliveries.ResendDelivery(cmd.Context(), &nthlayerv1.ResendDeliveryRequest{DeliveryKey: args[0]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), delivery)
				}
				fmt.Fprintf(a.Out, "%s is %s\n", output.Line(delivery.GetDeliveryKey()), output.Line(delivery.GetStatus()))
				return nil
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}
