package interactions

import (
	"context"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Listed are principals by their e-mail addresses, as a setting lists them: "ann@example.org=ann". The name is the subject of
// the person's tokens, so that somebody who asks by a token and approves by a button is one person.
type Listed map[string]auth.Principal

// List reads the setting.
func List(entries []string) (Listed, error) {
	all := Listed{}
	for _, entry := range entries {
		email, subject, ok := strings.Cut(entry, "=")
		email, subject = address(email), strings.TrimSpace(subject)
		if !ok || subject == "" || !strings.Contains(email, "@") {
			return nil, fault.Field("NTHLAYER_SLACK_APPROVERS", "must list address=subject, separated by commas; the subject is that of the person's tokens")
		}
		if _, twice := all[email]; twice {
			return nil, fault.Field("NTHLAYER_SLACK_APPROVERS", "names "+email+" twice")
		}
		all[email] = auth.Principal{Subject: subject, ClientID: "slack", Groups: []string{"nthlayer-" + auth.Approver}}
	}
	return all, nil
}

// ByEmail implements Principals.
func (l Listed) ByEmail(_ context.Context, email string) (auth.Principal, error) {
	if p, ok := l[address(email)]; ok {
		return p, nil
	}
	return auth.Principal{}, fault.New(fault.NotFound,
		"your e-mail address on Slack is not that of somebody who may approve; an administrator adds it to NTHLAYER_SLACK_APPROVERS", nil).
		WithReason("SLACK_USER_UNKNOWN")
}

func address(text string) string { return strings.ToLower(strings.TrimSpace(text)) }
