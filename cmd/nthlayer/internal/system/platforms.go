package system

import "context"

func (s *System) startCortex(context.Context, *ports) error    { return nil }
func (s *System) startPagerDuty(context.Context, *ports) error { return nil }
func (s *System) startSlack(context.Context, *ports) error     { return nil }
