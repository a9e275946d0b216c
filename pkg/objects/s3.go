package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/nthlayer/nthlayer/pkg/awsapi"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// callTimeout bounds one call, with the SDK's retries.
const callTimeout = 30 * time.Second

// bucket keeps objects below a prefix in an S3 bucket.
type bucket struct {
	api       *s3.Client
	transport *http.Transport
	name      string
	top       string // "", or a prefix that ends in a slash
}

func openS3(ctx context.Context, at place, endpoint string) (*bucket, error) {
	loaded, transport, err := awsapi.Load(ctx, awsapi.Endpoint{URL: endpoint, Variable: "NTHLAYER_S3_ENDPOINT"})
	if err != nil {
		return nil, err
	}
	api := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = endpoint != "" // a local service has no host for each bucket
	})
	b := &bucket{api: api, transport: transport, name: at.bucket}
	if at.path != "" {
		b.top = at.path + "/"
	}
	return b, nil
}

func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(b.api, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.top + prefix)})
		for pages.HasMorePages() {
			page, err := b.page(ctx, pages)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, o := range page.Contents {
				name := strings.TrimPrefix(aws.ToString(o.Key), b.top)
				if checkName(name) != nil || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") { // also a folder that a console made
					continue
				}
				if !yield(Object{Name: name, Size: aws.ToInt64(o.Size), Version: aws.ToString(o.ETag)}, nil) {
					return
				}
			}
		}
	}
}

func (b *bucket) page(ctx context.Context, pages *s3.ListObjectsV2Paginator) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	page, err := pages.NextPage(ctx)
	return page, b.classify("list", err)
}

func (b *bucket) Read(ctx context.Context, name string, most int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: aws.String(b.top + name)})
	if err != nil {
		return nil, b.classify("read "+name, err)
	}
	defer out.Body.Close()
	content, err := io.ReadAll(io.LimitReader(out.Body, most+1))
	if err != nil {
		return nil, b.classify("read "+name, err)
	}
	if int64(len(content)) > most {
		return nil, tooLarge(name, most)
	}
	return content, nil
}

func (b *bucket) Write(ctx context.Context, name string, content []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := b.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: aws.String(b.top + name), Body: bytes.NewReader(content)})
	return b.classify("write "+name, err)
}

func (b *bucket) Close() { b.transport.CloseIdleConnections() }

// classify turns an error of the SDK into a fault. Errors no service answered with are passing.
func (b *bucket) classify(doing string, err error) error {
	if err == nil {
		return nil
	}
	text := doing + " in s3://" + b.name + "/" + b.top
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Canceled, text+": stopped", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Deadline, text+": time ran out", err)
	}
	api, answered := errors.AsType[smithy.APIError](err)
	if !answered {
		return fault.New(fault.Unavailable, text+": S3 is not reachable", err)
	}
	status := 0
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	kind := fault.Unavailable
	switch code := api.ErrorCode(); {
	case status == http.StatusNotFound:
		kind = fault.NotFound // NoSuchKey, NoSuchBucket
	case code == "SlowDown", status == http.StatusTooManyRequests:
		kind = fault.Throttled
	case status == http.StatusUnauthorized, code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch", code == "ExpiredToken":
		kind = fault.Unauthenticated
	case status == http.StatusForbidden:
		kind = fault.PermissionDenied
	case status >= 300 && status < 500: // 301: the bucket is in another region
		kind = fault.Invalid
	}
	return fault.New(kind, text+": S3 answered "+api.ErrorCode(), err)
}
