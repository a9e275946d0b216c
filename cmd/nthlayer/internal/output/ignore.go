package output

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowIgnoreRules writes one line a rule.
func ShowIgnoreRules(w io.Writer, rules []*nthlayerv1.IgnoreRule) error {
	if len(rules) == 0 {
		_, err := fmt.Fprintln(w, "No ignore rules: nothing is hidden.")
		return err
	}
	t := table{headings: []string{"RULE", "OF", "WHAT", "STATUS", "UNTIL", "OWNER", "BY", "REASON"}}
	for _, r := range rules {
		t.add(text(r.GetRuleId()), text(fleetOr(r.GetTeamId())), text(r.GetKind()+" "+r.GetValue()), status(r.GetStatus()), text(date(r.GetExpiresAt())),
			text(r.GetOwner()), text(r.GetCreatedBy()), text(r.GetReason()))
	}
	return t.write(w)
}

// ShowIgnoreRule says what a new rule does.
func ShowIgnoreRule(w io.Writer, r *nthlayerv1.IgnoreRule) error {
	of := "everywhere"
	if r.GetTeamId() != "" {
		of = "in " + clean(r.GetTeamId())
	}
	take := "nthlayer ignore remove " + clean(r.GetRuleId())
	if r.GetTeamId() != "" {
		take += " --team " + clean(r.GetTeamId())
	} else {
		take += " --fleet"
	}
	_, err := fmt.Fprintf(w, "%s %s is ignored %s until %s\n%s\n", clean(r.GetKind()), clean(r.GetValue()), of,
		r.GetExpiresAt().AsTime().Local().Format(time.DateTime), Faint("take it back with: "+take))
	return err
}

func fleetOr(teamID string) string { return cmp.Or(teamID, "the fleet") }

// date is the last day on which a rule hides.
func date(expiresAt *timestamppb.Timestamp) string {
	return ownership.LastDay(expiresAt.AsTime()).Local().Format(time.DateOnly)
}
