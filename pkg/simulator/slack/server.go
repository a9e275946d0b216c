// Package slack is the part of Slack's Web API that a notifier meets, in memory: posting and changing messages with its limits
// and its errors inside HTTP 200, threads, history with metadata, and looking people up. People press the buttons of messages
// through its control, and it signs and sends what Slack would. docs/simulators.md describes how to control it.
package slack

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
)

// Options describe a server. The zero value has no credential that works.
type Options struct {
	Token    string   // the bot's xoxb token
	Channels []string // the channels that exist, by name or id; empty: every channel does
	Clock    func() time.Time

	SigningSecret string       // with which interactions are signed
	Interactions  string       // the app's URL to which they are sent; empty: pressing a button fails
	HTTP          *http.Client // sends them; nil: one that waits 3 s, as Slack does
}

const (
	// perMinute is about one message a second and channel; short bursts pass (Slack, "Rate limits").
	perMinute = 60
	burst     = 5
	maxBody   = 1 << 20
)

// Server is the simulated workspace.
type Server struct {
	token    string
	channels map[string]bool // by id; nil: all
	now      func() time.Time
	control  *control.Control
	handler  http.Handler
	app      app

	mu       sync.Mutex
	messages []*message            // in the order in which they were posted
	posted   map[string][]*message // the same, by channel
	byTS     map[string]*message   // by channel and ts
	allowed  map[string]*allowance // by channel
	users    map[string]*user      // by id
	byEmail  map[string]*user      // by e-mail, in small letters
	whispers []whisper             // what single people were shown
	lastTS   int64                 // microseconds of the newest ts: no two messages share one
}

