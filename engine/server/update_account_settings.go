package server

import "context"

type updateAccountSettingsInput struct {
	MinimumThroughputBillingCommitment *struct {
		Status string `wire:"required,enum=ENABLED|DISABLED"`
	} `wire:"required"`
}

// updateAccountSettings commits the account to a minimum of throughput, or
// ends that. Nobody pays for anything here; it is what warm throughput and more
// consumers ask for.
func (s *Server) updateAccountSettings(ctx context.Context, in *updateAccountSettingsInput) (*accountSettingsOutput, error) {
	if err := s.pace(5, "UpdateAccountSettings"); err != nil {
		return nil, err
	}
	var out accountSettingsOutput
	err := s.change(ctx, func(_ context.Context, c *change) error {
		if in.MinimumThroughputBillingCommitment.Status == commitmentEnabled {
			c.Account.Commit(c.now)
		} else {
			c.Account.EndCommitment(c.now)
		}
		out.MinimumThroughputBillingCommitment = commitmentShape(c.Account, c.now)
		return c.Save(c.now)
	})
	return &out, err
}
