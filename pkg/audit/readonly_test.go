package audit_test

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
)

// depends lists what a package depends on, however far away.
func depends(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}

const module = "github.com/nthlayer/nthlayer/pkg/"

// writers are the packages with a way to change a platform or the database.
var writers = []string{"reconcile", "pagerduty", "cortex", "store", "slack", "upstream", "queue"}

// Nothing that an audit is made of can change anything: there is no writer among all that it depends on, and so no type
// of one that it could be given by accident.
func TestAudit_DependsOnNothingThatCanWrite(t *testing.T) {
	deps := depends(t, module+"audit")
	require.Contains(t, deps, module+"ownership")
	for _, writer := range writers {
		require.NotContains(t, deps, module+writer)
	}
	require.NotContains(t, deps, "net/http")
}

// The control: of the flow that does write, the same question has another answer.
func TestControl_ReconcileDependsOnWriters(t *testing.T) {
	deps := depends(t, module+"reconcile")
	require.Contains(t, deps, module+"store")
	require.Contains(t, deps, module+"upstream")
}

// The ports through which an audit meets the platforms have these methods and no other. Whoever adds one says here that
// it only reads.
func TestPorts_OnlyRead(t *testing.T) {
	methods := func(port reflect.Type) (names []string) {
		for i := range port.NumMethod() {
			names = append(names, port.Method(i).Name)
		}
		return names
	}
	require.Equal(t, []string{"Team"}, methods(reflect.TypeFor[audit.Source]()))
	require.Equal(t, []string{"FindTeams", "FindUsers", "Members", "Observe"}, methods(reflect.TypeFor[audit.Target]()))

	parts := reflect.TypeFor[audit.Parts]()
	for i := range parts.NumField() {
		field := parts.Field(i)
		switch field.Type.Kind() {
		case reflect.Interface:
			require.Contains(t, []string{"Source", "Target"}, field.Name, "a new port")
		case reflect.Func, reflect.Pointer, reflect.Struct, reflect.Chan:
			t.Errorf("the part %s could do anything", field.Name)
		}
	}
}
