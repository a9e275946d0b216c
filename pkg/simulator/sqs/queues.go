package sqs

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

type empty struct{}

type queueIn struct{ QueueUrl string }

type queueOut struct{ QueueUrl string }

type createQueueIn struct {
	QueueName  string
	Attributes map[string]string
	Tags       map[string]string `json:"tags"`
}

// createQueue is idempotent for equal attributes.
func (s *Server) createQueue(c call, now time.Time, in createQueueIn) (queueOut, *apiError) {
	if err := checkName(in.QueueName); err != nil {
		return queueOut{}, err
	}
	conf, err := s.settings(in.QueueName, nil, in.Attributes)
	if err != nil {
		return queueOut{}, err
	}
	if q, ok := s.queues[in.QueueName]; ok {
		for k, v := range in.Attributes {
			if q.settings.raw[k] != v {
				return queueOut{}, queueNameExists(k)
			}
		}
	} else {
		q := newQueue(in.QueueName, conf, now)
		maps.Copy(q.tags, in.Tags)
		s.queues[in.QueueName] = &hosted{q, make(chan struct{})}
	}
	return queueOut{urlOf(c.base, in.QueueName)}, nil
}

// settings checks attributes, and that a redrive policy points to a queue of the same kind.
func (s *Server) settings(name string, before, given map[string]string) (settings, *apiError) {
	conf, err := newSettings(name, before, given)
	if err != nil || conf.redrive == nil {
		return conf, err
	}
	target, ok := s.queues[nameOf(conf.redrive.target)]
	if !ok || target.settings.fifo != conf.fifo {
		return settings{}, invalidParameter("Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist or is not of the same type.", conf.raw["RedrivePolicy"])
	}
	return conf, nil
}

func (s *Server) getQueueURL(c call, _ time.Time, in struct{ QueueName string }) (queueOut, *apiError) {
	if _, ok := s.queues[in.QueueName]; !ok {
		return queueOut{}, errQueueDoesNotExist
	}
	return queueOut{urlOf(c.base, in.QueueName)}, nil
}

type listQueuesIn struct {
	QueueNamePrefix string
	NextToken       string
	MaxResults      int
}

type listQueuesOut struct {
	QueueUrls []string `json:",omitempty"`
	NextToken string   `json:",omitempty"`
}

func (s *Server) listQueues(c call, _ time.Time, in listQueuesIn) (listQueuesOut, *apiError) {
	out, next := s.page(c, in.MaxResults, in.NextToken, func(q *hosted) bool {
		return strings.HasPrefix(q.name, in.QueueNamePrefix)
	})
	return listQueuesOut{out, next}, nil
}

type deadLetterSourcesIn struct {
	QueueUrl   string
	NextToken  string
	MaxResults int
}

type deadLetterSourcesOut struct {
	QueueUrls []string `json:"queueUrls"` // lower case in the service's model, too
	NextToken string   `json:",omitempty"`
}

func (s *Server) listDeadLetterSourceQueues(c call, _ time.Time, in deadLetterSourcesIn) (deadLetterSourcesOut, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return deadLetterSourcesOut{}, err
	}
	out, next := s.page(c, in.MaxResults, in.NextToken, func(source *hosted) bool { return source.diesInto(q) })
	return deadLetterSourcesOut{out, next}, nil
}

func (h *hosted) diesInto(q *hosted) bool {
	return h.settings.redrive != nil && nameOf(h.settings.redrive.target) == q.name
}

// page lists URLs by name; the token is the last name given.
func (s *Server) page(c call, limit int, after string, keep func(*hosted) bool) (urls []string, next string) {
	if limit <= 0 || limit > 1000 {
		limit = 1000 // ListQueues: up to 1,000 results
	}
	last := ""
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if name <= after || !keep(s.queues[name]) {
			continue
		}
		if len(urls) == limit {
			return urls, last
		}
		urls, last = append(urls, urlOf(c.base, name)), name
	}
	return urls, ""
}

func (s *Server) deleteQueue(_ call, _ time.Time, in queueIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return empty{}, err
	}
	delete(s.queues, q.name)
	q.stir() // who waits on it learns that it is gone
	return empty{}, nil
}

func (s *Server) purgeQueue(_ call, _ time.Time, in queueIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return empty{}, err
	}
	remembered := q.dedup
	q.forget()
	q.dedup = remembered // a purge removes messages, not the memory of their ids
	return empty{}, nil
}

type getAttributesIn struct {
	QueueUrl       string
	AttributeNames []string
}

type attributesOut struct {
	Attributes map[string]string `json:",omitempty"`
}

func (s *Server) getQueueAttributes(_ call, now time.Time, in getAttributesIn) (attributesOut, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return attributesOut{}, err
	}
	all := maps.Clone(q.settings.raw)
	visible, inFlight, delayed := q.counts(now)
	all["QueueArn"] = arnOf(q.name)
	all["ApproximateNumberOfMessages"] = strconv.Itoa(visible)
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(inFlight)
	all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(delayed)
	all["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
	all["LastModifiedTimestamp"] = strconv.FormatInt(q.modified.Unix(), 10)
	if q.settings.fifo {
		for k, def := range map[string]string{
			"ContentBasedDeduplication": "false", "DeduplicationScope": "queue", "FifoThroughputLimit": "perQueue",
		} {
			if _, ok := all[k]; !ok {
				all[k] = def
			}
		}
	}
	if slices.Contains(in.AttributeNames, "All") {
		return attributesOut{all}, nil
	}
	out := make(map[string]string)
	for _, k := range in.AttributeNames {
		if v, ok := all[k]; ok {
			out[k] = v
		}
	}
	return attributesOut{out}, nil
}

type setAttributesIn struct {
	QueueUrl   string
	Attributes map[string]string
}

func (s *Server) setQueueAttributes(_ call, now time.Time, in setAttributesIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return empty{}, err
	}
	conf, err := s.settings(q.name, q.settings.raw, in.Attributes)
	if err != nil {
		return empty{}, err
	}
	q.settings, q.modified = conf, now
	return empty{}, nil
}

type tagsIn struct {
	QueueUrl string
	Tags     map[string]string
	TagKeys  []string
}

type tagsOut struct {
	Tags map[string]string `json:",omitempty"`
}

func (s *Server) tagQueue(_ call, _ time.Time, in tagsIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err == nil {
		maps.Copy(q.tags, in.Tags)
	}
	return empty{}, err
}

func (s *Server) untagQueue(_ call, _ time.Time, in tagsIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err == nil {
		maps.DeleteFunc(q.tags, func(k, _ string) bool { return slices.Contains(in.TagKeys, k) })
	}
	return empty{}, err
}

func (s *Server) listQueueTags(_ call, _ time.Time, in queueIn) (tagsOut, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return tagsOut{}, err
	}
	return tagsOut{maps.Clone(q.tags)}, nil
}
