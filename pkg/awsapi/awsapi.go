// Package awsapi opens the way to a service of AWS, or to a local one that speaks its protocol.
package awsapi

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// fallbackRegion is what a local endpoint gets when the environment names no region; it only has to be some region.
const fallbackRegion = "us-east-1"

// Endpoint says where a service is. Credentials come from the SDK's own chain (AWS_ACCESS_KEY_ID, task role, …).
type Endpoint struct {
	URL      string // empty: AWS
	Variable string // the setting that names URL, for messages
	Region   string // empty: as the environment says
}

// Load is the SDK's configuration for a service, with a transport of its own, which the caller closes. Nothing is called yet.
func Load(ctx context.Context, e Endpoint) (aws.Config, *http.Transport, error) {
	var load []func(*awsconfig.LoadOptions) error
	if e.Region != "" {
		load = append(load, awsconfig.WithRegion(e.Region))
	}
	if e.URL != "" {
		load = append(load, awsconfig.WithDefaultRegion(fallbackRegion))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, nil, fault.New(fault.Invalid, "the AWS configuration in the environment cannot be read", err)
	}
	if loaded.Region == "" {
		return aws.Config{}, nil, fault.New(fault.Invalid, "no AWS region: set AWS_REGION, or "+e.Variable+" for a local service", nil)
	}
	if e.URL != "" {
		loaded.BaseEndpoint = aws.String(e.URL)
		if !environmentHasCredentials() {
			// A local endpoint takes any credentials; the chain's last resort, the metadata service, would only time out.
			loaded.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
		}
	}
	transport := transportOf(loaded)
	loaded.HTTPClient = &http.Client{Transport: transport}
	return loaded, transport, nil
}

// transportOf copies the SDK's transport, which knows AWS_CA_BUNDLE and the proxy; a transport of our own can be closed.
func transportOf(loaded aws.Config) *http.Transport {
	if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		return client.GetTransport()
	}
	return &http.Transport{}
}

// environmentHasCredentials tells whether somebody set credentials on purpose: keys, a task role, a web identity or a
// profile. Only the environment is asked, not files or the instance's metadata service.
func environmentHasCredentials() bool {
	env, err := awsconfig.NewEnvConfig()
	return err == nil && (env.Credentials.HasKeys() || env.ContainerCredentialsEndpoint != "" ||
		env.ContainerCredentialsRelativePath != "" || env.WebIdentityTokenFilePath != "" || env.SharedConfigProfile != "")
}
