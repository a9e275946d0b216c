package controls

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// The trail is provable: who rules the database rewrites a finding, and everything that is shown of it.
func TestPromise_TrailIsProvable(t *testing.T) {
	exit, said := rewritten(t)
	require.Equal(t, 1, exit, said)
	require.Contains(t, said, "trail broken at entry 1: its content was changed")
}

func TestControl_WithoutChain_ARewrittenTrailHolds(t *testing.T) {
	exit, said := rewritten(t, seam.Chain)
	require.Zero(t, exit, said)
	require.Contains(t, said, "The trail holds: 2 entries, none changed")
}

// rewritten is what `nthlayer trail verify` says of a trail in which a change that was made was not made.
func rewritten(t *testing.T, off ...string) (exit int, said string) {
	o := organisation(1)
	o.PagerDuty.Teams[tag(0)] = org.TeamDrift{Missing: []string{person(1), person(2)}}
	r := start(t, setup{org: o, off: off})
	require.Equal(t, store.Succeeded, r.reconcile(tag(0)).GetStatus())
	exit, said = r.command("trail", "verify")
	require.Zero(t, exit, said)
	do(t, r.connect(), `
		ALTER TABLE findings DISABLE TRIGGER USER;
		UPDATE findings SET outcome = 'failed', content = replace(content, '"outcome":"applied"', '"outcome":"failed"') WHERE seq = 1;
		ALTER TABLE findings ENABLE TRIGGER USER`)
	return r.command("trail", "verify")
}

// command runs nthlayer.
func (r *rig) command(args ...string) (exit int, said string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "nthlayer"), args...)
	cmd.Env = append(os.Environ(), "NTHLAYER_ADDR="+r.info.GRPC, "NTHLAYER_TOKEN="+r.info.Token, "NTHLAYER_PLAINTEXT=1", r.seams)
	out, err := cmd.CombinedOutput()
	if exited := (&exec.ExitError{}); !errors.As(err, &exited) {
		require.NoError(r.t, err, string(out))
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Nobody is told twice, everybody is told: Slack takes a message, and its answer is lost.
func TestPromise_NobodyIsToldTwice(t *testing.T) {
	require.Equal(t, 1, answerLost(t))
}

func TestControl_WithoutLookUp_SomebodyIsToldTwice(t *testing.T) {
	require.Equal(t, 2, answerLost(t, seam.LookUp))
}

// answerLost counts the messages on Slack when the one delivery that there is has been delivered.
func answerLost(t *testing.T, off ...string) (messages int) {
	o := organisation(1)
	o.PagerDuty.Teams[tag(0)] = org.TeamDrift{Missing: []string{person(1)}}
	r := start(t, setup{org: o, off: off})
	require.NoError(t, r.slack.Control().Inject(control.Fault{Match: "POST /api/chat.postMessage", Drop: true, After: true, Times: 1}))
	require.Equal(t, store.Succeeded, r.reconcile(tag(0)).GetStatus())
	conn := r.connect()
	until(t, "the delivery waits for another attempt", holds(t, conn,
		"SELECT attempts = 1 AND EXISTS (SELECT FROM outbox WHERE body ? 'delivery_key' AND available_at > now()) FROM deliveries"))
	require.Equal(t, 1, r.messages())
	// The notifier waits for 35 s, in which the first attempt may still act, and has no setting for that: the time is made to
	// have passed.
	do(t, conn, "UPDATE deliveries SET attempted_at = attempted_at - interval '1 minute'; UPDATE outbox SET available_at = now()")
	until(t, "it is delivered", holds(t, conn, "SELECT status = 'delivered' FROM deliveries"))
	return r.messages()
}

// messages counts what was posted on Slack.
func (r *rig) messages() (posted int) {
	for _, c := range r.slack.Control().Calls().Calls {
		if c.Write && c.Effect != "" {
			posted++
		}
	}
	return posted
}
