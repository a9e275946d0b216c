package rpc_test

import (
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestValidate_BrokenRule_IsToldInWords(t *testing.T) {
	eachWay(t, func(t *testing.T, conn grpc.ClientConnInterface, _ *running) {
		teams := v1.NewTeamServiceClient(conn)
		for want, request := range map[string]*v1.ReconcileTeamRequest{
			"team_id: must be 1 to 128 letters, digits or . _ / - and begin with a letter or a digit": {TeamId: strings.Repeat("a", 200)},
			"source: must be cortex, or left out":                                                     {TeamId: "a", Source: "ldap"},
			"desired.name: must not hold line breaks or other control characters":                     {TeamId: "a", Desired: &v1.Desired{Name: "a\nb"}},
			"desired.members[0].role: must be letters, digits or _ -":                                 {TeamId: "a", Desired: &v1.Desired{Members: []*v1.DesiredMember{{Email: "a@example.org", Role: "a b"}}}},
		} {
			_, err := teams.ReconcileTeam(as(t, "admin"), request)
			f, ok := fault.As(grpcfault.FromError(err))
			require.True(t, ok)
			require.Equal(t, want, f.Text)
			require.Equal(t, want, f.Violations[0].Field+": "+f.Violations[0].Description)
		}
		_, err := teams.ListTeams(as(t, "admin"), &v1.ListTeamsRequest{SyncStatus: "fine"})
		require.ErrorContains(t, err, "must be one of in_sync, out_of_sync, unknown, or left out")
	})
}

func TestValidate_EveryPatternOfTheAPI_HasItsWords(t *testing.T) {
	seen := 0
	var walk func(protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			walk(messages.Get(i).Messages())
			fields := messages.Get(i).Fields()
			for j := range fields.Len() {
				rules, _ := proto.GetExtension(fields.Get(j).Options(), validate.E_Field).(*validate.FieldRules)
				for _, of := range []*validate.FieldRules{rules, rules.GetRepeated().GetItems(), rules.GetMap().GetKeys(), rules.GetMap().GetValues()} {
					if of.GetString().HasPattern() {
						seen++
						require.Contains(t, rpc.PatternWords, of.GetString().GetPattern(), "%s", fields.Get(j).FullName())
					}
				}
			}
		}
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if file.Package().Parent() == "nthlayer" || file.Package().Parent() == "nthlayer.internal" {
			walk(file.Messages())
		}
		return true
	})
	require.NotZero(t, seen)
}
