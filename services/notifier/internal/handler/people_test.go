package handler_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	slacksim "github.com/nthlayer/nthlayer/pkg/simulator/slack"
	"github.com/nthlayer/nthlayer/pkg/slack"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/handler"
)

// workspace is a simulated Slack with somebody of each kind, and the handler over it.
func workspace(t *testing.T) (*handler.Deliveries, *slacksim.Server) {
	sim := slacksim.New(slacksim.Options{Token: "xoxb-1"})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	for _, user := range []string{
		`{"email":"ann@example.org"}`,
		`{"email":"bot@example.org","is_bot":true}`,
		`{"email":"gone@example.org","deleted":true}`,
		`{"email":"guest@example.org","is_restricted":true}`,
		`{"email":"single@example.org","is_ultra_restricted":true}`,
		`{"email":"stranger@example.org","is_stranger":true}`,
		`{"email":"elsewhere@example.org","team_id":"T0ELSEWHERE"}`,
		`{"email":"claimed@example.org","email_unconfirmed":true}`,
		`{"email":"hidden@example.org","email_hidden":true}`,
	} {
		response, err := server.Client().Post(server.URL+"/_control/users", "application/json", strings.NewReader(user))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 204, response.StatusCode, user)
	}
	return &handler.Deliveries{Slack: slack.New(slack.Config{
		BaseURL: server.URL + "/api/", Token: config.NewSecret("xoxb-1"), HTTP: server.Client(),
	})}, sim
}

func TestIdentifySlackUser_OnlyWhomTheWorkspaceVouchesFor(t *testing.T) {
	d, sim := workspace(t)
	got, err := d.IdentifySlackUser(t.Context(), &internalv1.IdentifySlackUserRequest{UserId: sim.UserID("ann@example.org"), TeamId: "T0EXAMPLE"})
	require.NoError(t, err)
	require.Equal(t, "ann@example.org", got.GetEmail())

	for who, says := range map[string]string{
		"bot": "bots", "gone": "deactivated", "guest": "guests", "single": "guests", "stranger": "guests",
		"elsewhere": "another workspace", "claimed": "not confirmed", "hidden": "e-mail address",
	} {
		_, err := d.IdentifySlackUser(t.Context(), &internalv1.IdentifySlackUserRequest{UserId: sim.UserID(who + "@example.org"), TeamId: "T0EXAMPLE"})
		require.Equal(t, fault.PermissionDenied, fault.KindOf(err), who)
		require.Equal(t, "SLACK_USER_REFUSED", fault.ReasonOf(err), who)
		require.Contains(t, err.Error(), says, who)
	}
	_, err = d.IdentifySlackUser(t.Context(), &internalv1.IdentifySlackUserRequest{UserId: sim.UserID("ann@example.org"), TeamId: "T0ELSEWHERE"})
	require.Equal(t, fault.PermissionDenied, fault.KindOf(err), "pressed in another workspace")
	_, err = d.IdentifySlackUser(t.Context(), &internalv1.IdentifySlackUserRequest{UserId: "U0NOBODY", TeamId: "T0EXAMPLE"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestIdentifySlackUser_SlackDoesNotSay_IsNobody(t *testing.T) {
	d, sim := workspace(t)
	for _, c := range []struct {
		fault  control.Fault
		reason string
	}{
		{control.Fault{Match: "POST /api/users.info", Times: 1, Body: json.RawMessage(`{"ok":false,"error":"missing_scope"}`)}, "SLACK_MISSING_SCOPE"},
		{control.Fault{Match: "POST /api/users.info", Times: 1, Truncate: 20}, "SLACK_UNAVAILABLE"},
		{control.Fault{Match: "POST /api/users.info", Times: 1, Body: json.RawMessage(`{"ok":true,"user":{"id":"U0OTHER","team_id":"T0EXAMPLE","profile":{"email":"root@example.org"}}}`)}, "SLACK_UNAVAILABLE"},
		{control.Fault{Match: "POST /api/auth.test", Times: 1, Body: json.RawMessage(`{"ok":true}`)}, "SLACK_UNAVAILABLE"},
	} {
		require.NoError(t, sim.Control().Inject(c.fault))
		_, err := d.IdentifySlackUser(t.Context(), &internalv1.IdentifySlackUserRequest{UserId: sim.UserID("ann@example.org"), TeamId: "T0EXAMPLE"})
		require.Equal(t, c.reason, fault.ReasonOf(err), "%v", err)
	}
}

func TestWhisperOnSlack_OnePersonSeesItAndItMentionsNobody(t *testing.T) {
	d, sim := workspace(t)
	ann := sim.UserID("ann@example.org")
	_, err := d.WhisperOnSlack(t.Context(), &internalv1.WhisperOnSlackRequest{Channel: "C0OWNERSHIP", UserId: ann, Text: "<!channel> may not & more"})
	require.NoError(t, err)
	state, err := json.Marshal(sim.State())
	require.NoError(t, err)
	var said struct {
		Messages  []any `json:"messages"`
		Ephemeral []struct{ User, Text string }
	}
	require.NoError(t, json.Unmarshal(state, &said))
	require.Empty(t, said.Messages)
	require.Len(t, said.Ephemeral, 1)
	require.Equal(t, ann, said.Ephemeral[0].User)
	require.Equal(t, "&lt;!channel&gt; may not &amp; more", said.Ephemeral[0].Text)
	_, err = d.WhisperOnSlack(t.Context(), &internalv1.WhisperOnSlackRequest{Channel: "C0OWNERSHIP", UserId: "U0NOBODY", Text: "x"})
	require.Equal(t, "SLACK_USER_NOT_IN_CHANNEL", fault.ReasonOf(err))
}
