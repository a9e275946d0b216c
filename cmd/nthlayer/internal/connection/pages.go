package connection

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const pageSize = 500

// page is what every list answer has.
type page interface{ GetNextPageToken() string }

// All reads every page of a list.
func All[Request proto.Message, Response page, Item any](
	ctx context.Context, req Request, list func(context.Context, Request, ...grpc.CallOption) (Response, error), items func(Response) []Item,
) ([]Item, error) {
	return Some(ctx, 0, req, list, items)
}

// Some reads pages until it has limit items; 0 reads all.
func Some[Request proto.Message, Response page, Item any](
	ctx context.Context, limit int, req Request, list func(context.Context, Request, ...grpc.CallOption) (Response, error), items func(Response) []Item,
) ([]Item, error) {
	var found []Item
	err := Pages(ctx, limit, req, list, func(resp Response) error {
		found = append(found, items(resp)...)
		if limit > 0 && len(found) >= limit {
			found = found[:limit]
			return errEnough
		}
		return nil
	})
	return found, err
}

type enough struct{}

func (enough) Error() string { return "enough" }

var errEnough error = enough{}

// Pages hands every page of a list to f, in order. A limit above 0 makes the pages no larger than needed.
func Pages[Request proto.Message, Response page](
	ctx context.Context, limit int, req Request, list func(context.Context, Request, ...grpc.CallOption) (Response, error), f func(Response) error,
) error {
	req, _ = proto.Clone(req).(Request)
	size := pageSize
	if limit > 0 {
		size = min(size, limit)
	}
	set(req, "page_size", protoreflect.ValueOfInt32(int32(size)))
	for {
		resp, err := list(ctx, req)
		if err != nil {
			return err
		}
		if err := f(resp); err != nil {
			if err == errEnough { //nolint:errorlint // a sentinel of this file, never wrapped
				return nil
			}
			return err
		}
		if resp.GetNextPageToken() == "" {
			return nil
		}
		set(req, "page_token", protoreflect.ValueOfString(resp.GetNextPageToken()))
	}
}

// set fills a field that every list request has.
func set(m proto.Message, field protoreflect.Name, value protoreflect.Value) {
	r := m.ProtoReflect()
	r.Set(r.Descriptor().Fields().ByName(field), value)
}
