package slack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/strict"
)

const (
	answerWithin = 3 * time.Second // Slack shows an error to the person when the app takes longer
	maxAnswer    = 64 << 10
)

// app is where and how the workspace tells the app of interactions.
type app struct {
	secret, url string
	http        *http.Client
}

// Press is a button that somebody presses.
type Press struct {
	Channel string `json:"channel"`
	TS      string `json:"ts"`        // of the message
	Action  string `json:"action_id"` // of the button, which the message must have now
	User    string `json:"user"`      // the id or the e-mail address of a member

	// What is not as Slack would do it.
	Secret string `json:"secret,omitempty"`       // signed with this one
	Age    int    `json:"age_s,omitempty"`        // signed so many seconds ago; negative: in the future
	Change bool   `json:"change_body,omitempty"`  // the body is another one than was signed
	Bare   bool   `json:"unsigned,omitempty"`     // no signature
	Team   string `json:"team,omitempty"`         // pressed in another workspace
	Times  int    `json:"times,omitempty"`        // the same request so often; 0: once
	URL    string `json:"url,omitempty"`          // sent to here
	Also   string `json:"also_to,omitempty"`      // and the same request then to here
	Value  string `json:"button_value,omitempty"` // the button says this
}

// Answer is what the app said to one request.
type Answer struct {
	Status int    `json:"status"` // 0: nothing came
	Body   string `json:"body,omitempty"`
	Error  string `json:"error,omitempty"`
}

// OK reports whether Slack would show the person no error.
func (a Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

func (s *Server) servePress(w http.ResponseWriter, r *http.Request) {
	var p Press
	err := strict.Decode(r.Body, maxBody, &p)
	var answers []Answer
	if err == nil {
		answers, err = s.Press(r.Context(), p)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		said := object{"message": err.Error()}
		if f, ok := fault.As(err); ok && len(f.Violations) > 0 {
			said = object{"field": f.Violations[0].Field, "message": f.Violations[0].Description}
		}
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(object{"error": said})
		return
	}
	_ = json.NewEncoder(w).Encode(object{"answers": answers})
}

// Press sends what Slack sends when somebody presses a button, and gives the app's answers. It fails where nobody could
// press that: no such message, button or person.
func (s *Server) Press(ctx context.Context, p Press) ([]Answer, error) {
	request, err := s.pressed(p)
	if err != nil {
		return nil, err
	}
	var answers []Answer
	for range max(p.Times, 1) {
		answers = append(answers, request.send(ctx))
	}
	if p.Also != "" {
		request.url = p.Also
		answers = append(answers, request.send(ctx))
	}
	return answers, nil
}

// interaction is a request to the app, made once and sent as often as wanted.
type interaction struct {
	url, timestamp, signature string
	body                      []byte
	http                      *http.Client
}

func (s *Server) pressed(p Press) (*interaction, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &interaction{url: s.app.url, http: s.app.http}
	if p.URL != "" {
		i.url = p.URL
	}
	if i.url == "" {
		return nil, fault.Field("url", "is missing: nobody said where the app takes interactions (PUT /_control/interactions)")
	}
	by := s.who(p.User)
	if by == nil {
		return nil, fault.Field("user", "must be the id or the e-mail address of a member of the workspace")
	}
	channel := channelID(p.Channel)
	m := s.find(channel, p.TS)
	if m == nil {
		return nil, fault.Field("ts", "there is no such message in the channel")
	}
	button, blockID, ok := findButton(m.Blocks, p.Action)
	if !ok {
		return nil, fault.Field("action_id", "the message has no such button")
	}
	if p.Value != "" {
		button["value"], _ = json.Marshal(p.Value)
	}
	payload, err := json.Marshal(s.payload(p, by, m, button, blockID))
	if err != nil {
		return nil, fmt.Errorf("write the interaction: %w", err)
	}
	i.body = []byte(url.Values{"payload": {string(payload)}}.Encode())
	i.timestamp = strconv.FormatInt(s.now().Add(-time.Duration(p.Age)*time.Second).Unix(), 10)
	if !p.Bare {
		secret := s.app.secret
		if p.Secret != "" {
			secret = p.Secret
		}
		i.signature = sign(secret, i.timestamp, i.body)
	}
	if p.Change {
		i.body = bytes.Replace(i.body, []byte("block_actions"), []byte("block_action%73"), 1)
	}
	return i, nil
}

// payload is a block_actions interaction (Slack, "block_actions payload").
func (s *Server) payload(p Press, by *user, m *message, button map[string]json.RawMessage, blockID string) object {
	action := object{"action_ts": s.nextTS(), "block_id": blockID}
	for name, value := range button {
		action[name] = value
	}
	team := teamID
	if p.Team != "" {
		team = p.Team
	}
	trigger := hash(m.TS+by.ID+s.nextTS(), 16)
	return object{
		"type": "block_actions", "api_app_id": appID, "token": "deprecated", "is_enterprise_install": false, "enterprise": nil,
		"team":         object{"id": team, "domain": "example"},
		"user":         object{"id": by.ID, "username": by.Name, "name": by.Name, "team_id": by.TeamID},
		"container":    object{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": false},
		"channel":      object{"id": m.Channel, "name": strings.ToLower(m.Channel)},
		"message":      s.show(m, true),
		"state":        object{"values": object{}},
		"trigger_id":   "1." + trigger,
		"response_url": "https://hooks.slack.com/actions/" + teamID + "/1/" + trigger,
		"actions":      []object{action},
	}
}

// findButton looks for a button among a message's blocks.
func findButton(content json.RawMessage, action string) (button map[string]json.RawMessage, blockID string, ok bool) {
	var blocks []struct {
		Type     string            `json:"type"`
		BlockID  string            `json:"block_id"`
		Elements []json.RawMessage `json:"elements"`
	}
	_ = json.Unmarshal(content, &blocks) // what cannot be read has no buttons
	for _, b := range blocks {
		for _, e := range b.Elements {
			var is struct {
				Type     string `json:"type"`
				ActionID string `json:"action_id"`
			}
			if b.Type != "actions" || json.Unmarshal(e, &is) != nil || is.Type != "button" || is.ActionID != action {
				continue
			}
			if json.Unmarshal(e, &button) == nil {
				delete(button, "confirm")
				return button, b.BlockID, true
			}
		}
	}
	return nil, "", false
}

// sign is Slack's signature, version 0 ("Verifying requests from Slack").
func sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "v0:%s:%s", timestamp, body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

func (i *interaction) send(ctx context.Context) Answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, bytes.NewReader(i.body))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	request.Header.Set("X-Slack-Request-Timestamp", i.timestamp)
	if i.signature != "" {
		request.Header.Set("X-Slack-Signature", i.signature)
	}
	response, err := i.http.Do(request)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{Status: response.StatusCode, Error: err.Error()}
	}
	return Answer{Status: response.StatusCode, Body: string(body)}
}
