package cli

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

var errKilled = errors.New("gateway did not stop in time and was killed")

type stopper func(context.Context) error

func (s stopper) Stop(ctx context.Context) error { return s(ctx) }

func TestStopSystem_UserHurries_IsNoFailure(t *testing.T) {
	var said bytes.Buffer
	hurry := make(chan struct{})
	a := &app{Terminal: Terminal{Err: &said, Hurry: hurry}}
	require.NoError(t, a.stopSystem(stopper(func(ctx context.Context) error {
		close(hurry)
		<-ctx.Done()
		return errKilled
	})))
	require.Contains(t, said.String(), "as you asked")
	require.NotContains(t, said.String(), "in time")
}

func TestStopSystem_NobodyHurries_FailureIsTold(t *testing.T) {
	a := &app{Terminal: Terminal{Err: new(bytes.Buffer)}}
	require.ErrorIs(t, a.stopSystem(stopper(func(context.Context) error { return errKilled })), errKilled)
}
