// Package interactions takes what people press on Slack. A request counts when Slack signed it, not long ago, and it was not
// taken before; whoever pressed the button is looked up by their e-mail address, and what they want passes the same chain as
// any call of the API, under their own name: what they may not do by a token they may not do by a button.
package interactions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
	"github.com/nthlayer/nthlayer/pkg/slack"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Pattern is where the endpoint is served.
const Pattern = "POST /slack/interactions"

// via is the way by which what is pressed comes, for the trail.
const via = "slack"

const (
	maxBody    = 256 << 10 // an interaction holds the whole message: 50 blocks, each of some kB
	bodyWithin = 2 * time.Second
	// Slack shows an error to the person after 3 s. What was begun is ended by then, and they are told.
	decideWithin = 2 * time.Second
	tellWithin   = 700 * time.Millisecond
	askWithin    = 500 * time.Millisecond
	// remember is longer than a signature can be good: from so long before its time until so long after, by clocks that
	// are not quite the same.
	remember = 2*slack.SignedWithin + 5*time.Minute
)

// Principals say who a person is to NthLayer.
type Principals interface {
	// ByEmail fails with NotFound where nobody has the address.
	ByEmail(ctx context.Context, email string) (auth.Principal, error)
}

// Config is what a Handler works with.
type Config struct {
	Secrets    []config.Secret // the app's signing secret, and the one before
	Redis      redis.UniversalClient
	Notifier   internalv1.NotifierServiceClient // it alone has the bot's token
	Principals Principals
	API        grpc.ClientConnInterface // the server in process
	Log        *slog.Logger
}

// Handler is the endpoint.
type Handler struct {
	Config
	runs nthlayerv1.RunServiceClient
}

// New makes a Handler.
func New(c Config) *Handler { return &Handler{Config: c, runs: nthlayerv1.NewRunServiceClient(c.API)} }

// ServeHTTP answers 200 once what was pressed is decided: it took effect durably, or the person was told why not. Other
// answers make Slack show an error.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pressed, err := h.take(w, r)
	if err != nil {
		f := grpcfault.Classify(err)
		rest.Refuse(w, r, h.Log, statusOf(f), f)
		return
	}
	// Nobody presses it again when the connection breaks now: the signature is used up.
	ctx := context.WithoutCancel(r.Context())
	if err := h.answer(ctx, r.Header.Get(rpc.RequestIDKey), pressed); err != nil {
		f := grpcfault.Classify(err)
		h.Log.InfoContext(ctx, "slack interaction refused", "action", pressed.Action, "slack_user", pressed.UserID, "reason", fault.ReasonOf(f),
			"request_id", r.Header.Get(rpc.RequestIDKey))
		if err := h.tell(ctx, pressed, f); err != nil {
			h.Log.WarnContext(ctx, "nobody could be told why a button had no effect", "error", err)
			rest.Refuse(w, r, h.Log, http.StatusServiceUnavailable, grpcfault.Classify(err))
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

// take reads a request that Slack signed and nobody has taken before.
func (h *Handler) take(w http.ResponseWriter, r *http.Request) (slack.Pressed, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return slack.Pressed{}, fault.Field("Content-Type", "must be application/x-www-form-urlencoded, as Slack sends it").WithReason("UNSUPPORTED_MEDIA_TYPE")
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWithin)) // not on every kind of writer
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return slack.Pressed{}, fault.Field("body", "it is larger than 256 KiB").WithReason("TOO_LARGE")
	}
	if err != nil {
		return slack.Pressed{}, fault.Field("body", "it did not arrive whole")
	}
	mark, err := slack.Verify(r.Header, body, h.Secrets...)
	if err != nil {
		return slack.Pressed{}, err
	}
	if err := h.once(r.Context(), mark); err != nil {
		return slack.Pressed{}, err
	}
	return slack.ParsePressed(body)
}

// once lets each signature through one time, whichever gateway it comes to. While Redis is away nobody can say whether it
// was here before, so nothing is let through: there is the command line.
func (h *Handler) once(ctx context.Context, mark string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	// Hashed: who reads Redis must not learn a signature that is still good elsewhere.
	sum := sha256.Sum256([]byte(mark))
	err := h.Redis.SetArgs(ctx, "nthlayer:slack:"+hex.EncodeToString(sum[:]), "", redis.SetArgs{Mode: "NX", TTL: remember}).Err()
	switch {
	case errors.Is(err, redis.Nil):
		return fault.New(fault.Conflict, "the request was taken before", nil).WithReason("SLACK_REQUEST_REPLAYED")
	case err != nil:
		return fault.New(fault.Unavailable, "it cannot be known whether the request was taken before; use the command line, or try again later", err).
			WithReason("SLACK_REPLAY_UNKNOWN")
	}
	return nil
}

// answer does what was pressed, for whoever pressed it.
func (h *Handler) answer(ctx context.Context, requestID string, p slack.Pressed) error {
	ctx, cancel := context.WithTimeout(ctx, decideWithin)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.RequestIDKey, requestID)
	jobID, planHash, ok := notice.ParseButtonValue(p.Value)
	if !ok {
		return fault.Field("value", "the button names no plan")
	}
	principal, err := h.who(ctx, p)
	if err != nil {
		return err
	}
	ctx = rpc.For(ctx, principal, via)
	switch p.Action {
	case notice.ApproveAction:
		_, err = h.runs.ApproveRun(ctx, &nthlayerv1.ApproveRunRequest{JobId: jobID, PlanHash: planHash})
	case notice.RejectAction:
		_, err = h.runs.RejectRun(ctx, &nthlayerv1.RejectRunRequest{JobId: jobID, PlanHash: planHash})
	default:
		err = fault.Field("action_id", "the button is of no known kind")
	}
	return err
}

// who is the principal that pressed the button.
func (h *Handler) who(ctx context.Context, p slack.Pressed) (auth.Principal, error) {
	person, err := h.Notifier.IdentifySlackUser(ctx, &internalv1.IdentifySlackUserRequest{UserId: p.UserID, TeamId: p.TeamID})
	if err != nil {
		return auth.Principal{}, err
	}
	principal, err := h.Principals.ByEmail(ctx, person.GetEmail())
	if err != nil {
		return auth.Principal{}, err
	}
	if principal.Subject == "" {
		return auth.Principal{}, fault.New(fault.Internal, "an address leads to nobody", nil)
	}
	principal.ClientID = via
	return principal, nil
}

// tell shows the person why what they pressed had no effect.
func (h *Handler) tell(ctx context.Context, p slack.Pressed, f *fault.Error) error {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	said := "This had no effect: " + f.Text + "."
	if f.Kind == fault.Deadline || f.Kind == fault.Canceled || f.Kind == fault.Unavailable { // it may have been written down all the same
		said = "It is not known whether this had an effect: " + f.Text + ". Look at the run."
	}
	_, err := h.Notifier.WhisperOnSlack(ctx, &internalv1.WhisperOnSlackRequest{Channel: p.Channel, UserId: p.UserID, Text: said})
	return err
}

// statusOf is the HTTP status of a request that was not taken.
func statusOf(f *fault.Error) int {
	switch fault.ReasonOf(f) {
	case "UNSUPPORTED_MEDIA_TYPE":
		return http.StatusUnsupportedMediaType
	case "TOO_LARGE":
		return http.StatusRequestEntityTooLarge
	}
	switch f.Kind {
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Conflict:
		return http.StatusConflict
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}
