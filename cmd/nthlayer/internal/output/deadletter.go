package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowDeadLetters writes one line a dead letter.
func ShowDeadLetters(w io.Writer, now time.Time, letters []*nthlayerv1.DeadLetter) error {
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "No dead letters.")
		return err
	}
	t := table{headings: []string{"LETTER", "KIND", "TEAM", "STATUS", "DIED", "TRIES", "REASON", "ERROR"}}
	for _, l := range letters {
		t.add(text(l.GetLetterId()), text(l.GetKind()), text(l.GetTeamId()), status(l.GetStatus()), text(ago(now, l.GetDiedAt().AsTime())),
			number(l.GetAttempts()), text(l.GetReason()), text(l.GetError()))
	}
	return t.write(w)
}

// ShowDeadLetter writes everything known of one.
func ShowDeadLetter(w io.Writer, now time.Time, l *nthlayerv1.DeadLetter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", bold.Render(clean(l.GetLetterId())), clean(l.GetKind()), statusStyle(l.GetStatus()).Render(words(l.GetStatus())))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-8s", name)), value)
		}
	}
	line("queue", clean(l.GetQueue()))
	line("team", clean(l.GetTeamId()))
	line("died", fmt.Sprintf("%s, after %d tries", ago(now, l.GetDiedAt().AsTime()), l.GetAttempts()))
	line("reason", clean(l.GetReason()))
	line("error", clean(l.GetError()))
	if l.GetSettledAt() != nil {
		line(words(l.GetStatus()), fmt.Sprintf("%s by %s", ago(now, l.GetSettledAt().AsTime()), clean(l.GetSettledBy())))
	}
	line("message", clean(l.GetMessageId()))
	line("body", clean(l.GetBody()))
	_, err := io.WriteString(w, b.String())
	return err
}

// ShowUpstreams writes one line for each platform and process.
func ShowUpstreams(w io.Writer, now time.Time, upstreams []*nthlayerv1.Upstream) error {
	if len(upstreams) == 0 {
		_, err := fmt.Fprintln(w, "No process has reported on a platform in the last half minute.")
		return err
	}
	t := table{headings: []string{"PLATFORM", "PROCESS", "BREAKER", "LIMIT/MIN", "LEFT NOW", "LIMITER", "", "LAST ERROR"}}
	for _, u := range upstreams {
		wait := ""
		switch {
		case u.GetBreakerUntil() != nil:
			wait = "tried again in " + took(max(u.GetBreakerUntil().AsTime().Sub(now), 0))
		case u.GetPausedUntil() != nil && u.GetPausedUntil().AsTime().After(now):
			wait = "paused for " + took(u.GetPausedUntil().AsTime().Sub(now))
		}
		problem := clean(u.GetLastError())
		if problem != "" && u.GetLastErrorAt() != nil {
			problem = ago(now, u.GetLastErrorAt().AsTime()) + ": " + problem
		}
		t.add(text(u.GetPlatform()), text(u.GetProcess()), status(u.GetBreaker()), number(u.GetLimitPerMinute()), number(u.GetRemaining()),
			text(u.GetLimiter()), text(wait), text(problem))
	}
	return t.write(w)
}
