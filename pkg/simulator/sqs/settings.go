package sqs

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// settings are a queue's attributes, checked. raw keeps them as given, with the defaults, for GetQueueAttributes.
type settings struct {
	raw          map[string]string
	visibility   time.Duration
	delay        time.Duration
	wait         time.Duration
	retention    time.Duration
	maxBytes     int
	fifo         bool
	contentDedup bool
	dedupByGroup bool // DeduplicationScope=messageGroup: high throughput
	redrive      *redrive
}

// redrive is a RedrivePolicy: after maxReceives a message moves to the queue with the ARN target.
type redrive struct {
	target      string
	maxReceives int
}

// bounds of the numeric attributes: CreateQueue in the API reference.
var bounds = map[string]struct{ low, high, def int }{
	"VisibilityTimeout":             {0, 43200, 30},
	"DelaySeconds":                  {0, 900, 0},
	"ReceiveMessageWaitTimeSeconds": {0, 20, 0},
	"MessageRetentionPeriod":        {60, 1209600, 345600},
	"MaximumMessageSize":            {1024, maxMessageBytes, maxMessageBytes},
}

// accepted without effect here.
var ignoredAttributes = map[string]bool{
	"Policy": true, "RedriveAllowPolicy": true, "KmsMasterKeyId": true,
	"KmsDataKeyReusePeriodSeconds": true, "SqsManagedSseEnabled": true,
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func checkName(name string) *apiError {
	if len(name) > 80 || !queueName.MatchString(strings.TrimSuffix(name, ".fifo")) {
		return invalidParameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	return nil
}

// newSettings checks raw over the values a queue already has (nil for a new one).
func newSettings(name string, before, given map[string]string) (settings, *apiError) {
	raw := make(map[string]string)
	for k, b := range bounds {
		raw[k] = strconv.Itoa(b.def)
	}
	maps.Copy(raw, before)
	maps.Copy(raw, given)

	s := settings{raw: raw}
	numbers := make(map[string]int)
	for k, v := range raw {
		if b, ok := bounds[k]; ok {
			n, err := strconv.Atoi(v)
			if err != nil || n < b.low || n > b.high {
				return settings{}, invalidAttributeValue(k)
			}
			numbers[k] = n
			continue
		}
		if ignoredAttributes[k] {
			continue
		}
		var ok bool
		switch k {
		case "FifoQueue":
			s.fifo, ok = v == "true", v == "true"
		case "ContentBasedDeduplication":
			s.contentDedup, ok = v == "true", v == "true" || v == "false"
		case "DeduplicationScope":
			s.dedupByGroup, ok = v == "messageGroup", v == "messageGroup" || v == "queue"
		case "FifoThroughputLimit":
			ok = v == "perQueue" || v == "perMessageGroupId"
		case "RedrivePolicy":
			s.redrive, ok = parseRedrive(v)
		default:
			return settings{}, invalidAttributeName(k)
		}
		if !ok {
			return settings{}, invalidAttributeValue(k)
		}
	}
	if s.fifo != strings.HasSuffix(name, ".fifo") {
		return settings{}, invalidParameter("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
	}
	if !s.fifo {
		for _, k := range []string{"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"} {
			if _, ok := raw[k]; ok {
				return settings{}, invalidAttributeName(k)
			}
		}
	}
	seconds := func(k string) time.Duration { return time.Duration(numbers[k]) * time.Second }
	s.visibility, s.delay = seconds("VisibilityTimeout"), seconds("DelaySeconds")
	s.wait, s.retention = seconds("ReceiveMessageWaitTimeSeconds"), seconds("MessageRetentionPeriod")
	s.maxBytes = numbers["MaximumMessageSize"]
	return s, nil
}

// parseRedrive reads {"deadLetterTargetArn":…,"maxReceiveCount":n}; the count may be a number or a string, as in SQS.
// An empty text removes the policy.
func parseRedrive(text string) (*redrive, bool) {
	if text == "" {
		return nil, true
	}
	var p struct {
		Target string          `json:"deadLetterTargetArn"`
		Max    json.RawMessage `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, false
	}
	n, err := strconv.Atoi(strings.Trim(string(p.Max), `"`))
	if err != nil || n < 1 || n > 1000 || p.Target == "" {
		return nil, false
	}
	return &redrive{p.Target, n}, true
}

const (
	region  = "us-east-1"
	account = "000000000000"
)

func arnOf(name string) string { return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", region, account, name) }

// nameOf is the queue's name in an ARN or a URL. Region and account do not matter here: there is one of each.
func nameOf(arnOrURL string) string {
	return arnOrURL[strings.LastIndexAny(arnOrURL, ":/")+1:]
}