type message struct {
	Channel  string          `json:"channel"`
	TS       string          `json:"ts"`
	ThreadTS string          `json:"thread_ts,omitempty"`
	User     string          `json:"user"`
	Text     string          `json:"text"`
	Blocks   json.RawMessage `json:"blocks,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Edited   *edited         `json:"edited,omitempty"`
}

// edited is who changed a message last, and when.
type edited struct {
	User string `json:"user"`
	TS   string `json:"ts"`
}

// whisper is a text that one person was shown.
type whisper struct {
	Channel string `json:"channel"`
	TS      string `json:"ts"`
	User    string `json:"user"`
	Text    string `json:"text"`
}

const (
	teamID  = "T0EXAMPLE"
	botUser = "U0NTHLAYER"
	botID   = "B0NTHLAYER"
	appID   = "A0NTHLAYER"
)

// allowance is a bucket of messages that fills by one each interval.
type allowance struct {
	messages float64
	at       time.Time
}

// New makes a server with an empty workspace.
func New(opts Options) *Server {
	s := &Server{
		token: opts.Token, now: opts.Clock, allowed: map[string]*allowance{}, users: map[string]*user{}, byEmail: map[string]*user{},
		posted: map[string][]*message{}, byTS: map[string]*message{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.app = app{secret: opts.SigningSecret, url: opts.Interactions, http: opts.HTTP}
	if s.app.http == nil {
		s.app.http = &http.Client{Timeout: answerWithin}
	}
	if len(opts.Channels) > 0 {
		s.channels = map[string]bool{}
		for _, c := range opts.Channels {
			s.channels[channelID(c)] = true
		}
	}
	s.control = control.New(s, control.Limits{PerMinute: perMinute}, s.now)
	s.handler = s.control.Handler(s.routes(), func(routes http.Handler) http.Handler { return routes })
	return s
}

// Control steers the server from the same process.
func (s *Server) Control() *control.Control { return s.control }

// ServeHTTP takes the methods with and without /api before them, as base URLs are written both ways.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/api/") && !strings.HasPrefix(r.URL.Path, "/_control/") {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = "/api"+r.URL.Path, ""
	}
	if r.Method == http.MethodPost && r.URL.Path == "/_control/press" {
		s.servePress(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// State is every message, oldest first, and what single people were shown.
func (s *Server) State() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := make([]message, len(s.messages))
	for i, m := range s.messages {
		messages[i] = *m
	}
	return map[string]any{"messages": messages, "ephemeral": slices.Clone(s.whispers)}
}

type object = map[string]any

func refuse(word string) object { return object{"ok": false, "error": word} }

// routes serves the methods. Slack answers nearly everything with 200 and says in the body whether it worked.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for method, handle := range map[string]func(http.ResponseWriter, url.Values) object{
		"auth.test":             s.testAuth,
		"chat.postMessage":      s.post,
		"chat.postEphemeral":    s.whisper,
		"chat.update":           s.update,
		"chat.delete":           s.remove,
		"conversations.history": s.history,
		"conversations.replies": s.replies,
		"users.info":            s.info,
		"users.lookupByEmail":   s.lookup,
	} {
		mux.HandleFunc("/api/"+method, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			args, word := arguments(r)
			if word == "" {
				word = s.authenticate(r, args)
			}
			if word != "" {
				reply(w, refuse(word))
				return
			}
			s.mu.Lock()
			answer := handle(w, args)
			s.mu.Unlock()
			if ts, done := answer["ts"].(string); done && effects[method] != "" {
				control.Effect(r.Context(), fmt.Sprintf("%s %s %s", effects[method], answer["channel"], ts))
			}
			reply(w, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { reply(w, refuse("unknown_method")) })
	return mux
}

// effects names what the methods that write do.
var effects = map[string]string{"chat.postMessage": "post", "chat.update": "update", "chat.delete": "delete"}

// reply sends the answer; a used-up quota is the one refusal with a status of its own.
func reply(w http.ResponseWriter, answer object) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if answer["error"] == "ratelimited" {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that went away is none of ours
}

// Writes reports whether a call changes something: Slack has reads behind POST as well.
func (s *Server) Writes(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/chat.") }

// Refuse answers as Slack does for a status.
func (s *Server) Refuse(w http.ResponseWriter, status int) {
	word := "internal_error"
	switch status {
	case http.StatusTooManyRequests:
		word = "ratelimited"
		w.Header().Set("Retry-After", "1")
	case http.StatusServiceUnavailable:
		word = "service_unavailable"
	case http.StatusRequestTimeout:
		word = "request_timeout"
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refuse(word))
}

// arguments reads a query, a form or a JSON object; JSON values that are not strings keep their JSON text.
func arguments(r *http.Request) (url.Values, string) {
	args := r.URL.Query()
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, "request_timeout"
	}
	switch media {
	case "application/json":
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			return nil, "invalid_json"
		}
		for name, value := range fields {
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			args.Set(name, text)
		}
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, "invalid_form_data"
		}
		for name, values := range form {
			args[name] = values
		}
	}
	return args, ""
}

func (s *Server) authenticate(r *http.Request, args url.Values) string {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		given = args.Get("token")
	}
	switch {
	case given == "":
		return "not_authed"
	case s.token == "" || subtle.ConstantTimeCompare([]byte(given), []byte(s.token)) != 1:
		return "invalid_auth"
	default:
		return ""
	}
}

func (s *Server) testAuth(http.ResponseWriter, url.Values) object {
	return object{"ok": true, "url": "https://example.slack.com/", "team": "Example", "user": "nthlayer", "team_id": teamID, "user_id": botUser, "bot_id": botID}
}

// spend takes one message from the channel's allowance, or says how long to wait.
func (s *Server) spend(channel string) (wait time.Duration) {
	limit := s.control.Limits().PerMinute
	if limit <= 0 {
		return 0
	}
	interval := time.Minute / time.Duration(limit)
	now := s.now()
	a := s.allowed[channel]
	if a == nil {
		a = &allowance{messages: burst, at: now}
		s.allowed[channel] = a
	}
	a.messages = min(burst, a.messages+float64(now.Sub(a.at))/float64(interval))
	a.at = now
	if a.messages < 1 {
		return time.Duration((1 - a.messages) * float64(interval))
	}
	a.messages--
	return 0
}

func (s *Server) post(w http.ResponseWriter, args url.Values) object {
	channel, word := s.channel(args.Get("channel"))
	if word == "" {
		word = s.checkContent(args)
	}
	if thread := args.Get("thread_ts"); word == "" && thread != "" && s.find(channel, thread) == nil {
		word = "cannot_reply_to_message"
	}
	if word != "" {
		return refuse(word)
	}
	if wait := s.spend(channel); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		return refuse("ratelimited")
	}
	m := &message{
		Channel: channel, TS: s.nextTS(), ThreadTS: args.Get("thread_ts"), User: botUser, Text: args.Get("text"),
		Blocks: raw(args.Get("blocks")), Metadata: raw(args.Get("metadata")),
	}
	s.messages = append(s.messages, m)
	s.posted[channel] = append(s.posted[channel], m)
	s.byTS[channel+m.TS] = m
	return object{"ok": true, "channel": channel, "ts": m.TS, "message": s.show(m, false)}
}

func (s *Server) update(_ http.ResponseWriter, args url.Values) object {
	channel, word := s.channel(args.Get("channel"))
	if word == "" {
		word = s.checkContent(args)
	}
	if word != "" {
		return refuse(word)
	}
	m := s.find(channel, args.Get("ts"))
	switch {
	case m == nil:
		return refuse("message_not_found")
	case m.User != botUser:
		return refuse("cant_update_message")
	}
	if m.Text = args.Get("text"); args.Has("blocks") { // Slack keeps blocks of which nothing is said
		m.Blocks = raw(args.Get("blocks"))
	}
	m.Edited = &edited{User: botUser, TS: s.nextTS()}
	if metadata := raw(args.Get("metadata")); metadata != nil {
		m.Metadata = metadata
	}
	return object{"ok": true, "channel": channel, "ts": m.TS, "text": m.Text, "message": s.show(m, false)}
}

// remove takes a message away; nothing is left that tells of it.
func (s *Server) remove(_ http.ResponseWriter, args url.Values) object {
	channel, word := s.channel(args.Get("channel"))
	if word != "" {
		return refuse(word)
	}
	m := s.find(channel, args.Get("ts"))
	switch {
	case m == nil:
		return refuse("message_not_found")
	case m.User != botUser:
		return refuse("cant_delete_message")
	}
	gone := func(other *message) bool { return other == m }
	s.messages = slices.DeleteFunc(s.messages, gone)
	s.posted[channel] = slices.DeleteFunc(s.posted[channel], gone)
	delete(s.byTS, channel+m.TS)
	return object{"ok": true, "channel": channel, "ts": m.TS}
}

// whisper shows a text to one person. It is no message: nothing finds it again.
func (s *Server) whisper(_ http.ResponseWriter, args url.Values) object {
	channel, word := s.channel(args.Get("channel"))
	if word == "" {
		word = s.checkContent(args)
	}
	if word == "" && s.users[args.Get("user")] == nil {
		word = "user_not_in_channel"
	}
	if word != "" {
		return refuse(word)
	}
	told := whisper{Channel: channel, TS: s.nextTS(), User: args.Get("user"), Text: args.Get("text")}
	s.whispers = append(s.whispers, told)
	return object{"ok": true, "message_ts": told.TS}
}

func (s *Server) history(_ http.ResponseWriter, args url.Values) object {
	return s.list(args, slices.Backward(s.posted[channelID(args.Get("channel"))]), func(m *message) bool { return m.ThreadTS == "" })
}

func (s *Server) replies(_ http.ResponseWriter, args url.Values) object {
	channel, parent := channelID(args.Get("channel")), args.Get("ts")
	if _, word := s.channel(args.Get("channel")); word == "" && s.find(channel, parent) == nil {
		return refuse("thread_not_found")
	}
	return s.list(args, slices.All(s.posted[channel]), func(m *message) bool { return m.TS == parent || m.ThreadTS == parent })
}

// list pages through a channel's messages in the given order. The cursor is the ts of the last message of the page
// before.
func (s *Server) list(args url.Values, messages iter.Seq2[int, *message], keep func(*message) bool) object {
	if _, word := s.channel(args.Get("channel")); word != "" {
		return refuse(word)
	}
	limit, err := strconv.Atoi(args.Get("limit"))
	if err != nil || limit <= 0 || limit > 999 {
		limit = 100
	}
	metadata := isSet(args.Get("include_all_metadata"))
	inside, cursor := within(args), args.Get("cursor")
	shown, next := []object{}, ""
	begun := cursor == ""
	for _, m := range messages {
		switch {
		case !keep(m) || !inside(m.TS):
			continue
		case !begun:
			begun = m.TS == cursor
			continue
		}
		if len(shown) == limit {
			next, _ = shown[limit-1]["ts"].(string)
			break
		}
		shown = append(shown, s.show(m, metadata))
	}
	return object{"ok": true, "messages": shown, "has_more": next != "", "response_metadata": object{"next_cursor": next}}
}

// within tells which ts the arguments oldest, latest and inclusive ask for.
func within(args url.Values) func(ts string) bool {
	oldest, latest, inclusive := args.Get("oldest"), args.Get("latest"), isSet(args.Get("inclusive"))
	return func(ts string) bool {
		if inclusive && (ts == oldest || ts == latest) {
			return true
		}
		return (oldest == "" || later(ts, oldest)) && (latest == "" || later(latest, ts))
	}
}

func isSet(flag string) bool { return flag == "true" || flag == "1" }

// later compares two ts.
func later(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x > y
}

func (s *Server) show(m *message, metadata bool) object {
	shown := object{"type": "message", "text": m.Text, "ts": m.TS, "user": m.User}
	if m.User == botUser {
		shown["bot_id"], shown["app_id"] = botID, appID
	}
	if m.Edited != nil {
		shown["edited"] = m.Edited
	}
	if m.ThreadTS != "" {
		shown["thread_ts"] = m.ThreadTS
	}
	if m.Blocks != nil {
		shown["blocks"] = m.Blocks
	}
	if metadata && m.Metadata != nil {
		shown["metadata"] = m.Metadata
	}
	return shown
}

func (s *Server) find(channel, ts string) *message { return s.byTS[channel+ts] }

func (s *Server) channel(given string) (string, string) {
	if given == "" {
		return "", "channel_not_found"
	}
	id := channelID(given)
	if s.channels != nil && !s.channels[id] {
		return "", "channel_not_found"
	}
	return id, ""
}

// channelID is the id of a channel that is given by its id or its name.
func channelID(given string) string {
	name := strings.TrimPrefix(given, "#")
	if len(name) >= 9 && name[0] == 'C' && strings.ToUpper(name) == name {
		return name
	}
	return "C" + hash(name, 10)
}

func hash(text string, n int) string {
	sum := sha256.Sum256([]byte(strings.ToLower(text)))
	return base32.StdEncoding.EncodeToString(sum[:])[:n]
}

// nextTS is unique and grows, as Slack's does.
func (s *Server) nextTS() string {
	s.lastTS = max(s.now().UnixMicro(), s.lastTS+1)
	return fmt.Sprintf("%d.%06d", s.lastTS/1_000_000, s.lastTS%1_000_000)
}

func raw(text string) json.RawMessage {
	if text == "" || text == "null" {
		return nil
	}
	return json.RawMessage(text)
}
