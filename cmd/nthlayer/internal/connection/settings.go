// Package connection finds a running NthLayer and talks to it.
package connection

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
)

// DevDir is where `nthlayer dev` keeps its state unless told otherwise, and where a connection without settings looks.
const DevDir = ".nthlayer/dev"

// Settings say which system to talk to.
type Settings struct {
	Addr      string // host:port of the gateway's gRPC
	Token     string
	TokenFile string // read at every use, so that a token may be renewed beside us
	CAFile    string // PEM of the CA that signed the gateway's certificate; empty: the system's
	Plaintext bool   // no TLS: for a gateway on this machine

	environ []string
}

// Bind adds the flags. What is not given comes from the environment.
func (s *Settings) Bind(flags *pflag.FlagSet, environ []string) {
	s.environ = environ
	flags.StringVar(&s.Addr, "addr", "", "`host:port` of the gateway's gRPC (NTHLAYER_ADDR)")
	flags.StringVar(&s.TokenFile, "token-file", "", "`file` with the bearer token (NTHLAYER_TOKEN holds the token itself)")
	flags.StringVar(&s.CAFile, "ca", "", "PEM `file` of the CA to trust (NTHLAYER_CA; default: the system's)")
	flags.BoolVar(&s.Plaintext, "plaintext", false, "talk without TLS (NTHLAYER_PLAINTEXT=1); for a gateway on this machine only")
}

// resolve fills in what was not given: from the environment, and where that names no system either, from a running
// `nthlayer dev` in this directory.
func (s Settings) resolve() (Settings, error) {
	fill := func(field *string, name string) {
		if *field == "" {
			*field = Getenv(s.environ, name)
		}
	}
	fill(&s.Addr, "NTHLAYER_ADDR")
	fill(&s.Token, "NTHLAYER_TOKEN")
	fill(&s.CAFile, "NTHLAYER_CA")
	s.Plaintext = s.Plaintext || Getenv(s.environ, "NTHLAYER_PLAINTEXT") != ""
	if s.Addr != "" {
		return s, checkAddr(s.Addr)
	}
	info, err := readInfo(system.InfoFile(DevDir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, errors.New("no system to talk to: set --addr (or NTHLAYER_ADDR) and NTHLAYER_TOKEN, or start one here with `nthlayer dev`")
	}
	if err != nil {
		return s, err
	}
	s.Addr, s.Plaintext = info.GRPC, true
	if s.Token == "" && s.TokenFile == "" {
		s.Token = info.Token
	}
	return s, nil
}

// checkAddr refuses what gRPC would look up as a name and not find, such as a URL. A name alone may stand: gRPC adds the
// port of HTTPS.
func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if !strings.Contains(addr, "/") && (err == nil && port != "" || !strings.Contains(addr, ":")) {
		return nil
	}
	return fmt.Errorf("--addr (NTHLAYER_ADDR) %q: must be host:port of the gateway's gRPC, such as nthlayer.example.org:443", addr)
}

func readInfo(path string) (system.Info, error) {
	var info system.Info
	content, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(content, &info); err != nil {
		return info, fmt.Errorf("%s cannot be read (%w); start `nthlayer dev` again", path, err)
	}
	return info, nil
}

// Getenv is the last value of a name, as os.Getenv would give it.
func Getenv(environ []string, name string) string {
	for _, pair := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}
