package connection

import (
	"cmp"
	"iter"

	"github.com/nthlayer/nthlayer/pkg/client"
)

// Open connects to the system that the settings name. It does not wait for an answer: the first call does.
func Open(s Settings) (*client.Client, error) {
	s, err := s.resolve()
	if err != nil {
		return nil, err
	}
	var opts []client.Option
	switch {
	case s.TokenFile != "":
		opts = append(opts, client.WithToken(client.FileToken(s.TokenFile)))
	case s.Token != "":
		opts = append(opts, client.WithToken(client.StaticToken(s.Token)))
	}
	if s.CAFile != "" {
		opts = append(opts, client.WithCA(s.CAFile))
	}
	if s.Plaintext {
		opts = append(opts, client.WithPlaintext())
	}
	return client.New(s.Addr, opts...)
}

// First reads at most limit items of a list; 0 reads all.
func First[Item any](limit int, list iter.Seq2[Item, error]) ([]Item, error) {
	var found []Item
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		found = append(found, item)
		if len(found) == limit {
			break
		}
	}
	return found, nil
}

// PageSize is how many items to ask for at once when limit are wanted; 0 lets the server choose the most.
func PageSize(limit int) int32 { return int32(min(cmp.Or(limit, maxPage), maxPage)) }

const maxPage = 1000 // the API's largest page
