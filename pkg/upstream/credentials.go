package upstream

import (
	"context"
	"net/http"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// Credentials is where a Transport has its secret from. It is used by many calls at once.
type Credentials interface {
	// Current is the secret as it was last read. It does no I/O.
	Current() config.Secret
	// Refetch reads the secret again. A Transport asks for it when the platform refused the current one, once for all
	// calls that were refused together.
	Refetch(ctx context.Context) error
}

// authorize puts the current credential on a request that is about to be sent, and returns it.
func (t *Transport) authorize(req *http.Request) config.Secret {
	if t.cfg.Credentials == nil {
		return config.Secret{}
	}
	secret := t.cfg.Credentials.Current()
	req.Header.Set("Authorization", t.cfg.Scheme+secret.Reveal())
	return secret
}

// renew finds out whether there is another credential than the one that the platform refused. Reading it again is left
// to the first of the callers who need it.
func (t *Transport) renew(ctx context.Context, refused config.Secret) bool {
	if t.cfg.Credentials == nil {
		return false
	}
	changed := func() bool { return !t.cfg.Credentials.Current().Equal(refused) }
	if changed() {
		return true
	}
	done := t.refetch.DoChan("", func() (any, error) {
		if changed() { // an earlier flight landed between the look above and the start of this one
			return nil, nil
		}
		// The others wait as well, so it does not end with the first caller.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.AttemptTimeout)
		defer cancel()
		err := t.cfg.Credentials.Refetch(ctx)
		switch {
		case err != nil:
			t.cfg.Log.WarnContext(ctx, "platform refuses the credential and it cannot be read again", "platform", t.cfg.Platform, "error", err)
		case changed():
			t.cfg.Log.InfoContext(ctx, "platform refused the credential; there is a new one", "platform", t.cfg.Platform)
		default:
			t.cfg.Log.WarnContext(ctx, "platform refuses the credential and there is no new one", "platform", t.cfg.Platform)
		}
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
	return changed()
}
