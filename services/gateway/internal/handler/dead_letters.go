package handler

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// LetterStore is what DeadLetters needs of the store.
type LetterStore interface {
	DeadLetters(context.Context, store.DeadLetterFilter) ([]store.DeadLetter, error)
	DeadLetter(ctx context.Context, id uuid.UUID) (store.DeadLetter, error)
	Requeue(ctx context.Context, which store.Which, by string) ([]store.DeadLetter, error)
	Discard(ctx context.Context, which store.Which, by string) ([]store.DeadLetter, error)
}

// DeadLetters serves DeadLetterService.
type DeadLetters struct {
	nthlayerv1.UnimplementedDeadLetterServiceServer
	Store LetterStore
	Poke  func() // tells the relay that the outbox has news
}

// ListDeadLetters lists dead letters, newest first.
func (d *DeadLetters) ListDeadLetters(ctx context.Context, request *nthlayerv1.ListDeadLettersRequest) (*nthlayerv1.ListDeadLettersResponse, error) {
	filter := store.DeadLetterFilter{
		Teams: rpc.VisibleTeams(ctx), Status: request.GetStatus(), Kind: request.GetKind(), TeamID: request.GetTeamId(), Reason: request.GetReason(),
	}
	if err := letterPlace(request, &filter); err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	letters, err := d.Store.DeadLetters(ctx, filter)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListDeadLettersResponse{}
	if len(letters) > size {
		letters = letters[:size]
		last := letters[size-1]
		response.NextPageToken = pagetoken.Next(request, strconv.FormatInt(last.DiedAt.UnixMicro(), 10)+" "+last.ID.String())
	}
	response.DeadLetters = showLetters(letters)
	return response, nil
}

// letterPlace reads the cursor in a request's page token.
func letterPlace(request pagetoken.List, filter *store.DeadLetterFilter) error {
	text, err := pagetoken.Cursor(request)
	if err != nil || text == "" {
		return err
	}
	micros, id, _ := strings.Cut(text, " ")
	at, errAt := strconv.ParseInt(micros, 10, 64)
	after, errID := uuid.Parse(id)
	if errAt != nil || errID != nil {
		return pagetoken.Bad()
	}
	filter.AfterDiedAt, filter.AfterID = time.UnixMicro(at), after
	return nil
}

// GetDeadLetter shows one.
func (d *DeadLetters) GetDeadLetter(ctx context.Context, request *nthlayerv1.GetDeadLetterRequest) (*nthlayerv1.DeadLetter, error) {
	id, err := parseID("letter_id", request.GetLetterId())
	if err != nil {
		return nil, err
	}
	letter, err := d.Store.DeadLetter(ctx, id)
	if err != nil {
		return nil, err
	}
	return showLetter(letter), nil
}

// RequeueDeadLetters gives runs another life.
func (d *DeadLetters) RequeueDeadLetters(ctx context.Context, request *nthlayerv1.RequeueDeadLettersRequest) (*nthlayerv1.RequeueDeadLettersResponse, error) {
	letters, err := d.settle(ctx, request, d.Store.Requeue)
	if err != nil {
		return nil, err
	}
	d.Poke()
	return &nthlayerv1.RequeueDeadLettersResponse{DeadLetters: showLetters(letters)}, nil
}

// DiscardDeadLetters gives them up for good.
func (d *DeadLetters) DiscardDeadLetters(ctx context.Context, request *nthlayerv1.DiscardDeadLettersRequest) (*nthlayerv1.DiscardDeadLettersResponse, error) {
	letters, err := d.settle(ctx, request, d.Store.Discard)
	if err != nil {
		return nil, err
	}
	return &nthlayerv1.DiscardDeadLettersResponse{DeadLetters: showLetters(letters)}, nil
}

// settling is what the requests to requeue and to discard have in common.
type settling interface {
	GetLetterId() string
	GetTeamId() string
	GetReason() string
	GetAll() bool
	GetDiedBefore() *timestamppb.Timestamp
}

func (d *DeadLetters) settle(
	ctx context.Context, request settling, settle func(context.Context, store.Which, string) ([]store.DeadLetter, error),
) ([]store.DeadLetter, error) {
	who, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	which := store.Which{TeamID: request.GetTeamId(), Reason: request.GetReason(), All: request.GetAll()}
	if request.GetDiedBefore() != nil {
		before := request.GetDiedBefore().AsTime()
		which.DiedBefore = &before
	}
	if request.GetLetterId() != "" {
		if which.ID, err = parseID("letter_id", request.GetLetterId()); err != nil {
			return nil, err
		}
	}
	letters, err := settle(ctx, which, who)
	if err != nil {
		return nil, err
	}
	if len(letters) == 0 && which.ID != uuid.Nil {
		if err := d.explain(ctx, which.ID); err != nil {
			return nil, err
		}
	}
	rpc.Note(ctx, slog.Int("dead_letters", len(letters)))
	return letters, nil
}

// explain says why one letter that was named was not settled. One that somebody settled before is no error: whoever
// repeats a request whose answer was lost comes here.
func (d *DeadLetters) explain(ctx context.Context, id uuid.UUID) error {
	letter, err := d.Store.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if letter.Status == store.LetterDead && letter.Kind == store.MessageLetter {
		return fault.New(fault.Precondition,
			"a message that nobody could read cannot be requeued: sent again it would be the same; what it was about is announced anew by itself, so discard it", nil).
			WithReason("MESSAGE_UNREADABLE")
	}
	return nil
}
