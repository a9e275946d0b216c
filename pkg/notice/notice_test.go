package notice_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/notice"
)

const job = "01890a5d-ac96-774b-bcce-b302099a8057"

// accepted is the pattern of delivery_key in the public API.
var accepted = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func TestKey_PlainChannel_IsReadable(t *testing.T) {
	require.Equal(t, job+".slack.C0123456789", notice.Key(job, "slack", "C0123456789"))
}

func TestKey_LikeChannels_HaveDifferentKeys(t *testing.T) {
	keys := map[string]string{}
	for _, channel := range []string{"ops", "#ops", "# ops", "öps", "", "ops/a", "ops?a", strings.Repeat("x", 200), strings.Repeat("x", 201)} {
		key := notice.Key(job, "slack", channel)
		require.Regexp(t, accepted, key)
		require.True(t, strings.HasPrefix(key, job+"."), "the job can be read from %q", key)
		require.Emptyf(t, keys[key], "%q and %q", keys[key], channel)
		keys[key] = channel + " "
	}
}

func TestKey_AnyInput_IsAcceptedByTheAPIAndStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.String().Draw(t, "job"), rapid.String().Draw(t, "medium"), rapid.String().Draw(t, "channel")
		key := notice.Key(a, b, c)
		if !accepted.MatchString(key) {
			t.Fatalf("%q", key)
		}
		if again := notice.Key(a, b, c); again != key {
			t.Fatalf("%q then %q", key, again)
		}
	})
}
