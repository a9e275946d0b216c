package progress_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/progress"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// audits are given one a second, of the clock of synctest.
func audits(list []*nthlayerv1.Audit, end error) progress.Audits {
	return func(yield func(*nthlayerv1.Audit, error) bool) {
		for _, a := range list {
			if !yield(a, nil) {
				return
			}
			time.Sleep(time.Second)
		}
		if end != nil {
			yield(nil, end)
		}
	}
}

// standing is an audit of 40 teams of which some are done.
func standing(phase string, done int32, more ...func(*nthlayerv1.Audit)) *nthlayerv1.Audit {
	a := &nthlayerv1.Audit{Status: "running", Progress: &nthlayerv1.AuditProgress{Phase: phase, TeamsDone: done}}
	if phase == "teams" || phase == "ended" {
		a.Progress.TeamsTotal, a.Progress.ReadsTotal, a.Progress.ReadsDone = 40, 10, done/4
		a.Progress.CortexCalls, a.Progress.PagerdutyCalls = 3, 5+done
	}
	for _, change := range more {
		change(a)
	}
	return a
}

func doneIn(d time.Duration) func(*nthlayerv1.Audit) {
	return func(a *nthlayerv1.Audit) { a.Progress.DoneBy = timestamppb.New(time.Now().Add(d)) }
}

func with(status string) func(*nthlayerv1.Audit) {
	return func(a *nthlayerv1.Audit) { a.Status = status }
}

// frames are what stood on the terminal one after the other, without colours.
func frames(out string) [][]string {
	var all [][]string
	var screen []string
	line := 0
	for part := range strings.SplitSeq(strings.ReplaceAll(out, "\r\x1b[2K", ""), "\n") {
		for _, up := range []string{"\x1b[1A", "\x1b[2A"} {
			if rest, ok := strings.CutPrefix(part, up); ok {
				all = append(all, append([]string{}, screen...))
				line, part = line-int(up[2]-'0'), rest
			}
		}
		if part = ansi.Strip(part); part == "" {
			continue
		}
		screen = append(screen[:line:line], append([]string{part}, screen[min(line+1, len(screen)):]...)...)
		line++
	}
	return append(all, screen)
}

func TestShowAudit_NoTerminal_OneLineAPhaseAndATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*nthlayerv1.Audit{
			standing("waiting", 0), standing("snapshot", 0), standing("snapshot", 0), standing("scan", 0), standing("teams", 0, doneIn(200*time.Second)),
		}
		for done := int32(1); done < 40; done++ {
			list = append(list, standing("teams", done))
		}
		list = append(list, standing("ended", 40, with("succeeded")))
		var out bytes.Buffer
		ended, err := progress.ShowAudit(t.Context(), &out, 0, audits(list, nil))
		require.NoError(t, err)
		require.Equal(t, "succeeded", ended.GetStatus())
		require.Equal(t, strings.TrimPrefix(`
00:00:00.000  waiting
00:00:01.000  reading both platforms' lists
00:00:03.000  handing out teams
00:00:04.000  comparing teams: 0/40 teams, 0%, 0/10 read from PagerDuty, calls: 3 Cortex, 5 PagerDuty, done in about 3m 16s
00:00:08.000  comparing teams: 4/40 teams, 10%, 1/10 read from PagerDuty, calls: 3 Cortex, 9 PagerDuty
00:00:12.000  comparing teams: 8/40 teams, 20%, 2/10 read from PagerDuty, calls: 3 Cortex, 13 PagerDuty
00:00:16.000  comparing teams: 12/40 teams, 30%, 3/10 read from PagerDuty, calls: 3 Cortex, 17 PagerDuty
00:00:20.000  comparing teams: 16/40 teams, 40%, 4/10 read from PagerDuty, calls: 3 Cortex, 21 PagerDuty
00:00:24.000  comparing teams: 20/40 teams, 50%, 5/10 read from PagerDuty, calls: 3 Cortex, 25 PagerDuty
00:00:28.000  comparing teams: 24/40 teams, 60%, 6/10 read from PagerDuty, calls: 3 Cortex, 29 PagerDuty
00:00:32.000  comparing teams: 28/40 teams, 70%, 7/10 read from PagerDuty, calls: 3 Cortex, 33 PagerDuty
00:00:36.000  comparing teams: 32/40 teams, 80%, 8/10 read from PagerDuty, calls: 3 Cortex, 37 PagerDuty
00:00:40.000  comparing teams: 36/40 teams, 90%, 9/10 read from PagerDuty, calls: 3 Cortex, 41 PagerDuty
00:00:44.000  succeeded: 40/40 teams, 100%, 10/10 read from PagerDuty, calls: 3 Cortex, 45 PagerDuty
`, "\n"), out.String())
	})
}

func TestShowAudit_Terminal_DrawsABarInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		_, err := progress.ShowAudit(t.Context(), &out, 78, audits([]*nthlayerv1.Audit{
			standing("snapshot", 0), standing("teams", 10, doneIn(time.Hour+2*time.Second)), standing("ended", 40, with("succeeded")),
		}, nil))
		require.NoError(t, err)
		shown := frames(out.String())
		require.Equal(t, []string{"  ⠋ reading both platforms' lists"}, shown[0])
		require.Greater(t, len(shown), 20, "it moves between two states")
		require.Equal(t, []string{
			"  ⠙ comparing teams               ██████░░░░░░░░░░░░░░░░░░░░  25%  10/40 teams",
			"    2/10 read from PagerDuty, calls: 3 Cortex, 15 PagerDuty, done in about 1h",
		}, shown[slices.IndexFunc(shown, func(f []string) bool { return strings.HasPrefix(f[0], "  ⠙ comparing") })])
		require.Equal(t, []string{
			"  ✓ compared                      ██████████████████████████ 100%  40/40 teams",
			"    10/10 read from PagerDuty, calls: 3 Cortex, 45 PagerDuty",
		}, shown[len(shown)-1])
	})
}

func TestShowAudit_NarrowTerminal_KeepsTheNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, width := range []int{1, 20, 37, 55, 56, 80, 200} {
			var out bytes.Buffer
			_, err := progress.ShowAudit(t.Context(), &out, width, audits([]*nthlayerv1.Audit{
				standing("teams", 10, doneIn(time.Hour)), standing("ended", 40, with("incomplete")),
			}, nil))
			require.NoError(t, err)
			for _, frame := range frames(out.String()) {
				for _, line := range frame {
					require.LessOrEqual(t, ansi.StringWidth(line), width)
				}
			}
			if width >= 37 {
				require.Contains(t, out.String(), "10/40 teams")
			}
			require.Equal(t, width >= 56, strings.Contains(out.String(), "█"), width)
		}
	})
}

func TestShowAudit_StreamBreaks_SaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("connection lost")
		for _, width := range []int{0, 80} {
			_, err := progress.ShowAudit(t.Context(), io.Discard, width, audits([]*nthlayerv1.Audit{standing("teams", 1)}, broken))
			require.ErrorIs(t, err, broken)
			_, err = progress.ShowAudit(t.Context(), io.Discard, width, audits([]*nthlayerv1.Audit{standing("teams", 40)}, nil))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "an audit that goes on has not ended well")
			_, err = progress.ShowAudit(t.Context(), io.Discard, width, audits(nil, nil))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	})
}
