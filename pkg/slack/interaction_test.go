package slack_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/slack"
)

const (
	signing  = "8f742231b10e8888abcd99yyyzzz85a5"
	previous = "0123456789abcdef0123456789abcdef"
)

func signature(secret, timestamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + timestamp + ":" + body))
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

func signed(secret, timestamp, body string) http.Header {
	header := http.Header{}
	header.Set("X-Slack-Request-Timestamp", timestamp)
	header.Set("X-Slack-Signature", signature(secret, timestamp, body))
	return header
}

// TestVerify_SlacksOwnExample is the request in Slack's "Verifying requests from Slack", at its time.
func TestVerify_SlacksOwnExample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(1531420618, 0)))
		body := "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
		header := http.Header{}
		header.Set("X-Slack-Request-Timestamp", "1531420618")
		header.Set("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503")
		_, err := slack.Verify(header, []byte(body), config.NewSecret(signing))
		require.NoError(t, err)
	})
}

func TestVerify(t *testing.T) {
	const body = "payload=%7B%7D"
	secrets := []config.Secret{config.NewSecret(signing), config.NewSecret(previous)}
	ago := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).Unix(), 10) }
	changed := func(change func(http.Header)) func() (http.Header, string) {
		return func() (http.Header, string) {
			header := signed(signing, ago(0), body)
			change(header)
			return header, body
		}
	}
	at := func(secret, timestamp string) func() (http.Header, string) {
		return func() (http.Header, string) { return signed(secret, timestamp, body), body }
	}
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		for name, c := range map[string]struct {
			good bool
			make func() (http.Header, string)
		}{
			"good":                     {true, at(signing, ago(0))},
			"the secret before":        {true, at(previous, ago(0))},
			"five minutes old":         {true, at(signing, ago(5*time.Minute))},
			"five minutes ahead":       {true, at(signing, ago(-5*time.Minute))},
			"old":                      {false, at(signing, ago(5*time.Minute+time.Second))},
			"ahead":                    {false, at(signing, ago(-5*time.Minute-time.Second))},
			"the end of time":          {false, at(signing, "9223372036854775807")},
			"before all time":          {false, at(signing, "-9223372036854775808")},
			"no number":                {false, at(signing, "now")},
			"number and more":          {false, at(signing, ago(0)+".0")},
			"another secret":           {false, at("ffffffffffffffffffffffffffffffff", ago(0))},
			"no secret":                {false, at("", ago(0))},
			"another body":             {false, func() (http.Header, string) { return signed(signing, ago(0), body), body + "x" }},
			"body cut off":             {false, func() (http.Header, string) { return signed(signing, ago(0), body), body[:5] }},
			"no body":                  {false, func() (http.Header, string) { return signed(signing, ago(0), body), "" }},
			"another time":             {false, changed(func(h http.Header) { h.Set("X-Slack-Request-Timestamp", ago(time.Second)) })},
			"no signature":             {false, changed(func(h http.Header) { h.Del("X-Slack-Signature") })},
			"empty signature":          {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", "") })},
			"nothing after v0=":        {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", "v0=") })},
			"half a signature":         {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", h.Get("X-Slack-Signature")[:35]) })},
			"not hexadecimal":          {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", "v0="+strings.Repeat("z", 64)) })},
			"version 1":                {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", "v1="+h.Get("X-Slack-Signature")[3:]) })},
			"no version":               {false, changed(func(h http.Header) { h.Set("X-Slack-Signature", h.Get("X-Slack-Signature")[3:]) })},
			"no time":                  {false, changed(func(h http.Header) { h.Del("X-Slack-Request-Timestamp") })},
			"two signatures":           {false, changed(func(h http.Header) { h.Add("X-Slack-Signature", "v0=00") })},
			"the same signature twice": {false, changed(func(h http.Header) { h.Add("X-Slack-Signature", h.Get("X-Slack-Signature")) })},
			"two times":                {false, changed(func(h http.Header) { h.Add("X-Slack-Request-Timestamp", ago(0)) })},
		} {
			header, content := c.make()
			mark, err := slack.Verify(header, []byte(content), secrets...)
			if c.good {
				require.NoError(t, err, name)
				require.Equal(t, header.Get("X-Slack-Signature"), mark)
				continue
			}
			require.Equal(t, fault.Unauthenticated, fault.KindOf(err), name)
			require.Empty(t, mark, name)
			require.NotContains(t, err.Error(), signing)
		}
		_, err := slack.Verify(signed("", ago(0), body), []byte(body), config.Secret{}, config.NewSecret(""))
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "nobody signs where there is no secret")
		_, err = slack.Verify(signed("", ago(0), body), []byte(body))
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	})
}

// The same signature in capital letters is the same signature: it must not pass for a new one.
func TestVerify_OtherSpelling_HasTheSameMark(t *testing.T) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	header := signed(signing, now, "x")
	first, err := slack.Verify(header, []byte("x"), config.NewSecret(signing))
	require.NoError(t, err)
	header.Set("X-Slack-Signature", "v0="+strings.ToUpper(header.Get("X-Slack-Signature")[3:]))
	second, err := slack.Verify(header, []byte("x"), config.NewSecret(signing))
	require.NoError(t, err)
	require.Equal(t, first, second)
}

const press = `{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},"container":{"channel_id":"C1","message_ts":"1.2"},"actions":[{"type":"button","action_id":"approve_run","value":"j:h"}]}`

func TestParsePressed(t *testing.T) {
	form := func(payload string) []byte { return []byte(url.Values{"payload": {payload}}.Encode()) }
	got, err := slack.ParsePressed(form(press))
	require.NoError(t, err)
	require.Equal(t, slack.Pressed{Action: "approve_run", Value: "j:h", UserID: "U1", TeamID: "T1", Channel: "C1", TS: "1.2"}, got)
	for name, body := range map[string][]byte{
		"empty":          nil,
		"no payload":     []byte("a=b"),
		"two payloads":   append(append(form(press), '&'), form(press)...),
		"no form":        []byte("payload=%zz"),
		"no JSON":        form("{"),
		"another kind":   form(strings.Replace(press, "block_actions", "view_submission", 1)),
		"no action":      form(`{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},"actions":[]}`),
		"no button":      form(strings.Replace(press, `"button"`, `"overflow"`, 1)),
		"nobody":         form(strings.Replace(press, `"U1"`, `""`, 1)),
		"no workspace":   form(strings.Replace(press, `"T1"`, `""`, 1)),
		"two actions":    form(strings.Replace(press, `"actions":[`, `"actions":[{"type":"button"},`, 1)),
		"actions a word": form(`{"type":"block_actions","actions":"x"}`),
	} {
		_, err := slack.ParsePressed(body)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("v0=00", "1", []byte("x"))
	f.Add(signature(signing, "1531420618", "x"), "1531420618", []byte("x"))
	f.Fuzz(func(t *testing.T, sig, timestamp string, body []byte) {
		header := http.Header{"X-Slack-Signature": {sig}, "X-Slack-Request-Timestamp": {timestamp}}
		if _, err := slack.Verify(header, body, config.NewSecret(signing)); err == nil && !strings.EqualFold(sig, signature(signing, timestamp, string(body))) {
			t.Fatalf("%q is no signature of %q at %q", sig, body, timestamp)
		}
	})
}

func FuzzParsePressed(f *testing.F) {
	f.Add([]byte("payload=" + url.QueryEscape(press)))
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := slack.ParsePressed(body); err == nil && (p.UserID == "" || p.TeamID == "") {
			t.Fatalf("%+v was pressed by nobody", p)
		}
	})
}
