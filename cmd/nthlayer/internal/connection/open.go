package connection

import (
	"time"

	"github.com/nthlayer/nthlayer/pkg/client"
)

// patience is how long a person looks at a silent terminal. What takes longer is said, with the time to come back.
const patience = 5 * time.Second

// Open connects to the system that the settings name. It does not wait for an answer: the first call does.
func Open(s Settings) (*client.Client, error) {
	s, err := s.resolve()
	if err != nil {
		return nil, err
	}
	opts := []client.Option{client.WithPatience(patience)}
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

// List reads the first limit items of a list, or with 0 all of them, page by page. next is the token of the page that
// would follow; empty where nothing is left.
func List[Page interface{ GetNextPageToken() string }, Item any](
	limit int, read func(size int32, token string) (Page, error), items func(Page) []Item,
) (found []Item, next string, err error) {
	for {
		size := maxPage
		if limit > 0 {
			size = min(limit-len(found), maxPage)
		}
		page, err := read(int32(size), next)
		if err != nil {
			return nil, "", err
		}
		found, next = append(found, items(page)...), page.GetNextPageToken()
		if next == "" || len(found) == limit {
			return found, next, nil
		}
	}
}

const maxPage = 1000 // the API's largest page
